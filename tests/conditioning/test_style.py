"""The style bottleneck: what it lets through, and what a style model is conditioned on."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.checkpoints import native
from descant.conditioning.base import FrameSpan
from descant.conditioning.encoders.mert import MERTFeatures
from descant.conditioning.style import StyleConditioner, StyleConfig, excerpt
from descant.errors import CheckpointError, ConfigError, InvalidRequest

TINY = StyleConfig(
    features="none",
    feature_dim=5,
    width=8,
    num_heads=2,
    num_layers=2,
    num_codebooks=4,
    codebook_size=16,
    used_codebooks=2,
    stride_frames=3,
)


@pytest.fixture(scope="module")
def conditioner() -> StyleConditioner:
    torch.manual_seed(0)
    made = StyleConditioner(TINY, lm_width=6).eval()
    for level in made.quantizer.levels:
        level.codebook.normal_()
    made.batch_norm.running_mean.normal_()
    made.batch_norm.running_var.uniform_(0.5, 2.0)
    return made.requires_grad_(False)


def test_only_some_levels_and_frames_are_used(conditioner):
    codes = conditioner.codes(torch.randn(10, 5))
    assert codes.shape == (2, 4)
    assert ((codes >= 0) & (codes < 16)).all()


def test_the_released_bottleneck_gives_five_frames_a_second():
    """224 frames are what MERT makes of three seconds."""
    released = StyleConfig(num_layers=1)
    made = StyleConditioner(released, lm_width=4).eval()
    assert made.codes(torch.randn(224, 768)).shape == (3, 15)


def test_each_level_codes_the_residual_of_the_levels_before(conditioner):
    """The path written out: embedding, positions, transformer, normalisation, then nearest entries one by one."""
    features = torch.randn(7, 5)
    from descant.nn.positions import sinusoidal

    hidden = conditioner.blocks((conditioner.embed(features) + sinusoidal(7, 8))[None])[0]
    norm = conditioner.batch_norm
    residual = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    for level, codes in zip(list(conditioner.quantizer.levels)[:2], conditioner.codes(features), strict=True):
        nearest = torch.cdist(residual, level.codebook).argmin(dim=1)
        assert torch.equal(codes, nearest[::3])
        residual = residual - level.codebook[nearest]


def test_a_style_is_the_projected_sum_of_its_entries_and_the_null_style_is_zeros(conditioner):
    codes = torch.tensor([[1, 2, 3], [4, 5, 6]])
    span = FrameSpan(num_frames=1, frame_rate_hz=50.0, input_frames=torch.zeros(1))
    embedding = conditioner(conditioner.prepare([{}, {"style": codes}]), span)["prefix"]
    first, second = (level.codebook for level in list(conditioner.quantizer.levels)[:2])
    expected = conditioner.project(first[codes[0]] + second[codes[1]])
    torch.testing.assert_close(embedding.values[1], expected)
    assert not embedding.values[0].any()
    assert embedding.mask.tolist() == [[False] * 3, [True] * 3]
    assert not conditioner([codes], span, torch.tensor([True]))["prefix"].values.any()
    assert conditioner([None, None], span)["prefix"].values.shape == (2, 1, 6)


def test_an_excerpt_is_the_middle_and_a_short_clip_is_refused():
    clip = Clip(torch.linspace(-1, 1, 8_000 * 9)[None], 8_000)
    middle = excerpt(clip, TINY)
    assert middle.duration_s == 3.0
    assert torch.equal(middle.samples, clip.samples[:, 24_000:48_000])
    short = Clip(clip.samples[:, :16_000], 8_000)
    assert torch.equal(excerpt(short, TINY).samples, short.samples)
    with pytest.raises(InvalidRequest, match=r"1\.5 s at least"):
        excerpt(Clip(clip.samples[:, :8_000], 8_000), TINY)


@pytest.mark.parametrize("changes", [{"used_codebooks": 7}, {"stride_frames": 0}, {"min_excerpt_s": 4.0}], ids=str)
def test_an_invalid_config_is_refused_by_its_field(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        StyleConfig(**changes)


@pytest.fixture(scope="module")
def mert(tmp_path_factory) -> Callable[..., str]:
    """Writes a random MERT as the hub stores one: a HuBERT's weights under a name of its own."""
    transformers = pytest.importorskip("transformers")

    def write(**changes: object) -> str:
        folder = tmp_path_factory.mktemp("mert")
        torch.manual_seed(0)
        config = transformers.HubertConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8, 8, 8),
            conv_kernel=(10, 3, 2),
            conv_stride=(5, 2, 2),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
        )
        transformers.HubertModel(config).save_pretrained(folder)
        import json

        file = folder / "config.json"
        stored = json.loads(file.read_text())
        file.write_text(json.dumps({**stored, "model_type": "mert_model", "feature_extractor_cqt": False, **changes}))
        return str(folder)

    return write


def test_mert_gives_what_transformers_hubert_gives(mert):
    import transformers

    folder = mert()
    wave = torch.randn(2_400)
    ours: Float[Tensor, "T F"] = MERTFeatures.load(folder).features(wave)
    theirs = transformers.HubertModel.from_pretrained(folder).eval()(wave[None]).last_hidden_state[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert MERTFeatures.load(folder).dim == 16


def test_a_style_model_is_read_with_its_encoder(mert, make_model, word_hashes, tmp_path, monkeypatch):
    """The encoder was once read while tensors were on the meta device, where transformers reads no weights."""
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    monkeypatch.setattr(native, "load_text_encoder", lambda *_: word_hashes(12))
    config = replace(TINY, features=mert(), feature_dim=16)
    native.save_model(make_model(style=config), tmp_path / "model")
    again = native.load_model(tmp_path / "model")
    assert again.style.encoder.dim == 16
    assert again.style.extract(Clip(torch.rand(1, 48_000) - 0.5, 24_000)).shape[0] == TINY.used_codebooks


def test_a_mert_that_is_more_than_a_hubert_and_a_missing_one_are_refused(mert, tmp_path):
    with pytest.raises(CheckpointError, match="feature_extractor_cqt=True"):
        MERTFeatures.load(mert(feature_extractor_cqt=True))
    with pytest.raises(CheckpointError, match="no MERT could be read"):
        MERTFeatures.load(str(tmp_path))
