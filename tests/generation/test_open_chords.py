"""Chords that a request leaves open: chosen with its seed, in its tempo and key, recorded, and never against music that
it gives."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from descant import Clip, Guidance, InvalidRequest, MusicGen, Request, request_from_info
from descant.conditioning.chord_prior import ChordPrior
from descant.conditioning.chords import ChordsConfig, chords_text, parse_chords
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.prior import Prior
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.tempo_key_prior import TempoKeyPrior
from descant.generation.condition_rows import rows_of
from descant.generation.plan import plan_sections
from descant.generation.resolve import Resolver
from descant.provenance import info_of
from descant.tempo_key import NUM_KEYS

TEMPO_KEY = TempoKeyPrior(
    tempi_bpm=(240.0, 300.0),
    tempo_weights=(0.0, 0.0),
    metres=("2/4",),
    metre_weights=(0.0,),
    metre_tempo_weights=((0.0, 0.0),),
    minor_weight=0.0,
    key_weights=(0.0,) * NUM_KEYS,
    words={},
)
CHORDS = ChordPrior(
    major={"C|F|G7|C": 0.0, "F|G7|C|Am": 0.0, "C Am|F|Dm|G": 0.0, "Am|F|C|G": 0.0},
    minor={"Cm|Fm|G7|Cm": 0.0, "Ab|Bb|Cm|Cm": 0.0, "Fm|Cm|Ab|G": 0.0},
    chords_weight=1.0,
    words={"drumming": [0.0, 0.0, 0.0, 0.0, -9.0]},
)
PRIOR = Prior(tempo_key=TEMPO_KEY, chords=CHORDS)
MELODY = MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum")


@pytest.fixture(scope="module")
def music(make_model) -> MusicGen:
    """Windows of 2.4 s, of which an overlap of 1 s is kept."""
    model = make_model(tempo_key=TempoKeyConfig(), melody=MELODY, chords=ChordsConfig(), max_duration_s=2.4)
    model.chords.project.weight.normal_(generator=torch.Generator().manual_seed(0))
    model.prior = PRIOR
    return MusicGen(model, "with prior")


def ask(text: str | None = "piano", **fields: Any) -> Request:
    return Request(**{"text": text, "duration_s": 1.2, "seed": 5, **fields})


def chosen(music: MusicGen, request: Request) -> str | None:
    """The chords that a request would get."""
    chords = Resolver(music.model).resolve(request).conditions.get("chords")
    return None if chords is None else chords_text(chords)


def test_a_choice_is_the_same_as_giving_it(music):
    clip = music.generate(ask())
    given = ask(tempo=clip.info["tempo"], key=clip.info["key"], chords=clip.info["chords"])
    assert torch.equal(music.generate(given).codes, clip.codes)
    assert not torch.equal(music.generate(replace(given, chords="none")).codes, clip.codes)
    assert len(parse_chords(clip.info["chords"])) > 2


def test_the_seed_chooses_and_a_batch_changes_nothing(music):
    requests = [ask(seed=seed, tempo=300.0, key="C") for seed in range(6)]
    clips = music.generate(requests)
    assert len({clip.info["chords"] for clip in clips}) > 2
    for request, clip in zip(requests[:2], clips, strict=False):
        alone = music.generate(request)
        assert torch.equal(alone.codes, clip.codes)
        assert alone.info == clip.info


def test_streamed_over_windows_it_is_the_same(music):
    request = ask(duration_s=4.0)
    with music.stream(request) as stream:
        list(stream)
    clip = music.generate(request)
    assert torch.equal(stream.codes, clip.codes)
    given = ask(duration_s=4.0, tempo=clip.info["tempo"], key=clip.info["key"], chords=clip.info["chords"])
    assert torch.equal(music.generate(given).codes, clip.codes)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "piano in a minor key, 200 bpm", "timeline": ((0.5, "drums"), (0.9, "in D major, 300 bpm"))},
        {"tempo": "none"},
        {"chords": "none"},
        {"chords": None},
        {"chords": "Am:0 F:0.5"},
        {"text": "drumming"},
        {"duration_s": 2.0, "loop_bars": 3, "tempo": 300.0},
    ],
)
def test_the_record_makes_the_music_again_without_the_prior(music, make_model, fields):
    clip = music.generate(ask(**fields))
    again = request_from_info(json.loads(json.dumps(clip.info)))
    model = make_model(tempo_key=TempoKeyConfig(), melody=MELODY, chords=ChordsConfig(), max_duration_s=2.4)
    model.load_state_dict(music.model.state_dict())
    repeated = MusicGen(model, "with prior").generate(again)
    assert torch.equal(repeated.codes, clip.codes)
    assert repeated.info == clip.info


def test_a_record_of_an_earlier_version_chooses_nothing(music):
    info = {name: value for name, value in music.generate(ask()).info.items() if name != "chords"}
    assert chosen(music, request_from_info(info)) is None


def test_chords_are_in_the_key_and_on_the_bars_of_the_tempo(music):
    for seed in range(20):
        symbols = [word.split(":") for word in (chosen(music, ask("in D minor, 240 bpm", seed=seed)) or "").split()]
        assert {symbol for symbol, _ in symbols} <= {"Dm", "Gm", "A7", "A", "Bb", "C"}
        # A bar of two beats takes half a second.
        assert all((2 * float(second)) % 1 == 0 for _, second in symbols)


def test_phrases_return_as_they_were(music):
    text = chosen(music, ask("in C major, 240 bpm", duration_s=16.0)) or ""
    track = parse_chords(text)

    def bars(first: int) -> list[str]:
        return [[chord.symbol for chord in track if chord.start_s <= s / 2 + 0.01][-1] for s in range(first, first + 4)]

    phrases = ["|".join(bars(first)) for first in range(0, 32, 4)]
    assert len(set(phrases[:4])) in (2, 3)
    assert phrases[:4] == phrases[4:]


@pytest.mark.parametrize("loop_bars", [1, 2, 3, 4, 5, 8, 12])
def test_a_loop_ends_where_its_chords_begin_again(music, loop_bars):
    for seed in range(10):
        request = ask("in C major, 240 bpm", loop_bars=loop_bars, beats_per_bar=2, seed=seed)
        lead_in = Resolver(music.model).resolve(request).conditions["chords"]
        whole = parse_chords(chosen(music, request) or "")
        assert whole[0].start_s == 0
        assert whole[-1].start_s < request.result_s - 0.1
        # The bar before the loop is its last one, of half a second.
        before = [(chord.symbol, chord.start_s) for chord in lead_in if chord.start_s < 0]
        assert before[0][1] == -0.5
        last_bar = [(c.symbol, c.start_s - request.result_s) for c in whole if c.start_s > request.result_s - 0.5]
        assert before[-len(last_bar) :] == last_bar or not last_bar


@pytest.mark.parametrize(
    "fields",
    [
        {"melody_chroma": torch.full((4, 12), 7)},
        {"prompt_codes": torch.zeros(4, 2, dtype=torch.long)},
        {"prompt": Clip(torch.ones(1, 400) / 2, 8_000)},
        {"text": None},
        {"text": " "},
        {"text": "drumming"},
        {"tempo": "none"},
        {"key": "none"},
        {"chords": "none"},
    ],
)
def test_nothing_is_chosen_without_a_text_a_clock_or_a_key_or_beside_music(music, fields):
    stated = {"tempo": 240.0, "key": "C"}
    assert chosen(music, ask(**stated)) is not None
    assert chosen(music, ask(**{**stated, **fields})) is None


def test_given_chords_are_kept_and_change_on_the_beats_of_the_chosen_tempo(music):
    """A key is not chosen for them: they have their own."""
    for end_s, tempi in ((0.45, {266.67}), (0.5, {240.0}), (0.8, {300.0})):
        request = ask(chords=f"C:0 G:{end_s}")
        info = music.generate(request).info
        assert chosen(music, request) == f"C:0.0 G:{end_s}"
        assert info["tempo"] in tempi
        assert info["key"] is None
        later = replace(request, timeline=((0.4, "drums, 77 bpm"),))
        assert music.generate(later).info["tempo"] == info["tempo"]


@pytest.mark.parametrize("chords", ["C:0", "C:0 G:0.31"])
def test_given_chords_that_suit_all_or_no_tempi_leave_the_choice_to_the_text(music, chords):
    """They do not change, or between the beats of each possible tempo."""
    for seed in range(4):
        assert music.generate(ask(chords=chords, seed=seed)).info["tempo"] in TEMPO_KEY.tempi_bpm


def test_a_stated_tempo_is_kept_beside_given_chords(music):
    assert music.generate(ask("piano, 100 bpm", chords="C:0 G:0.5")).info["tempo"] == 100.0
    assert music.generate(ask(chords="C:0 G:0.5", tempo="none")).info["tempo"] is None


def test_later_prompts_keep_the_chords_and_change_their_tempo_and_key(music):
    plain = ask("in C major, 240 bpm", duration_s=4.0)
    whole = parse_chords(chosen(music, plain) or "")
    assert chosen(music, replace(plain, timeline=((2.0, "drums"),))) == chosen(music, plain)
    keyed = parse_chords(chosen(music, replace(plain, timeline=((2.0, "in D major"),))) or "")
    assert [c for c in keyed if c.start_s < 2] == [c for c in whole if c.start_s < 2]
    later, higher = ([c for c in track if c.start_s > 2.1] for track in (whole, keyed))
    assert [(c.root + 2) % 12 for c in later] == [c.root for c in higher]
    assert [c.start_s for c in later] == [c.start_s for c in higher]
    # From second 2 on, a bar takes 0.4 s.
    faster = parse_chords(chosen(music, replace(plain, timeline=((2.0, "300 bpm"),))) or "")
    expected = [(c.symbol, round(2 + (c.start_s - 2) * 0.8, 4)) for c in whole if c.start_s > 2.1]
    assert [(c.symbol, c.start_s) for c in faster if c.start_s > 2.1][: len(expected)] == expected
    minor = parse_chords(chosen(music, replace(plain, timeline=((2.0, "in a minor key"),))) or "")
    assert {c.symbol for c in minor if c.start_s >= 2} <= {"Cm", "Fm", "G7", "G", "Ab", "Bb"}


def test_prompts_that_are_revised_have_the_chords_of_the_timeline(music):
    """As if it had been asked for with this timeline."""
    plain, timeline = ask("in C major, 240 bpm", duration_s=4.0), ((3.0, "in E minor"),)
    batch = music.engine.stream_batch(chunk_s=0.2)
    piece = batch.add(plain)
    batch.advance()
    batch.revise(piece, timeline)
    while len(batch):
        batch.advance()
    clip = music.generate(replace(plain, timeline=timeline))
    assert torch.equal(piece.codes, clip.codes)
    assert info_of(piece.request)["chords"] == clip.info["chords"]


def test_a_prompt_that_changes_on_the_way_changes_the_key_of_its_chords(music):
    with music.stream(ask("in C major, 240 bpm", duration_s=4.0), chunk_s=0.2) as stream:
        next(stream)
        stream.change("in D minor")
        list(stream)
    chords = stream.request.conditions["chords"]
    assert chords[0].symbol in ("C", "F", "Am")
    assert {chord.symbol for chord in chords if chord.start_s > 1} <= {"Dm", "Gm", "A7", "A", "Bb", "C"}
    assert len({chord.symbol for chord in chords if chord.start_s > 1}) > 1


def test_guidance_pushes_away_from_no_chords(music):
    request = Resolver(music.model).resolve(ask(guidance=Guidance(scale=3.0), negative_text="noise"))
    (section,) = plan_sections("piano", (), 5, 50.0, request.tempo_key)
    full, negative = rows_of(request, section)
    assert full.conditions["chords"]
    assert negative.conditions == {"text": "noise"}


def test_models_without_chords_are_unchanged(make_model):
    model = make_model(tempo_key=TempoKeyConfig())
    model.prior = PRIOR
    plain = MusicGen(model, "plain")
    clip = plain.generate(ask())
    assert clip.info["chords"] is None
    assert torch.equal(plain.generate(ask(chords="none")).codes, clip.codes)
    with pytest.raises(InvalidRequest, match="chords: this model takes no chords"):
        plain.generate(ask(chords="C:0"))


def test_a_prior_without_chords_chooses_none(make_model):
    model = make_model(tempo_key=TempoKeyConfig(), chords=ChordsConfig())
    model.prior = Prior(tempo_key=TEMPO_KEY)
    assert chosen(MusicGen(model, "old prior"), ask()) is None
