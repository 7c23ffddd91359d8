"""Chords: symbols mean what musicians mean by them, each step has the chord of its moment, and a model learns them."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descant import InvalidRequest, MusicGen, Request, request_from_info
from descant.conditioning.base import FrameSpan
from descant.conditioning.chords import (
    QUALITIES,
    SPELLINGS,
    ChordsConditioner,
    ChordsConfig,
    chords_text,
    crop_chords,
    parse_chords,
    with_lead_in,
)
from descant.conditioning.dropout import ConditionDropout
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.generation.engine import Engine
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.task import StepContext

FRAME_S = 0.02
ROOTS = ["C", "C#", "Db", "D", "Eb", "E", "F", "F#", "Gb", "G", "Ab", "A", "Bb", "B", "B#", "Cb"]
SUFFIXES = [*QUALITIES, *SPELLINGS]
TIMES = st.lists(st.floats(0, 3_600), min_size=1, max_size=8, unique=True).map(sorted)


def span(num_frames: int, first_s: float = 0.0) -> FrameSpan:
    """One input step for each frame."""
    frames = torch.arange(num_frames, dtype=torch.float64)
    return FrameSpan(num_frames=num_frames, frame_rate_hz=50.0, input_frames=frames, first_s=first_s)


@pytest.fixture
def conditioner() -> ChordsConditioner:
    torch.manual_seed(0)
    conditioner = ChordsConditioner(ChordsConfig(), 8)
    torch.nn.init.normal_(conditioner.project.weight)
    return conditioner.requires_grad_(False)


@pytest.mark.parametrize(
    ("symbol", "pitches", "bass"),
    [
        ("C", {0, 4, 7}, 0),
        ("Am", {9, 0, 4}, 9),
        ("F#m7", {6, 9, 1, 4}, 6),
        ("Bbmaj7", {10, 2, 5, 9}, 10),
        ("Cb", {11, 3, 6}, 11),
        ("Gsus4/C", {7, 0, 2}, 0),
        ("D/F#", {2, 6, 9}, 6),
        ("Bm7b5", {11, 2, 5, 9}, 11),
        ("Cmin", {0, 3, 7}, 0),
        ("C♯m", {1, 4, 8}, 1),
        ("B♭maj7/E♭", {10, 2, 5, 9, 3}, 3),
        ("Bm7♭5", {11, 2, 5, 9}, 11),
        ("N", set(), None),
    ],
)
def test_a_symbol_has_the_pitches_of_its_chord(symbol, pitches, bass):
    (chord,) = parse_chords(f"{symbol}:0")
    assert chord.pitches == pitches
    assert chord.bass == bass


@given(TIMES, st.data())
def test_written_chords_are_read_as_the_same(times, data):
    symbols = [data.draw(st.sampled_from(ROOTS)) + data.draw(st.sampled_from(SUFFIXES)) for _ in times]
    track = parse_chords(" ".join(f"{symbol}:{time!r}" for symbol, time in zip(symbols, times, strict=True)))
    assert parse_chords(chords_text(track)) == track
    assert [chord.start_s for chord in track] == times


def test_printed_accidentals_mean_those_of_the_keyboard():
    """A key could be written "F♯ minor", but a chord "F♯m" was refused."""
    assert parse_chords("F♯m/A:0 B♭7:1") == parse_chords("F#m/A:0 Bb7:1")


@pytest.mark.parametrize(
    ("chords", "message"),
    [
        ("", "at least one"),
        ("C", "expected a symbol, a colon"),
        ("C:", "expected a symbol, a colon"),
        ("C:-1", "expected a symbol, a colon"),
        ("C:inf", "expected a symbol, a colon"),
        ("H:0", "'H' is not a chord"),
        ("Cfoo:0", "'Cfoo' is not a chord"),
        ("C/H:0", "is not a chord"),
        ("C:2 G:2", "G at second 2 follows C at 2"),
        ("C:4 G:2", "must begin after the one before"),
        (" ".join(f"C:{second}" for second in range(40_001)), "at most 40000"),
    ],
)
def test_chords_that_cannot_be_read_are_refused(chords, message):
    with pytest.raises(InvalidRequest, match=message):
        Request(chords=chords)


@pytest.mark.usefixtures("unchecked")
def test_chords_that_are_not_a_text_are_refused():
    with pytest.raises(InvalidRequest, match=r"chords=3\.5: expected a text"):
        Request(chords=3.5)


def test_each_step_has_the_chord_in_the_middle_of_its_frame(conditioner):
    track = parse_chords("C:0.04 Am:0.1")
    none, c, am = (
        conditioner(conditioner.prepare([{"chords": chords}]), span(1))["sum"].values[0, 0]
        for chords in ("N:0", "C:0", "Am:0")
    )
    values = conditioner([track], span(8))["sum"].values[0]
    expected = [none, none, c, c, c, am, am, am]
    torch.testing.assert_close(values, torch.stack(expected))
    assert not torch.equal(none, torch.zeros(8))


def test_a_window_has_the_steps_of_the_whole(conditioner):
    track = parse_chords("C:0 G:0.1 Am:0.2 F:0.3")
    whole = conditioner([track], span(30))["sum"].values
    assert torch.equal(conditioner([track], span(12, first_s=9 * FRAME_S))["sum"].values, whole[:, 9:21])
    cropped = conditioner([crop_chords(track, 9 * FRAME_S)], span(12))["sum"].values
    torch.testing.assert_close(cropped, whole[:, 9:21])


def test_before_a_loop_comes_its_end(conditioner):
    """With both chords of its last bar; one that would begin after the end of the loop never sounds."""
    track = with_lead_in(parse_chords("C:0 G:0.1 Am:0.15 F:0.2"), loop_s=0.2, lead_in_s=0.1)
    values = conditioner([track], span(15, first_s=-0.1))["sum"].values[0]
    torch.testing.assert_close(values[:5], values[10:])
    assert not torch.equal(values[0], values[4])
    assert chords_text(track) == "C:0.0 G:0.1 Am:0.15 F:0.2"


def test_rows_without_chords_and_dropped_rows_are_null(conditioner):
    rows = conditioner.prepare([{"chords": "C:0"}, {"text": "piano"}, {"chords": "G:0"}])
    embedding = conditioner(rows, span(4), torch.tensor([False, False, True]))["sum"]
    assert embedding.mask.any(dim=1).tolist() == [True, False, False]
    assert not embedding.values[1:].any()


def test_a_model_that_starts_to_learn_chords_is_the_one_without(make_model):
    without, model = make_model(), make_model(chords=ChordsConfig())
    model.load_state_dict({**model.state_dict(), **without.state_dict()})
    request = Request(text="warm piano", duration_s=0.1, seed=1)
    codes = Engine(without).generate([request])[0].codes
    assert torch.equal(Engine(model).generate([replace(request, chords="C:0 G:0.05")])[0].codes, codes)


def test_a_model_without_chords_refuses_them(tiny_model):
    with pytest.raises(InvalidRequest, match="chords: this model takes no chords"):
        Engine(tiny_model).generate([Request(chords="C:0", duration_s=0.1)])


@pytest.fixture(scope="module")
def music(make_model) -> MusicGen:
    model = make_model(chords=ChordsConfig(), max_duration_s=0.2)
    model.chords.project.weight.normal_(generator=torch.Generator().manual_seed(0))
    return MusicGen(model, "chords")


def test_chords_change_the_music_where_they_change_and_a_file_makes_it_again(music):
    request = Request(text="warm piano", duration_s=0.4, seed=3)
    first, second = (music.generate(request, chords=chords) for chords in ("C:0", "C:0 F#m:0.2"))
    assert torch.equal(first.codes[:, :9], second.codes[:, :9])
    assert not torch.equal(first.codes, second.codes)
    assert not torch.equal(first.codes, music.generate(request).codes)
    assert second.info["chords"] == "C:0.0 F#m:0.2"
    again = request_from_info(json.loads(json.dumps(second.info)))
    assert torch.equal(music.generate(again).codes, second.codes)


def test_chords_stream_and_share_a_batch_as_they_are_alone(music):
    requests = [Request(text="piano", duration_s=0.3, seed=seed, chords=chords) for seed, chords in enumerate(CHORDS)]
    together = music.generate([*requests, Request(text="piano", duration_s=0.3, seed=9)])
    for request, clip in zip(requests, together, strict=False):
        assert torch.equal(music.generate(request).codes, clip.codes)
        stream = music.stream(request, chunk_s=0.05)
        list(stream)
        assert torch.equal(stream.codes, clip.codes)


CHORDS = ("C:0", "G:0 Am:0.1", "N:0 F:0.22")


def batch_of(step: int) -> TokenBatch:
    """Twelve frames whose codes follow from the root of the chord of their moment."""
    generator = torch.Generator().manual_seed(step)
    roots = torch.randint(0, 12, (8, 3), generator=generator)
    by_frame = roots.repeat_interleave(4, dim=1)
    codes = by_frame[:, None].expand(-1, 4, -1) + torch.arange(4)[:, None]
    names = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
    rows = [
        {"chords": " ".join(f"{names[root]}:{4 * FRAME_S * number:g}" for number, root in enumerate(row))}
        for row in roots.tolist()
    ]
    clip = TokenizedClip(id="chords", start_frame=0, num_frames=12, split="train", captions=(), tags={})
    return TokenBatch(codes, rows, torch.ones(8, 12, dtype=torch.bool), [clip] * 8, torch.zeros(8))


def test_a_tiny_model_learns_chords_and_is_lost_without_them(make_model):
    model = make_model(chords=ChordsConfig()).requires_grad_(True).train()
    task = LMTask(model, LMTaskConfig(dropout=ConditionDropout(probability=0.1)), [batch_of(10_000)])
    assert "chords" in task.conditioners
    parameters = list(task.parameters()["lm"].values())
    optimizer = torch.optim.Adam(parameters, lr=2e-2)
    for step in range(200):
        loss, _ = task.loss("lm", batch_of(step), StepContext(step, torch.Generator().manual_seed(step), {}))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    metrics = task.validate()
    # Without chords a root is one of twelve: log 12 = 2.48 nats where it changes, nothing where it stays.
    assert metrics["ce_chords"] < 0.25
    assert metrics["chords_gain_low"] > 0.25
