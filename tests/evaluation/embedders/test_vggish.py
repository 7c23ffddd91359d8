import pytest
import torch

from descant.audio import Clip
from descant.errors import CheckpointError, InvalidRequest
from descant.evaluation.embedders import VGGishEmbedder, WeightsFile
from descant.evaluation.embedders.vggish import VGGish, log_mel


@pytest.fixture
def embedder():
    """Without weights: its network cannot be run, its windows can be cut."""
    with torch.device("meta"):
        return VGGishEmbedder(VGGish(), WeightsFile("none", "0" * 64))


def test_the_network_has_the_parameters_of_vggish():
    with torch.device("meta"):
        network = VGGish()
        assert sum(parameter.numel() for parameter in network.parameters()) == 72_141_184
        assert network(torch.zeros(2, 96, 64)).shape == (2, 128)


def test_our_spectrogram_is_torchvggishs():
    """The values were printed by ``waveform_to_examples`` of torchvggish 0.2, which is Google's code, for this wave."""
    n = torch.arange(16_000).double()
    wave = (0.3 * torch.sin(2e-5 * n**2) + 0.01 * torch.sin(0.9 * n)).float()
    expected = [
        [-1.73924, -4.59037, -4.56843, -4.60504],
        [-4.41289, -2.75129, -4.55769, -4.60418],
        [-4.59177, -4.07103, -4.50019, -4.60333],
    ]
    mel = log_mel(wave[None, : VGGishEmbedder.window_samples])[0]
    assert mel.shape == (96, 64)
    torch.testing.assert_close(mel[[0, 47, 95]][:, [0, 20, 40, 63]], torch.tensor(expected), rtol=0, atol=1e-3)


def test_windows_have_the_frames_of_the_whole_clip(embedder):
    clip = Clip(torch.randn(1, 16_000 * 3, generator=torch.Generator().manual_seed(0)) * 0.1, 16_000)
    windows = embedder.windows(clip)
    whole = log_mel(clip.samples)[0]
    assert len(windows) == len(whole) // 96 == 3
    torch.testing.assert_close(log_mel(torch.stack(windows)).flatten(0, 1), whole[: 3 * 96])


def test_short_clips_and_missing_weights_are_refused(monkeypatch, tmp_path, embedder):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"vggish-10086976\.pth: missing; download it from https://github\.com"):
        VGGishEmbedder.load()
    with pytest.raises(InvalidRequest, match=r"0\.90 s: VGGish needs at least 0\.975 s"):
        embedder.windows(Clip(torch.zeros(1, 14_400), 16_000))


def test_our_features_are_torchvggishs_in_their_order():
    """The values were printed by torchvggish 0.2 without its dense layers, with these weights, for this patch."""
    network = VGGish().eval()
    with torch.no_grad():
        for number, weight in enumerate(network.features.parameters()):
            places = torch.arange(weight.numel(), dtype=torch.float64)
            values = (torch.sin(12.9898 * places + number) * 43_758.5453).remainder(1).sub(0.5)
            weight.copy_((values * (0.05 if weight.ndim > 1 else 0.1)).reshape(weight.shape))
        frame, band = torch.arange(96.0)[:, None], torch.arange(64.0)[None]
        flat = network.convolve(torch.sin(0.21 * frame + 0.01 * band**2)[None])[0]
    expected = torch.tensor([0.058775, 0.062550, 0.0, 0.100228, 0.0, 0.105070])
    torch.testing.assert_close(flat[[0, 1, 600, 1_699, 5_001, 11_939]], expected, rtol=0, atol=1e-5)
