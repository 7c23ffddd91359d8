"""Compiled Griffin-Lim is Griffin-Lim, with the same bits on every processor."""

import numpy as np
import pytest
import torch
from llvmlite import ir

from descant.codec import phase_stream
from descant.codec.compiled_wave import SPECTRA_AT_ONCE, CompiledWave, can_compile
from descant.codec.fourier_code import FIRST_RADIX, FourierCode, Plan
from descant.codec.lane_math import cosine_and_sine, inverse_root
from descant.codec.phase import FramedSTFT, running_turns
from descant.codec.phase_stream import find_wave
from descant.codec.turns_code import compiled_turns
from descant.compiled.code import F32, I64, POINTER, Code, Target
from descant.compiled.library import Library, object_code
from tests.processors import FLOAT_TARGETS, each_target

LANES = 8


def magnitudes_of_noise(stft: FramedSTFT, num_spectra: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return stft.analyze(0.1 * torch.randn(1, num_spectra * stft.hop_samples, generator=generator)).abs()


def function_of(values: torch.Tensor, *expressions) -> list[torch.Tensor]:
    """What expressions of LLVM give for values, one after another."""
    module = ir.Module("expressions")
    code = Code(module, "compute", [POINTER, POINTER])
    source, result = code.function.args
    for index, part in enumerate(expressions):
        with code.for_range(I64(0), I64(len(values)), LANES) as at:
            code.write(part(code, code.read(source, at, F32, LANES)), result, code.add(at, I64(index * len(values))))
    code.ret_void()
    results = torch.zeros(len(expressions), len(values))
    Library(object_code(module, Target.host())).function("compute", 2)(values.data_ptr(), results.data_ptr())
    return [*results]


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256, 512, 1_024])
def test_transforms_there_and_back_are_those_of_pytorch(size):
    plan = Plan(size)
    module = ir.Module("fourier")
    for name in ("there", "back"):
        code = Code(module, name, [POINTER, POINTER])
        fourier = FourierCode(code, plan, *code.function.args, LANES)
        if name == "there":
            fourier.first_pass(fourier.read)
        for start in range(0, size, size // FIRST_RADIX):
            (fourier.rest if name == "there" else fourier.rest_back)(I64(start))
        if name == "back":
            fourier.first_pass_back()
        code.ret_void()
    library = Library(object_code(module, Target.host()))
    elements, twiddles = torch.randn(size, 2, LANES), torch.from_numpy(plan.twiddles())
    given = torch.complex(elements[:, 0], elements[:, 1])
    library.function("there", 2)(elements.data_ptr(), twiddles.data_ptr())
    places = [plan.place(frequency) for frequency in range(size)]
    found = torch.complex(elements[:, 0], elements[:, 1])[places]
    torch.testing.assert_close(found, torch.fft.fft(given, dim=0), rtol=0, atol=2e-6 * size)
    library.function("back", 2)(elements.data_ptr(), twiddles.data_ptr())
    torch.testing.assert_close(torch.complex(elements[:, 0], elements[:, 1]) / size, given, rtol=0, atol=1e-5)


def test_angles_have_their_cosines_and_sines():
    turns = torch.linspace(0, 1, 1_024)
    cosines, sines = function_of(turns, *(lambda code, x, i=i: cosine_and_sine(code, x)[i] for i in range(2)))
    angles = 2 * torch.pi * turns.double()
    torch.testing.assert_close(cosines.double(), angles.cos(), rtol=0, atol=2e-7)
    torch.testing.assert_close(sines.double(), angles.sin(), rtol=0, atol=2e-7)


def test_roots_are_exact_to_three_units_in_the_last_place():
    squares = torch.logspace(-36, 36, 1_024)
    (roots,) = function_of(squares, inverse_root)
    torch.testing.assert_close(roots.double(), squares.double().rsqrt(), rtol=3 * 2.0**-23, atol=0)
    (of_zero,) = function_of(torch.zeros(LANES), inverse_root)
    assert of_zero.isfinite().all(), "silence times it is silence"


@pytest.mark.parametrize(("window", "hop"), [(64, 32), (512, 160), (512, 80), (2_048, 640)])
@pytest.mark.parametrize("iterations", [0, 1, 4])
@pytest.mark.parametrize("num_spectra", [1, 2, 5, SPECTRA_AT_ONCE + 9])
def test_compiled_rounds_are_those_of_pytorch_in_float64(window, hop, iterations, num_spectra):
    stft = FramedSTFT(window, hop)
    magnitudes = magnitudes_of_noise(stft, num_spectra) + 1e-3
    assert can_compile(stft, magnitudes)
    found = find_wave(stft, magnitudes, iterations)
    expected = find_wave(stft.double(), magnitudes.double(), iterations)
    assert found.shape == expected.shape == (1, num_spectra * hop)
    # Where a bin's first directions nearly cancel each other, rounding decides.
    error = (found - expected).norm() / expected.norm()
    assert error < 1e-3


def test_compiled_initial_phases_are_those_of_pytorch():
    stft = FramedSTFT(2_048, 640)
    magnitudes = magnitudes_of_noise(stft, 60)[0]
    magnitudes[7] = 0
    magnitudes[8] = torch.linspace(0, 1, 1_025)
    turn = torch.rand(1_025)
    expected = running_turns(stft, magnitudes[None].double(), turn[None].double())[0]
    difference = compiled_turns(magnitudes, turn, 640 / 2_048, Target.host()) - expected
    assert (difference - difference.round()).abs().max() < 1e-5


@pytest.mark.parametrize("target", each_target(*FLOAT_TARGETS))
def test_every_processor_finds_the_same_bits(target):
    stft = FramedSTFT(512, 160)
    magnitudes = magnitudes_of_noise(stft, 80)[0]
    wave = CompiledWave(stft, 3, target).push(magnitudes, is_last=True)
    assert wave.shape == (80 * 160,)
    assert torch.equal(wave, CompiledWave(stft, 3, Target.host()).push(magnitudes, is_last=True))


def test_waves_are_found_alike_in_several_threads(monkeypatch):
    stft = FramedSTFT(512, 160)
    magnitudes = torch.cat([magnitudes_of_noise(stft, 70), 2 * magnitudes_of_noise(stft, 70).flip(1)])
    alone = find_wave(stft, magnitudes, 3)
    monkeypatch.setattr(phase_stream.torch, "get_num_threads", lambda: 3)
    assert torch.equal(find_wave(stft, magnitudes, 3), alone)


@pytest.mark.parametrize(("window", "hop"), [(320, 80), (512, 161)])
def test_other_sizes_are_left_to_pytorch(monkeypatch, window, hop):
    monkeypatch.setattr(phase_stream, "CompiledWave", lambda *_: pytest.fail("compiled"))
    stft = FramedSTFT(window, hop)
    assert find_wave(stft, magnitudes_of_noise(stft, 4), 2).isfinite().all()


def test_gradients_do_not_pass():
    stft = FramedSTFT(512, 160)
    magnitudes = magnitudes_of_noise(stft, 5).requires_grad_()
    assert not find_wave(stft, magnitudes.expand(2, -1, -1), 1).requires_grad
    assert np.isfinite(magnitudes.detach().numpy()).all()
