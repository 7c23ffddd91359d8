import pytest
import torch
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.conditioning.style import StyleFeatures
from descant.errors import CheckpointError, InvalidRequest
from descant.evaluation.embedded_clips import embed_clips
from descant.evaluation.embedders import ClapEmbedder, MERTEmbedder, WeightsFile
from descant.evaluation.text_agreement import text_agreement, text_agreement_of_each_clip

NO_WEIGHTS = WeightsFile("none", "0" * 64)


class LoudOrQuiet(JointEncoder):
    """Puts loud audio near the word loud, and other audio and texts at right angles to it."""

    def to(self, _):
        return self

    def embed_text(self, text):
        return torch.tensor([1.0, 0.0]) if "loud" in text else torch.tensor([0.0, 1.0])

    def embed_window(self, wave):
        return F.normalize(torch.stack([wave.abs().mean(), torch.tensor(0.1)]), dim=0)


class Frames(StyleFeatures):
    """A frame per sample: its value, and its square."""

    dim = 2
    sample_rate_hz = 1_000

    def to(self, _):
        return self

    def features(self, wave):
        return torch.stack([wave, wave**2], dim=1)


@pytest.fixture
def clap():
    config = ClapConfig(name="owner/tiny", dim=2, sample_rate_hz=8_000, window_s=1.0, stride_s=0.5)
    return ClapEmbedder(LoudOrQuiet(config), NO_WEIGHTS)


def level(value, duration_s, rate_hz=8_000):
    return Clip(torch.full((1, round(duration_s * rate_hz)), value), rate_hz)


@pytest.mark.parametrize("duration_s", [0.6, 1.0, 1.4, 1.5, 3.2])
def test_claps_windows_and_mean_are_those_of_the_condition(clap, duration_s):
    clip = Clip(torch.randn(1, round(duration_s * 8_000), generator=torch.Generator().manual_seed(0)), 8_000)
    [embedded] = embed_clips(clap, [("a", clip)]).clips
    torch.testing.assert_close(embedded.vectors, clap.encoder.embed_windows(clip))


def test_text_agreement_is_the_cosine_of_the_mean_window_and_the_text(clap):
    clips = embed_clips(clap, [("loud", level(1.0, 2)), ("quiet", level(0.0, 2))])
    of_each = text_agreement_of_each_clip(clap, clips, {"loud": "a loud song", "quiet": "a loud song", "other": "x"})
    assert of_each["quiet"] == pytest.approx(0)
    assert of_each["loud"] == pytest.approx(1 / (1 + 0.1**2) ** 0.5, rel=1e-5)
    right, wrong = (
        text_agreement(clap, clips, {"loud": loud, "quiet": quiet})
        for loud, quiet in (("a loud song", "a soft song"), ("a soft song", "a loud song"))
    )
    assert right.value > 0.9 > 0.1 > wrong.value
    assert (right.count, right.embedder) == (2, clap.label)
    assert clap.label == "CLAP tiny (none, sha256 000000000000)"


def test_clips_without_text_and_of_another_embedder_are_refused(clap):
    clips = embed_clips(clap, [("a", level(1.0, 2)), ("b", level(1.0, 2))])
    with pytest.raises(InvalidRequest, match=r"1 clip has no text, first \['b'\]"):
        text_agreement(clap, clips, {"a": "loud", "b": " "})
    other = ClapEmbedder(clap.encoder, WeightsFile("other", "1" * 64))
    with pytest.raises(InvalidRequest, match="do not compare"):
        text_agreement(other, clips, {"a": "loud", "b": "loud"})


def test_mert_is_the_mean_of_every_five_seconds_and_of_a_last_overlapping_window():
    mert = MERTEmbedder(Frames(), "MERT", NO_WEIGHTS)
    wave = torch.arange(8_000.0) / 8_000
    [embedded] = embed_clips(mert, [("a", Clip(wave[None], 1_000))]).clips
    expected = [[part.mean(), (part**2).mean()] for part in (wave[:5_000], wave[3_000:])]
    torch.testing.assert_close(embedded.vectors, torch.tensor(expected))


def test_a_folder_without_weights_and_short_clips_are_refused(tmp_path, clap):
    with pytest.raises(CheckpointError, match=r"none of model\.safetensors, pytorch_model\.bin is there"):
        WeightsFile.of_frozen_network(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"abc")
    assert WeightsFile.of_frozen_network(str(tmp_path)).sha256.startswith("ba7816bf")
    with pytest.raises(InvalidRequest, match=r"needs at least 0\.5 s"):
        clap.windows(level(1.0, 0.4))
    with pytest.raises(InvalidRequest, match="needs at least 1 s"):
        MERTEmbedder(Frames(), "MERT", NO_WEIGHTS).windows(level(1.0, 0.9, rate_hz=1_000))


def test_the_embedders_of_a_folder_load(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 3), conv_stride=(5, 2), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    network = transformers.HubertModel(config)
    network.save_pretrained(tmp_path)
    mert = MERTEmbedder.load(str(tmp_path))
    clip = Clip(torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0)), 24_000)
    [embedded] = embed_clips(mert, [("a", clip)]).clips
    with torch.no_grad():
        theirs = network.eval()(clip.samples).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(embedded.vectors, theirs, rtol=0, atol=1e-5)
    assert mert.weights.name == "model.safetensors"


def test_the_clap_of_a_folder_is_the_one_that_conditions_models(clap_config):
    clap = ClapEmbedder.load(clap_config)
    clip = Clip(torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1, 8_000)
    [embedded] = embed_clips(clap, [("a", clip)]).clips
    torch.testing.assert_close(embedded.vectors, clap.encoder.embed_windows(clip))
    torch.testing.assert_close(clap.embed_text("warm piano"), clap.encoder.embed_text("warm piano"))
    assert clap.weights.name == "model.safetensors"
