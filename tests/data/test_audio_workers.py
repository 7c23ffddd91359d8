"""Other processes read the batches that this one would read."""

import itertools
import logging
import os
import time

import pytest
import torch

from descant.data.audio_dataset import AudioBatches
from descant.data.audio_workers import read_ahead
from descant.data.manifest import ClipRecord
from descant.errors import ConfigError, DataError, ProcessLost
from descant.signals import TERMINATION
from descant.training.distributed import Share
from tests.data.test_audio_dataset import CONFIG, ramp, saved


@pytest.fixture
def records(tmp_path):
    return [saved(tmp_path / "a.wav", ramp(0.1, 8000)), saved(tmp_path / "b.wav", ramp(0.5, 4000))]


def numbers_read(share: Share, count: int) -> list[int]:
    return list(itertools.islice(share.numbers_from(0), count))


def test_batches_are_those_that_the_source_reads(records):
    source, here = AudioBatches(records, CONFIG), AudioBatches(records, CONFIG)
    share = Share(rank=1, num_processes=2, accumulate=2)
    # Also from another number on, as after a checkpoint that was passed over.
    numbers = [*numbers_read(share, 9), *itertools.islice(share.numbers_from(4), 3)]
    with read_ahead(source, 2, share.numbers_from) as batches:
        read = [batches.batch(number).wave for number in numbers]
    assert all(torch.equal(wave, here.batch(number).wave) for wave, number in zip(read, numbers, strict=True))


def test_batches_are_begun_before_they_are_asked_for(records, monkeypatch):
    asked: list[int] = []
    with read_ahead(AudioBatches(records, CONFIG), 2) as batches:
        submit = batches._pool.submit

        def noted(function, number):
            asked.append(number)
            return submit(function, number)

        monkeypatch.setattr(batches._pool, "submit", noted)
        batches.batch(10)
        assert asked == [10, 11, 12, 13, 14]
        batches.batch(11)
        assert asked == [10, 11, 12, 13, 14, 15]


def test_a_clip_that_cannot_be_read_is_named_once(records, tmp_path, caplog):
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    torn = ClipRecord(path=tmp_path / "torn.wav", duration_s=1.0, sample_rate_hz=8000, num_channels=1)
    source = AudioBatches([*records, torn], CONFIG)
    with caplog.at_level(logging.WARNING), read_ahead(source, 2) as batches:
        waves = [batches.batch(step).wave for step in range(6)]
    assert list(source.left_out) == [str(torn.path)]
    assert caplog.text.count("a clip cannot be read") == 1
    here = AudioBatches([*records, torn], CONFIG)
    assert all(torch.equal(wave, here.batch(step).wave) for step, wave in enumerate(waves))


def test_errors_of_a_process_are_raised_here(tmp_path):
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    torn = ClipRecord(path=tmp_path / "torn.wav", duration_s=1.0, sample_rate_hz=8000, num_channels=1)
    with read_ahead(AudioBatches([torn], CONFIG), 1) as batches, pytest.raises(DataError, match=r"torn\.wav"):
        batches.batch(0)


def test_no_workers_read_here(records):
    source = AudioBatches(records, CONFIG)
    with read_ahead(source, 0) as batches:
        assert batches is source


@pytest.mark.parametrize("count", [-1, 257])
def test_counts_out_of_range_are_refused(records, count):
    with pytest.raises(ConfigError, match=f"workers={count}"), read_ahead(AudioBatches(records, CONFIG), count):
        pass


@pytest.mark.parametrize("number", TERMINATION)
def test_a_process_outlives_the_signal_that_ends_a_job_and_a_lost_one_ends_the_run(records, number):
    source, read = AudioBatches(records, CONFIG), []
    with pytest.raises(ProcessLost, match="workers"), read_ahead(source, 1) as batches:  # noqa: PT012
        batches.batch(0)
        [process] = batches._pool._processes.values()
        os.kill(process.pid, number)
        time.sleep(0.2)
        for step in range(1, 8):
            read.append(batches.batch(step))
        process.kill()
        for step in range(8, 20):
            batches.batch(step)
    assert len(read) == 7, "the signal has not ended it"
