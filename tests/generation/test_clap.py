"""Models with a joint space of text and audio: conditioned on either, guided, and stored."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from descant.audio import Clip
from descant.checkpoints import audiocraft_config, huggingface_config, native
from descant.conditioning.base import Conditions
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig
from descant.conditioning.encoders.clap import ClapEncoder
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError, ConfigError, InvalidRequest
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.model import MusicGenModel
from descant.presets import small

FRAME_S = 0.02
WORDS = ("warm", "slow", "piano", "drums", "techno", "sad", "violin")


class Counting(ClapEncoder):
    """Counts the texts that it is asked for."""

    texts: list[str]

    def embed_text(self, text: str) -> Tensor:
        self.texts.append(text)
        return super().embed_text(text)


@pytest.fixture(scope="module")
def clap_model(make_model, clap_config) -> MusicGenModel:
    model = make_model(clap=clap_config)
    model.clap.encoder = ClapEncoder.load(clap_config)
    # The text encoder gives the same for all texts here: only the joint space distinguishes them.
    model.text.project.weight.zero_()
    places = [model.clap.encoder.embed_text(f"{first} {second}") for first in WORDS for second in WORDS]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.clap.start(torch.stack(places))
    model.clap.project.weight.mul_(5.0)
    return model


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": 12 * FRAME_S, "seed": 1, **changes})


def codes_of(model: MusicGenModel, *requests: Request) -> list[Tensor]:
    return [made.codes for made in Engine(model).generate(requests)]


def logits_of(model: MusicGenModel, *rows: Conditions) -> Tensor:
    start = torch.full((len(rows), 4, 1), model.lm.special_code)
    return model.lm(start, model.inputs(model.prepare(list(rows)), model.span()))[:, :, -1]


def test_two_texts_and_no_text_give_different_codes(clap_model):
    first, second, none = codes_of(clap_model, ask(), ask(text="sad violin"), ask(text=None))
    assert not torch.equal(first, second)
    assert not torch.equal(first, none)


def test_guidance_compares_with_no_text_and_with_the_negative_text(clap_model):
    results = codes_of(
        clap_model,
        ask(guidance=Guidance(scale=1.0)),
        ask(guidance=Guidance(scale=3.0)),
        ask(guidance=Guidance(scale=3.0), negative_text="sad violin"),
    )
    assert len({tuple(codes.flatten().tolist()) for codes in results}) == 3


def test_the_unconditional_row_of_guidance_has_the_null_point(clap_model):
    """One frame written out: guidance on the logits of a row with the text's point and of a row without one."""
    request = ask(duration_s=FRAME_S, sampling=Sampling(greedy=True), guidance=Guidance(scale=3.0))
    towards, against = logits_of(clap_model, {"text": "warm piano"}, {})
    assert not torch.allclose(towards, against)
    assert codes_of(clap_model, request)[0][0, 0] == (against + 3 * (towards - against))[0].argmax()


def test_a_point_alone_changes_the_logits_and_may_be_that_of_audio(clap_model):
    heard = clap_model.clap.encoder.embed_audio(Clip(torch.rand(1, 8_000) - 0.5, 8_000))
    of_text = clap_model.clap.encoder.embed_text("warm piano")
    written, told, sound = logits_of(
        clap_model,
        {"text": "warm piano"},
        {"text": "warm piano", "clap": of_text},
        {"text": "warm piano", "clap": heard},
    )
    assert torch.equal(written, told)
    assert not torch.allclose(written, sound)


def test_requests_give_the_same_codes_alone_and_together(clap_model):
    requests = [
        ask(),
        ask(text="sad violin with drums", seed=2, negative_text="techno"),
        ask(text=None, seed=3),
        ask(seed=4, guidance=Guidance(scale=1.0), duration_s=5 * FRAME_S),
    ]
    alone = [codes_of(clap_model, request)[0] for request in requests]
    for ours, theirs in zip(codes_of(clap_model, *requests), alone, strict=True):
        assert torch.equal(ours, theirs)


def test_a_text_that_several_rows_share_is_embedded_once(clap_model, clap_config):
    counting = Counting.load(clap_config)
    counting.texts = []
    usual, clap_model.clap.encoder = clap_model.clap.encoder, counting
    try:
        clap_model.inputs(
            clap_model.prepare([{"text": "warm"}, {"text": "warm"}, {"text": " "}, {}]), clap_model.span()
        )
    finally:
        clap_model.clap.encoder = usual
    assert counting.texts == ["warm"]


def test_a_point_is_one_position_before_the_text_or_in_the_prefix(clap_model, make_model, clap_config):
    row = [{"text": "warm slow piano"}, {}]
    attended = clap_model.inputs(clap_model.prepare(row), clap_model.span())
    assert attended.cross.shape[1] == 1 + 3
    assert attended.cross_mask.tolist() == [[True] * 4, [False] * 4]
    assert not attended.cross[1].any()
    prefixed = make_model(clap=clap_config, lm_changes={"has_cross_attention": False})
    prefixed.clap.encoder = clap_model.clap.encoder
    inputs = prefixed.inputs(prefixed.prepare(row), prefixed.span())
    assert inputs.cross is None
    assert inputs.prefix.shape[1] == 1 + 3
    assert not inputs.prefix[1].any()


def test_a_model_without_its_encoder_takes_points_only(make_model, clap_config):
    model = make_model(clap=clap_config)
    with pytest.raises(InvalidRequest, match="is not loaded"):
        model.inputs(model.prepare([{"text": "warm piano"}]), model.span())
    prepared = model.prepare([{"text": "warm piano", "clap": torch.ones(12)}, {}])
    assert model.inputs(prepared, model.span()).cross.shape[1] == 3
    assert codes_of(model, ask(text=None))


def test_an_encoder_for_another_joint_space_is_refused(clap_model, make_model, word_hashes, clap_config):
    encoder = clap_model.clap.encoder
    with pytest.raises(ConfigError, match="clap_encoder is made for"):
        MusicGenModel(make_model().config, word_hashes(12), clap_encoder=encoder)
    other = replace(make_model().config, clap=replace(clap_config, stride_s=0.5))
    with pytest.raises(ConfigError, match="clap_encoder is made for"):
        MusicGenModel(other, word_hashes(12), clap_encoder=encoder)


@pytest.mark.parametrize("storage", ["exact", "int8"])
def test_a_model_that_is_saved_and_loaded_is_the_same(clap_model, tmp_path, monkeypatch, word_hashes, storage):
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    monkeypatch.setattr(native, "load_text_encoder", lambda *_: word_hashes(12))
    native.save_model(clap_model, tmp_path / "model", storage=storage)
    again = native.load_model(tmp_path / "model")
    assert again.config == clap_model.config
    for name, tensor in clap_model.clap.quantizer.state_dict().items():
        assert torch.equal(again.clap.quantizer.state_dict()[name], tensor)
    if storage == "exact":
        assert torch.equal(codes_of(again, ask())[0], codes_of(clap_model, ask())[0])


def test_a_language_model_in_half_precision_keeps_its_codebooks(clap_model, tmp_path, monkeypatch, word_hashes):
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    monkeypatch.setattr(native, "load_text_encoder", lambda *_: word_hashes(12))
    native.save_model(clap_model, tmp_path / "model")
    half = native.load_model(tmp_path / "model", dtype=torch.bfloat16)
    assert half.clap.project.weight.dtype == torch.bfloat16
    assert torch.equal(half.clap.quantizer.levels[0].codebook, clap_model.clap.quantizer.levels[0].codebook)
    assert half.inputs(half.prepare([{"text": "warm piano"}]), half.span()).cross.dtype == torch.bfloat16


LATER = {
    "clap": {"clap": ClapConfig()},
    "bottleneck": {"melody": MelodyConfig(bottleneck="full")},
    "fusion": {"melody": MelodyConfig(fusion="sum")},
    "null": {"melody": MelodyConfig(null="nothing")},
    "pooled_frames": {"melody": MelodyConfig(pooled_frames=2)},
    "neighbours": {"melody": MelodyConfig(neighbours=1)},
    "is_normalized": {"text": T5Text(is_normalized=True)},
}
"""Settings that no released model has, and that other layouts cannot store."""


@pytest.mark.parametrize("what", LATER)
@pytest.mark.parametrize("layout", ["transformers", "audiocraft"])
def test_settings_that_another_layout_cannot_store_are_refused_by_name(what, layout):
    plain = small()
    transformer = replace(plain.lm.transformer, has_cross_attention="melody" not in LATER[what])
    config = replace(plain, lm=replace(plain.lm, transformer=transformer), **LATER[what])
    write = {
        "audiocraft": audiocraft_config.write_model,
        "transformers": partial(huggingface_config.write_model, text_encoder={"d_model": 768}),
    }
    with pytest.raises(CheckpointError, match="CLAP" if what == "clap" else what):
        write[layout](config)
