"""Requests are checked the moment they are made."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.generation.request import MAX_GUIDANCE, MAX_SEED, MAX_TEXT_CHARACTERS, Guidance, Request, Sampling

SECOND = Clip(torch.zeros(1, 8_000), 8_000)
CODES = torch.zeros(4, 2, dtype=torch.long)

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "1"},
        {"temperature": True},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_k": True},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"greedy": 1},
    ],
    ids=str,
)
def test_a_wrong_sampling_field_is_named(fields):
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        Sampling(**fields)


@pytest.mark.parametrize("scale", [-0.1, MAX_GUIDANCE + 1, math.nan, math.inf, "3", None, True], ids=repr)
def test_a_wrong_guidance_is_named(scale):
    with pytest.raises(InvalidRequest, match="guidance"):
        Guidance(scale=scale)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": 5},
        {"text": ["a", "b"]},
        {"text": "a\0b"},
        {"text": "\ud800"},
        {"text": "x" * (MAX_TEXT_CHARACTERS + 1)},
        {"negative_text": b"noise"},
        {"duration_s": 0},
        {"duration_s": -1.0},
        {"duration_s": math.inf},
        {"duration_s": math.nan},
        {"duration_s": "10"},
        {"duration_s": None},
        {"seed": -1},
        {"seed": MAX_SEED + 1},
        {"seed": 1.0},
        {"seed": True},
        {"sampling": {"top_k": 3}},
        {"guidance": 3.0},
        {"prompt": torch.zeros(1, 8)},
        {"prompt": SECOND, "duration_s": 1.0},
        {"duration_s": 3_601.0},
        {"stride_s": 0.0},
        {"stride_s": "6"},
        {"timeline": "20 drums"},
        {"timeline": ((3.0,),)},
        {"timeline": ((0.0, "drums"),)},
        {"timeline": ((5.0, "drums"), (3.0, "strings"))},
        {"timeline": ((5.0, "drums"), (5.0, "strings"))},
        {"timeline": ((10.0, "drums"),)},
        {"timeline": ((3.0, "a\0b"),)},
        {"timeline": ((math.nan, "drums"),)},
        {"loop_bars": 0, "text": "120 bpm"},
        {"loop_bars": 4},
        {"loop_bars": 4, "text": "slow"},
        {"loop_bars": 4.0, "text": "120 bpm"},
        {"loop_bars": 4, "text": "120 bpm", "prompt_codes": CODES},
        {"beats_per_bar": 0},
        {"melody_part": "vocals"},
        {"prompt_codes": [[1, 2]]},
        {"prompt_codes": CODES.float()},
        {"prompt_codes": CODES.bool()},
        {"prompt_codes": CODES[0]},
        {"prompt_codes": CODES[:, :0]},
    ],
    ids=lambda fields: f"{fields!s:.60}",
)
def test_a_wrong_field_of_a_request_is_named(fields):
    with pytest.raises(InvalidRequest, match="|".join(fields)):
        Request(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": ""},
        {"text": " \n\t"},
        {"text": "ピアノ 🎹"},
        {"text": "x" * MAX_TEXT_CHARACTERS},
        {"seed": 0},
        {"seed": MAX_SEED},
        {"duration_s": 1},
        {"duration_s": 1e-9},
        {"prompt": SECOND, "duration_s": 1.1},
        {"prompt_codes": CODES.int()},
    ],
    ids=lambda fields: f"{fields!s:.60}",
)
def test_whatever_is_sensible_is_taken(fields):
    request = Request(**fields)
    assert all(getattr(request, name) is value for name, value in fields.items())


def test_requests_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Request().seed = 3
