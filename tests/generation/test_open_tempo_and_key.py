"""Tempo and key that a request leaves open: chosen with its seed, recorded, and never against what it gives."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from descant import Clip, Guidance, InvalidRequest, MusicGen, Request, request_from_info
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.prior import Prior
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.tempo_key_prior import TempoKeyPrior
from descant.errors import ConfigError
from descant.model import MusicGenModel
from descant.tempo_key import NUM_KEYS

PRIOR = TempoKeyPrior(
    tempi_bpm=(60.0, 90.0, 120.0, 180.0),
    tempo_weights=(0.0, 0.0, 0.0, 0.0),
    metres=("4/4",),
    metre_weights=(0.0,),
    metre_tempo_weights=((0.0, 0.0),),
    minor_weight=0.0,
    key_weights=(0.0,) * NUM_KEYS,
    words={},
)
LEVELS = torch.full((4, 12), 7)
MELODY = MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum")


@pytest.fixture(scope="module")
def music(make_model) -> MusicGen:
    model = make_model(tempo_key=TempoKeyConfig(), melody=MELODY)
    model.prior = Prior(tempo_key=PRIOR)
    return MusicGen(model, "with prior")


@pytest.fixture(scope="module")
def without_prior(make_model) -> MusicGen:
    return MusicGen(make_model(tempo_key=TempoKeyConfig(), melody=MELODY), "without")


def ask(text: str | None = "piano", **fields: Any) -> Request:
    return Request(**{"text": text, "duration_s": 0.1, "seed": 5, **fields})


def choice(music: MusicGen, request: Request) -> tuple[float | None, str | None]:
    info = music.generate(request).info
    return info["tempo"], info["key"]


def test_a_choice_is_the_same_as_stating_it(music):
    """Nothing else of the request changes: neither its noise nor its text."""
    chosen = music.generate(ask())
    tempo, key = chosen.info["tempo"], chosen.info["key"]
    assert tempo in PRIOR.tempi_bpm
    assert torch.equal(music.generate(ask(tempo=tempo, key=key)).codes, chosen.codes)
    assert not torch.equal(music.generate(ask(tempo="none", key="none")).codes, chosen.codes)
    other = next(bpm for bpm in PRIOR.tempi_bpm if bpm != tempo)
    assert not torch.equal(music.generate(ask(tempo=other, key=key)).codes, chosen.codes)
    assert not torch.equal(music.generate(ask(tempo=tempo, key="none")).codes, chosen.codes)


def test_the_seed_chooses(music):
    requests = [ask(seed=seed) for seed in range(12)]
    clips = music.generate(requests)
    choices = [(clip.info["tempo"], clip.info["key"]) for clip in clips]
    assert len(set(choices)) > 6
    for request, clip in zip(requests[:3], clips, strict=False):
        alone = music.generate(request)
        assert torch.equal(alone.codes, clip.codes)
        assert alone.info == clip.info


def test_streamed_the_choice_is_the_same(music):
    with music.stream(ask()) as stream:
        assert sum(clip.samples.shape[1] for clip in stream) > 0
    assert torch.equal(stream.codes, music.generate(ask()).codes)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"text": "piano, 77 bpm"},
        {"text": "piano in a minor key", "timeline": ((0.04, "drums"), (0.07, "120 bpm"))},
        {"tempo": "none"},
        {"tempo": 77.0, "key": "none", "timeline": ((0.04, "drums"),)},
        {"tempo": "none", "text": "77 bpm in C major", "timeline": ((0.04, "drums"),)},
        {"text": None},
        {"melody_chroma": LEVELS},
    ],
)
def test_the_record_makes_the_music_again(music, fields):
    clip = music.generate(ask(**fields))
    again = music.generate(request_from_info(json.loads(json.dumps(clip.info))))
    assert torch.equal(again.codes, clip.codes)
    assert again.info == clip.info


def test_a_record_of_an_earlier_version_chooses_nothing(music):
    info = {name: value for name, value in music.generate(ask()).info.items() if name not in ("tempo", "key")}
    earlier = music.generate(ask(tempo="none", key="none")).codes
    assert torch.equal(music.generate(request_from_info(info)).codes, earlier)


def test_what_is_stated_is_kept(music):
    assert choice(music, ask("piano, 77 bpm"))[0] == 77.0
    assert choice(music, ask("piano in f# minor"))[1] == "F# minor"
    assert choice(music, ask(tempo=77.5, key="bbm")) == (77.5, "Bb minor")
    assert choice(music, ask("in C major", tempo="none")) == (None, "C major")
    assert all("minor" in choice(music, ask("in a minor key", seed=seed))[1] for seed in range(4))


@pytest.mark.parametrize(
    "fields",
    [
        {"melody_chroma": LEVELS},
        {"melody": Clip(torch.ones(1, 8_000) / 2, 8_000)},
        {"prompt_codes": torch.zeros(4, 2, dtype=torch.long)},
        {"prompt": Clip(torch.ones(1, 400) / 2, 8_000)},
        {"text": None},
        {"text": " "},
    ],
)
def test_nothing_is_chosen_without_a_text_or_beside_music(music, without_prior, fields):
    request = ask(**fields)
    clip = music.generate(request)
    assert (clip.info["tempo"], clip.info["key"]) == (None, None)
    assert torch.equal(clip.codes, without_prior.generate(request).codes)


def test_later_prompts_keep_the_tempo_of_the_beginning(music):
    chosen = music.generate(ask(timeline=((0.05, "drums"),)))
    tempo, key = chosen.info["tempo"], chosen.info["key"]
    stated = ask("piano", tempo=tempo, key=key, timeline=((0.05, "drums"),))
    assert torch.equal(music.generate(stated).codes, chosen.codes)
    half = chosen.codes.shape[1] // 2
    open_later = music.generate(ask(tempo="none", key="none", timeline=((0.05, "drums"),)))
    with_own = music.generate(replace(stated, timeline=((0.05, "drums, 240 bpm"),)))
    assert torch.equal(with_own.codes[:, :half], chosen.codes[:, :half])
    assert not torch.equal(with_own.codes, chosen.codes)
    assert not torch.equal(open_later.codes, chosen.codes)


def test_models_without_the_condition_are_unchanged(tiny_model):
    plain = MusicGen(tiny_model, "plain")
    clip = plain.generate(ask())
    assert (clip.info["tempo"], clip.info["key"]) == (None, None)
    assert torch.equal(plain.generate(ask(tempo="none", key="none")).codes, clip.codes)
    with pytest.raises(InvalidRequest, match=r"tempo=90\.0: this model reads a tempo in the text only"):
        plain.generate(ask(tempo=90.0))
    with pytest.raises(InvalidRequest, match="key='Am': this model reads a key in the text only"):
        plain.generate(ask(key="Am"))
    with pytest.raises(ConfigError, match="prior: this model has no tempo"):
        MusicGenModel(tiny_model.config, tiny_model.text.encoder, prior=Prior(tempo_key=PRIOR))


def test_where_guidance_leaves_out_the_text_it_leaves_out_its_tempo(music):
    """As in training. With nothing but the text to leave out, the row is the null condition."""
    from descant.generation.condition_rows import rows_of
    from descant.generation.resolve import Resolver
    from descant.generation.state import plan_sections

    request = Resolver(music.model).resolve(ask(guidance=Guidance(scale=3.0, melody_scale=None)))
    request = replace(request, guidance=replace(request.guidance, text_scale=2.0))
    (section,) = plan_sections("piano", (), 5, 50.0, request.tempo_key)
    full, without_text, negative = rows_of(request, section)
    assert full.conditions["tempo_key"] == request.tempo_key
    assert without_text.conditions == {"text": None, "tempo_key": None}
    assert "tempo_key" not in negative.conditions


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tempo": 0}, "tempo=0: must lie between 30 and 300"),
        ({"tempo": 1000}, "tempo=1000: must lie between 30 and 300"),
        ({"tempo": "quick"}, "tempo='quick': expected beats per minute, auto or none"),
        ({"tempo": None}, "tempo=None: expected a finite number"),
        ({"tempo": True}, "tempo=True: expected a finite number"),
        ({"key": "H major"}, "key='H major': expected a key such as"),
        ({"key": 3}, "key=3: expected a key such as"),
        ({"text": "90 bpm", "tempo": 91}, "tempo=91: the text states 90 bpm"),
        ({"text": "in C major", "key": "Am"}, "key='Am': the text states C major"),
        ({"text": "in a minor key", "key": "C"}, "key='C': the text states a minor key"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_nonsense_and_contradictions_are_refused(fields, message):
    with pytest.raises(InvalidRequest) as refused:
        ask(**fields)
    assert message in str(refused.value)


def test_a_loop_may_take_its_tempo_from_the_request():
    assert ask("drums", tempo=120.0, loop_bars=2).result_s == 4.0
