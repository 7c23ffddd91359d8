from dataclasses import replace

import pytest
import torch

from descant.audio import Clip
from descant.errors import CheckpointError, InvalidRequest
from descant.evaluation.embedded_clips import embed_clips
from descant.evaluation.embedders import PaSSTEmbedder, WeightsFile
from descant.evaluation.embedders.passt import PaSST, PaSSTConfig, log_mel

TINY = PaSSTConfig(width=12, num_layers=2, num_heads=3, num_labels=5)


def network_of_formula():
    """A tiny network whose weights are made by a formula, in the order of its parameters."""
    network = PaSST(TINY).eval()
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            places = torch.arange(weight.numel(), dtype=torch.float64)
            values = (torch.sin(12.9898 * places + number) * 43_758.5453).remainder(1).sub(0.5)
            weight.copy_(values.reshape(weight.shape))
    return network


def embedder_of(network):
    return PaSSTEmbedder(network, WeightsFile("none", "0" * 64))


def test_the_network_has_the_parameters_of_the_released_one():
    """With 527 labels, 12 x 200 positions and without the head of the second token, which is not used."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in PaSST(PaSSTConfig()).parameters()) == 85_826_063


def test_our_network_is_hear21passts():
    """The values were printed by ``models.passt.PaSST`` of hear21passt 0.0.26 with these weights, for these patches."""
    band, frame = torch.arange(128.0)[:, None], torch.arange(60.0)[None]
    mel = torch.stack([torch.sin(0.21 * frame + 0.001 * band**2), torch.cos(0.4 * band) * torch.cos(0.07 * frame)])
    network = network_of_formula()
    features = network.features(mel)
    expected = [
        [0.012662, 0.335967, 0.183049, -0.511201, -0.160783, -0.546958],
        [0.007433, 0.328256, 0.174917, -0.513102, -0.163311, -0.527868],
    ]
    torch.testing.assert_close(features[:, :6], torch.tensor(expected), rtol=0, atol=1e-5)
    logits = [
        [-0.131335, 0.453058, -0.021896, 0.454161, 0.231142],
        [-0.136177, 0.442846, -0.021469, 0.453609, 0.227531],
    ]
    torch.testing.assert_close(network.head(features), torch.tensor(logits), rtol=0, atol=1e-5)


def test_our_spectrogram_is_hear21passts():
    """The values were printed by the operations of ``AugmentMelSTFT`` with torchaudio 2.8's ``get_mel_banks``."""
    n = torch.arange(16_000).double()
    wave = (0.3 * torch.sin(2e-5 * n**2) + 0.01 * torch.sin(0.9 * n)).float()
    expected = [
        [0.391245, -1.402512, -0.592502],
        [-0.952799, -1.374484, -0.207849],
        [-0.420177, -1.402510, -0.144054],
        [-1.102535, -1.402585, -0.630131],
    ]
    mel = log_mel(wave[None])[0]
    assert mel.shape == (128, 50)
    torch.testing.assert_close(mel[[0, 30, 90, 127]][:, [0, 20, 49]], torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("duration_s", "lengths_s"), [(0.2, [0.2]), (20, [20]), (20.1, [20]), (30, [20, 10])])
def test_the_last_window_is_as_short_as_the_rest(duration_s, lengths_s):
    clip = Clip(torch.zeros(1, round(duration_s * 32_000)), 32_000)
    windows = embedder_of(PaSST(TINY)).windows(clip)
    assert [len(window) / 32_000 for window in windows] == lengths_s


def test_a_window_has_the_softmax_of_its_logits_and_its_own_embedding_in_any_batch():
    embedder = embedder_of(network_of_formula())
    generator = torch.Generator().manual_seed(0)
    clips = [(f"{s}", Clip(torch.randn(1, s * 32_000, generator=generator) * 0.1, 32_000)) for s in (1, 1, 21)[1:]]
    for embedded, (_, clip) in zip(embed_clips(embedder, clips, batch_windows=3).clips, clips, strict=True):
        pairs = [embedder.embed_and_label(window[None]) for window in embedder.windows(clip)]
        torch.testing.assert_close(embedded.vectors, torch.cat([vectors for vectors, _ in pairs]))
        expected = torch.softmax(torch.cat([logits for _, logits in pairs]).double(), dim=1)
        torch.testing.assert_close(embedded.label_probabilities, expected)


def test_released_names_load_and_the_unused_head_is_ignored(tmp_path, monkeypatch):
    tiny = replace(TINY, num_time_positions=200)
    monkeypatch.setattr("descant.evaluation.embedders.passt.PaSSTConfig", lambda: tiny)
    stored = PaSST(tiny).state_dict()
    assert {"cls_token", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias", "head.1.weight"} <= stored.keys()
    torch.save(stored | {"head_dist.weight": torch.ones(5, 12)}, tmp_path / "passt.pt")
    embedder = PaSSTEmbedder.load(tmp_path / "passt.pt")
    assert embedder.label.startswith("PaSST (passt.pt, sha256 ")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"swa\.pt: missing; download it from https://github\.com"):
        PaSSTEmbedder.load()
    with pytest.raises(InvalidRequest, match=r"needs at least 0\.2 s"):
        embedder.windows(Clip(torch.zeros(1, 4_000), 32_000))
