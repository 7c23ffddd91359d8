"""Noise: Philox as published, its distribution, and the same bits on every processor."""

import math

import numpy as np
import pytest
import torch
from llvmlite import ir

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Target
from descant.compiled.library import Library, object_code
from descant.generation.runtimes.native.noise import CHUNK, KEY_STEPS, MULTIPLIERS, add_noise, log_exponential, philox
from tests.processors import FLOAT_TARGETS, each_target

MASK = 2**32 - 1
KNOWN = (
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
"""Counters, keys and results of Philox4x32-10 that its authors publish with Random123."""


def philox_of_integers(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (right >> 32) ^ b ^ first, right & MASK, (left >> 32) ^ d ^ second, left & MASK
        first, second = (first + KEY_STEPS[0]) & MASK, (second + KEY_STEPS[1]) & MASK
    return [a, b, c, d]


def test_random_bits_are_those_of_philox():
    module = ir.Module("philox")
    code = Code(module, "encrypt", [POINTER, POINTER])
    given, result = code.function.args
    words = [code.read(given, I64(index), I32) for index in range(6)]
    vectors = [code.splat(word) for word in words[:4]]
    for index, vector in enumerate(philox(code, vectors, words[4:])):
        code.write(vector, result, I64(LANES * index))
    code.ret_void()
    function = Library(object_code(module, Target.host())).function("encrypt", 2)
    for counter, key, expected in KNOWN:
        assert tuple(philox_of_integers(counter, key)) == expected
        words_in, found = np.array([*counter, *key], np.uint32), np.zeros((4, LANES), np.uint32)
        function(words_in.ctypes.data, found.ctypes.data)
        assert (found == np.array(expected, np.uint32)[:, None]).all()


def test_numbers_are_the_logarithms_of_what_the_bits_draw():
    seed, block = 2**32 + 5, 3
    found = log_exponential(seed, block, 3 * CHUNK).view(3, 4, LANES)
    for number in range(3 * LANES):
        bits = philox_of_integers((number, block, 0, 0), (seed & MASK, seed >> 32))
        uniform = [((word >> 9) + 0.5) / 2**23 for word in bits]
        expected = [math.log(-math.log(u)) for u in uniform]
        assert found[number // LANES, :, number % LANES].tolist() == pytest.approx(expected, rel=3e-7, abs=1e-7)


def test_draws_are_exponential_to_both_ends():
    drawn = log_exponential(1, 0, 2_000_000).double().exp()
    probability = -torch.expm1(-drawn)
    counts = torch.histc(probability, 100, 0, 1)
    assert ((counts - 20_000) ** 2 / 20_000).sum() < 148.3, "beyond the 99.9 % point, 99 degrees of freedom"
    assert 0 < drawn.min() < 5e-6
    assert 12 < drawn.max() < 17
    assert abs(drawn[:-1].sub(1).dot(drawn[1:].sub(1))) / len(drawn) < 5e-3, "neighbours are not correlated"


def test_a_block_begins_alike_however_long_it_is():
    assert torch.equal(log_exponential(9, 2, 1_000)[:77], log_exponential(9, 2, 77))


@pytest.mark.parametrize("target", each_target(*FLOAT_TARGETS))
def test_all_processors_draw_the_same(target):
    module = ir.Module("noise")
    add_noise(module)
    found = torch.empty(50 * CHUNK)
    Library(object_code(module, target)).function("noise", 4)(found.data_ptr(), 11, 1, 50)
    assert torch.equal(found, log_exponential(11, 1, 50 * CHUNK))


@pytest.mark.parametrize("exponent", [-100, -2, -1, 0, 1, 60])
def test_the_logarithm_is_right_to_two_units_in_the_last_place(exponent):
    module = ir.Module("log")
    code = Code(module, "log", [POINTER, POINTER])
    given, result = code.function.args
    with code.for_range(I64(0), I64(2**14), LANES) as at:
        code.write(code.log(code.read(given, at, F32, LANES)), result, at)
    code.ret_void()
    numbers = torch.linspace(1, 2, 2**14, dtype=torch.float64).mul(2.0**exponent).float()
    found = torch.empty_like(numbers)
    Library(object_code(module, Target.host())).function("log", 2)(numbers.data_ptr(), found.data_ptr())
    expected = numbers.double().log()
    unit = torch.from_numpy(np.spacing(expected.float().abs().numpy())).double()
    assert ((found.double() - expected).abs() <= 2 * unit).all()
