from pathlib import Path

import pytest
import torch

from descant.audio import Clip, read_samples
from descant.data import audio_dataset
from descant.data.audio_dataset import AudioBatchConfig, AudioBatches
from descant.data.manifest import ClipRecord
from descant.errors import ConfigError, DataError

CONFIG = AudioBatchConfig(segment_s=0.25, batch_size=4, sample_rate_hz=8000)


def saved(path: Path, samples: torch.Tensor, rate_hz: int = 8000) -> ClipRecord:
    clip = Clip(samples, rate_hz)
    clip.save(path)
    return ClipRecord(path=path, duration_s=clip.duration_s, sample_rate_hz=rate_hz, num_channels=len(samples))


def ramp(start: float, num_samples: int) -> torch.Tensor:
    """Samples that encode their position, exact in 16 bits."""
    return (start * 32768 + torch.arange(num_samples))[None] / 32768


@pytest.fixture
def records(tmp_path):
    return [saved(tmp_path / "a.wav", ramp(0.1, 8000)), saved(tmp_path / "b.wav", ramp(0.5, 4000))]


def test_a_batch_is_a_function_of_seed_and_step(records):
    other = AudioBatches(records, AudioBatchConfig(**{**vars(CONFIG), "seed": 1}))
    first, second = AudioBatches(records, CONFIG), AudioBatches(records, CONFIG)
    later = first.batch(7).wave
    assert torch.equal(first.batch(3).wave, second.batch(3).wave)
    assert torch.equal(later, second.batch(7).wave)
    assert not torch.equal(later, second.batch(3).wave)
    assert not torch.equal(later, other.batch(7).wave)


def test_every_segment_is_a_slice_of_a_clip(records):
    wave = AudioBatches(records, CONFIG).batch(0).wave
    assert wave.shape == (4, 1, 2000)
    assert (wave.diff(dim=2) == 1 / 32768).all()


def test_clips_are_drawn_by_their_length_and_to_their_ends(records):
    batches = AudioBatches(records, AudioBatchConfig(segment_s=0.25, batch_size=600, sample_rate_hz=8000))
    starts = batches.batch(0).wave[:, 0, 0]
    of_long = starts < 0.45
    assert 0.6 < of_long.float().mean() < 0.73
    assert starts.min() < 0.105
    assert starts[of_long].max() > 0.1 + 5900 / 32768


def test_other_rates_and_channels_are_converted(tmp_path):
    sine = 0.5 * torch.sin(torch.arange(44100) * 2 * torch.pi * 440 / 44100).repeat(2, 1)
    batches = AudioBatches([saved(tmp_path / "a.flac", sine, 44100)], CONFIG)
    wave = batches.batch(0).wave
    assert wave.shape == (4, 1, 2000)
    peak_bin = torch.fft.rfft(wave[0, 0]).abs().argmax()
    assert peak_bin == 440 * 0.25
    assert (wave.square().mean(dim=2) - 0.125).abs().max() < 0.005


def test_short_clips_are_left_out_or_padded(tmp_path, records):
    short = saved(tmp_path / "short.wav", ramp(0.5, 100))
    batches = AudioBatches([*records, short], CONFIG)
    assert batches.num_skipped == 1
    with pytest.raises(DataError, match="none of 1 clips"):
        AudioBatches([short], CONFIG)
    padded = AudioBatches([short], AudioBatchConfig(**{**vars(CONFIG), "pad_short_clips": True})).batch(0).wave
    assert torch.equal(padded[0, :, :100], ramp(0.5, 100))
    assert not padded[0, :, 100:].any()


def test_silence_is_drawn_again_a_limited_number_of_times(tmp_path):
    half_silent = torch.cat([torch.zeros(1, 80000), 0.1 + 0 * torch.rand(1, 80000)], dim=1)
    wave = AudioBatches([saved(tmp_path / "half.wav", half_silent)], CONFIG).batch(0).wave
    assert (wave.abs().amax(dim=2) > 0).all()
    silent = AudioBatches([saved(tmp_path / "none.wav", torch.zeros(1, 8000))], CONFIG).batch(0).wave
    assert not silent.any()


def test_a_file_that_changed_or_broke_is_left_out_and_named_once(records, tmp_path, caplog):
    """One such file once ended a run at whatever step drew it."""
    good = saved(tmp_path / "good.wav", ramp(0.3, 6000))
    Clip(ramp(0.1, 400), 8000).save(records[0].path)
    records[1].path.unlink()
    batches = AudioBatches([*records, good], CONFIG)
    waves = [batches.batch(step).wave for step in range(4)]
    assert all(((wave >= ramp(0.3, 6000)[0, 0]) & (wave <= ramp(0.3, 6000)[0, -1])).all() for wave in waves)
    assert batches.left_out.keys() == {str(record.path) for record in records}
    assert "scan the folder again" in batches.left_out[str(records[0].path)]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert torch.equal(AudioBatches([*records, good], CONFIG).batch(3).wave, waves[3])
    assert len(torch.cat([batch.wave for batch in batches.fixed_batches()])) == 3
    with pytest.raises(DataError, match=r"clips in a row cannot be read.*a\.wav.*scan the folder again"):
        AudioBatches(records[:1], CONFIG).batch(0)
    with pytest.raises(DataError, match=r"none of 2 segments can be read.*b\.wav"):
        AudioBatches(records[1:], CONFIG).fixed_batches()


def test_fixed_batches_cover_all_of_every_clip_and_never_change(records):
    config = AudioBatchConfig(**{**vars(CONFIG), "batch_size": 5})
    first, second = (AudioBatches(records, config).fixed_batches() for _ in range(2))
    assert [len(batch.wave) for batch in first] == [5, 1]
    assert all(torch.equal(ours.wave, theirs.wave) for ours, theirs in zip(first, second, strict=True))
    starts = torch.cat([batch.wave for batch in first])[:, 0, 0]
    # Segments of 2,000 samples in 8,000 and 4,000: four parts of 1,500 possible starts each, and two of 1,000.
    for offset, width, found in ((0.1, 1500, starts[:4]), (0.5, 1000, starts[4:])):
        parts = ((found - offset) * 32768 / width).sort().values
        assert ((parts > torch.arange(len(parts)) - 0.01) & (parts < torch.arange(1, len(parts) + 1) + 0.01)).all()


@pytest.mark.parametrize("segment_s", [0.0, -1.0, 1e-6, float("nan"), float("inf")])
def test_an_empty_segment_is_refused(segment_s):
    with pytest.raises(ConfigError, match="segment_s"):
        AudioBatchConfig(segment_s=segment_s)


def test_audio_is_read_in_one_thread_and_the_caller_keeps_its_own(records, monkeypatch):
    """Two of torch's threads waited for each other on short segments, and took twice as long."""
    seen = set()

    def noted(*arguments):
        seen.add(torch.get_num_threads())
        return read_samples(*arguments)

    monkeypatch.setattr(audio_dataset, "read_samples", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        batches = AudioBatches(records, CONFIG)
        batches.batch(0)
        batches.fixed_batches()
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)
