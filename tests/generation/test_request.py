"""Requests are checked on construction."""

import enum
import json
import math
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.generation.request import (
    MAX_CUT_CHARACTERS,
    MAX_GUIDANCE,
    MAX_SEED,
    MAX_TEXT_CHARACTERS,
    Guidance,
    Request,
    Sampling,
)

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
        {"hold_penalty": -0.1},
        {"hold_penalty": math.inf},
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
        {"seed": np.bool_(True)},
        {"seed": np.float64(1.0)},
        {"seed": torch.tensor([1])},
        {"seed": torch.tensor(1, device="meta")},
        {"duration_s": np.array([1.0])},
        {"duration_s": np.float32("nan")},
        {"duration_s": np.complex64(1)},
        {"text": np.array(["a", "b"])},
        {"timeline": {3.0: "drums"}},
        {"timeline": {(3.0, "drums")}},
        {"timeline": ["35"]},
        {"long_prompt": "truncate"},
        {"long_prompt": "cut", "text": "x" * (MAX_CUT_CHARACTERS + 1)},
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
def test_valid_fields_are_accepted(fields):
    request = Request(**fields)
    for name, value in fields.items():
        taken = getattr(request, name)
        assert torch.equal(taken, value) and taken.dtype == value.dtype if name == "prompt_codes" else taken is value


class Kind(str, enum.Enum):
    DRUMS = "drums"


class Beats(enum.IntEnum):
    THREE = 3


def test_numbers_and_texts_of_other_libraries_become_pythons_own():
    """They were refused, with words such as "seed=np.int64(5): expected a whole number"."""
    request = Request(
        text=np.str_("piano"),
        negative_text=Kind.DRUMS,
        timeline=zip(np.array([1.0, 2.0], dtype=np.float32), np.array(["a", "b"]), strict=True),
        duration_s=np.float32(3),
        stride_s=torch.tensor(0.5),
        loop_bars=None,
        beats_per_bar=Beats.THREE,
        seed=np.int64(5),
        sampling=Sampling(
            temperature=np.array(0.5), top_k=torch.tensor(3), top_p=np.longdouble(1), greedy=np.bool_(True)
        ),
        guidance=Guidance(scale=np.float16(2), schedule=np.array([[1.0, 2.0]]), text_scale=np.int32(5)),
    )
    expected = Request(
        text="piano",
        negative_text="drums",
        timeline=((1.0, "a"), (2.0, "b")),
        duration_s=3.0,
        stride_s=0.5,
        beats_per_bar=3,
        seed=5,
        sampling=Sampling(temperature=0.5, top_k=3, top_p=1.0, greedy=True),
        guidance=Guidance(scale=2.0, schedule=((1.0, 2.0),), text_scale=5),
    )
    assert json.dumps(asdict(request)) == json.dumps(asdict(expected))
    assert repr(request) == repr(expected)


@pytest.mark.parametrize("timeline", [[[1, "a"], [2, "b"]], ((1, "a"), (2, "b")), iter([(1, "a"), (2, "b")])], ids=type)
def test_a_timeline_may_be_any_ordered_pairs(timeline):
    assert Request(timeline=timeline).timeline == ((1, "a"), (2, "b"))


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.uint8, torch.int16, torch.uint8])
def test_codes_may_be_arrays_and_of_any_width(kind):
    codes = CODES.numpy().astype(kind) if isinstance(kind, type) else CODES.to(kind)
    assert torch.equal(Request(prompt_codes=codes).prompt_codes.long(), CODES)


@pytest.mark.parametrize("kind", [torch.Tensor.clone, torch.Tensor.numpy])
def test_codes_that_are_changed_later_change_no_request(kind):
    given = kind(CODES.clone())
    request = Request(prompt_codes=given)
    given[:] = 1
    assert torch.equal(request.prompt_codes, CODES)


@pytest.mark.parametrize("given", ["tune.wav", Path("tune.wav"), np.zeros(8)], ids=type)
def test_a_file_or_an_array_instead_of_a_clip_is_an_error_that_says_how_to_make_one(given):
    for name in ("melody", "style", "prompt"):
        with pytest.raises(InvalidRequest, match=rf"^{name}=.*Clip\.read\(\.\.\.\)"):
            Request(**{name: given})


def test_a_text_that_may_be_cut_may_be_long():
    text = "x" * (MAX_TEXT_CHARACTERS + 1)
    assert Request(text=text, long_prompt="cut").text == text
    with pytest.raises(InvalidRequest, match="long_prompt='cut'"):
        Request(text=text)


def test_requests_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Request().seed = 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timeline": ((5.0, "drums"),)}, "timeline: a prompt at second 5, and the music ends at 1"),
        ({"chords": "C:0 G:100"}, "chords: second 100 is after the end of the music, which is 1 s long"),
        ({"guidance": Guidance(schedule=((0.5, 2.0), (90.0, 2.0)))}, "guidance.schedule: second 90 is after the end"),
        ({"guidance": Guidance(schedule=((9.0, 2.0),)), "text": "techno, 120 bpm", "loop_bars": 4}, "is 8 s long"),
        ({"chords": "C:0 G:9", "text": "techno, 120 bpm", "loop_bars": 4}, "chords: second 9 .* is 8 s long"),
    ],
)
def test_times_after_the_end_are_refused_alike(fields, message):
    """Only prompts were: chords after the end were never heard, and guidance did not become what was asked for."""
    with pytest.raises(InvalidRequest, match=message):
        Request(**{"duration_s": 1.0, **fields})
    Request(duration_s=1.0, chords="C:0 G:1.00004", guidance=Guidance(schedule=((1.0, 2.0),)))
