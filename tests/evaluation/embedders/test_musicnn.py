from pathlib import Path

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest, MissingExtra
from descant.evaluation.embedded_clips import embed_clips
from descant.evaluation.embedders import TAGS, MusiCNN, MusiCNNEmbedder, MusicTagger, musicnn, musicnn_weights
from descant.evaluation.kernel_distance import kernel_audio_distance
from descant.evaluation.label_kl import label_kl

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
MELODY = (72, 76, 79, 84, 83, 79, 77, 76, 74, 79)
CHORDS = ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
BEAT = ((36,), (42,), (38,), (42,)) * 8
# GM program, drum kit or not, successive chords, tags of which one must be recognised
SOUNDS = {
    "violin": (40, False, [(key,) for key in MELODY], {"violin", "strings"}),
    "flute": (73, False, [(key,) for key in MELODY], {"flute"}),
    "choir": (52, False, CHORDS, {"choir", "choral"}),
    "guitar": (24, False, [(key - 12,) for key in MELODY], {"guitar"}),
    "drums": (0, True, BEAT, {"drums", "beat", "beats"}),
}


@pytest.fixture(scope="module")
def tagger():
    try:
        return MusicTagger.load()
    except MissingExtra as error:
        pytest.skip(str(error))


def played(program, is_drums, chords, duration_s=6, rate=16_000):
    if not SOUNDFONT.is_file():
        pytest.skip(f"{SOUNDFONT} is missing: apt-get install fluid-soundfont-gm")
    tinysoundfont = pytest.importorskip("tinysoundfont", reason="tinysoundfont is not installed")
    synth = tinysoundfont.Synth(samplerate=rate)
    font = synth.sfload(str(SOUNDFONT))
    synth.program_select(0, font, 128 if is_drums else 0, program, is_drums)
    chunks = []
    for chord in chords:
        for key in chord:
            synth.noteon(0, key, 100)
        chunks.append(np.frombuffer(bytes(synth.generate(duration_s * rate // len(chords))), np.float32))
        for key in chord:
            synth.noteoff(0, key)
    mono = np.concatenate(chunks).reshape(-1, 2).mean(axis=1)
    return Clip(samples=torch.from_numpy(mono)[None], sample_rate_hz=rate)


@pytest.mark.parametrize("sound", SOUNDS)
def test_an_instrument_of_a_soundfont_is_recognised(tagger, sound):
    program, is_drums, chords, expected = SOUNDS[sound]
    probabilities = dict(zip(TAGS, tagger.tag(played(program, is_drums, chords)).tolist(), strict=True))
    of_instruments = set.union(*(tags for *_, tags in SOUNDS.values()))
    assert max(of_instruments, key=lambda tag: probabilities[tag]) in expected


def test_our_network_is_tensorflows_under_renaming(tagger):
    """The logits were printed by musicnn's own graph (``models.define_model``) under TensorFlow 2.15.1, on the CPU."""
    frame, band = torch.arange(187.0)[:, None], torch.arange(96.0)[None, :]
    waves = 2 + 2 * torch.sin(0.21 * frame + 0.05 * band**2)
    stripes = 3 * torch.sin(0.4 * band) * torch.cos(0.07 * frame * (1 + band / 40))
    logits = tagger.network(torch.stack([waves, stripes.clamp(min=0)]))
    expected = [
        [-3.1155, -3.9912, -5.9424, -12.9891, -1.6546, -10.3789, -14.0056, -12.0744, -4.1682, -9.1924],
        [-3.4420, -5.2422, -2.6242, -8.5792, -4.9956, -4.3089, -6.6960, -5.1227, -8.2653, -7.2327],
    ]
    torch.testing.assert_close(logits[:, :10], torch.tensor(expected), rtol=0, atol=1e-3)


def test_our_spectrogram_is_librosas():
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    wave = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    power = librosa.feature.melspectrogram(
        y=wave.numpy(), sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    expected = torch.from_numpy(np.log10(10_000 * power.T + 1))
    torch.testing.assert_close(musicnn._log_mel(wave), expected, rtol=1e-4, atol=1e-4)


def test_the_level_of_a_clip_does_not_change_its_tags(tagger):
    clip = played(*SOUNDS["flute"][:3])
    quiet = Clip(samples=clip.samples * 0.1, sample_rate_hz=clip.sample_rate_hz)
    torch.testing.assert_close(tagger.tag(quiet), tagger.tag(clip), rtol=0, atol=0.02)


def test_a_clip_is_the_mean_of_its_patches():
    torch.manual_seed(0)
    tagger = MusicTagger(MusiCNN())
    mel = torch.rand(2 * 187 + 30, 96)
    patches = musicnn._patches(mel)
    assert patches.shape == (2, 187, 96)
    apart = [tagger.network(patch[None]) for patch in patches]
    torch.testing.assert_close(tagger.network(patches), torch.cat(apart))


@pytest.mark.parametrize("duration_s", [0.01, 2.9])
def test_a_clip_under_three_seconds_is_refused(duration_s):
    clip = Clip(samples=torch.rand(1, int(duration_s * 16_000)), sample_rate_hz=16_000)
    with pytest.raises(InvalidRequest, match="at least 3 s"):
        MusicTagger(MusiCNN()).tag(clip)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    def not_there(name):
        raise musicnn_weights.PackageNotFoundError(name)

    monkeypatch.setattr(musicnn_weights, "distribution", not_there)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps musicnn==0\.1\.0"):
        MusicTagger.load()


@pytest.fixture(scope="module")
def embedder():
    try:
        return MusiCNNEmbedder.load()
    except MissingExtra as error:
        pytest.skip(str(error))


def noise(duration_s, rate_hz=16_000):
    samples = torch.randn(1, round(duration_s * rate_hz), generator=torch.Generator().manual_seed(0)) * 0.1
    return Clip(samples, rate_hz)


@pytest.mark.parametrize("duration_s", [3.0, 5.9, 6.0, 10.0])
def test_windows_embedded_apart_have_the_tags_of_the_whole_clip(tagger, embedder, duration_s):
    clip = noise(duration_s)
    windows = embedder.windows(clip)
    assert len(windows) == int(duration_s * 16_000 // 256 + 1) // 187
    features, logits = embedder.embed_and_label(torch.stack(windows))
    assert features.shape == (len(windows), embedder.dim)
    torch.testing.assert_close(torch.sigmoid(logits).mean(dim=0), tagger.tag(clip), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(embedder.network.output(features), logits)


def test_a_clip_has_one_distribution_of_labels(embedder):
    probabilities = embedder.label_probabilities(torch.randn(3, 50))
    assert probabilities.shape == (1, 50)
    assert probabilities.sum().item() == pytest.approx(1)


def test_both_training_sets_give_embedders_with_checksums_of_their_own(embedder):
    other = MusiCNNEmbedder.load("MSD")
    assert embedder.label.startswith("MusiCNN MTT (musicnn 0.1.0/MTT_musicnn, sha256 041f3935e981")
    assert other.label.startswith("MusiCNN MSD (musicnn 0.1.0/MSD_musicnn, sha256 8579734ee638")
    window = torch.stack(embedder.windows(noise(3)))
    assert not torch.allclose(embedder.embed(window), other.embed(window))


def test_a_batch_of_windows_has_the_vectors_of_each(embedder):
    windows = torch.stack(embedder.windows(noise(10)))
    apart = torch.cat([embedder.embed(window[None]) for window in windows])
    torch.testing.assert_close(embedder.embed(windows), apart, rtol=1e-4, atol=1e-4)


def test_noise_is_farther_from_music_than_other_music_by_every_distance(embedder):
    """The distances and the label KL of MusiCNN put melodies, the same melodies with noise, and noise in order."""
    clips = [(f"{program}", played(program, False, [(key,) for key in MELODY], 3)) for program in (0, 24, 40, 73)]
    hiss = torch.randn(clips[0][1].samples.shape, generator=torch.Generator().manual_seed(0))

    def with_noise(level):
        return embed_clips(embedder, [(name, Clip(clip.samples + level * hiss, 16_000)) for name, clip in clips])

    clean = with_noise(0)
    values = [
        (kernel_audio_distance(clean, given, 2).value, label_kl(clean, given).value)
        for given in (clean, with_noise(0.003), with_noise(0.3))
    ]
    for measured in zip(*values, strict=True):
        assert list(measured) == sorted(measured)
