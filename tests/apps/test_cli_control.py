"""The controls of ``generate`` from the command line: over time, from other files, as a stream, as a loop."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from descant.apps.cli.streaming import pcm
from descant.audio import read_info

TINY = ("--model", "tiny", "--seed", "3")


def samples_of(path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


@pytest.fixture
def start(run, folder):
    """A file to go on from."""
    outcome = run("generate", "a start", *TINY, "-d", "0.3", "-o", "start.wav")
    assert outcome.code == 0, outcome.err
    return folder / "start.wav"


def test_a_continued_file_begins_with_the_files_own_samples_and_is_made_again(run, folder, start):
    outcome = run(
        "generate", "more", *TINY, "-d", "0.7", "--continue", start, "-o", "more.wav", "--save-codes", "a.safetensors"
    )
    assert outcome.code == 0, outcome.err
    given, whole = samples_of(start), samples_of("more.wav")
    assert len(whole) == 22_400
    assert (whole[: len(given)] == given).all()
    start.unlink()
    assert run("regenerate", "more.wav", "-o", "again.wav", "--save-codes", "b.safetensors").code == 0
    assert np.abs(samples_of("again.wav").astype(int) - whole).max() <= 1
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_a_continued_file_that_was_made_louder_is_made_again(run, start):
    made = ("generate", "more", *TINY, "-d", "0.7", "--continue", start, "--loudness", "-30", "-o", "more.wav")
    assert run(*made).code == 0
    assert run("regenerate", "more.wav", "-o", "again.wav").code == 0
    assert np.abs(samples_of("again.wav").astype(int) - samples_of("more.wav")).max() <= 3


def test_tags_record_the_chain_of_sources(run, start):
    assert run("generate", "two", *TINY, "-d", "0.5", "--continue", start, "-o", "two.wav").code == 0
    assert run("generate", "three", *TINY, "-d", "0.7", "--continue", "two.wav", "-o", "three.wav").code == 0
    source = read_info("three.wav")["made_from"]["prompt"]
    assert (source["text"], source["made_from"]["prompt"]["text"]) == ("two", "a start")


def test_a_timeline_is_in_the_tags_and_is_made_again(run, folder):
    made = (
        "generate",
        "calm",
        *TINY,
        "-d",
        "0.5",
        "--then",
        "0.2 drums enter",
        "--guidance",
        "4",
        "--guidance-at",
        "0.3:2",
    )
    assert run(*made, "-o", "arc.wav", "--save-codes", "a.safetensors").code == 0
    info = read_info("arc.wav")
    assert info["timeline"] == [[0.2, "drums enter"]]
    assert info["guidance"]["schedule"] == [[0.3, 2.0]]
    assert run("regenerate", "arc.wav", "--save-codes", "b.safetensors").code == 0
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_a_loop_is_whole_bars_and_says_how_long_it_is(run):
    outcome = run("generate", "drums, 240 bpm", *TINY, "--loop", "1", "-o", "loop.wav", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["duration_s"] == 1.0
    assert len(samples_of("loop.wav")) == 32_000


def test_the_best_of_two_says_its_own_seed(run):
    outcome = run("generate", "drums, 120 bpm", *TINY, "--best-of", "2", "-d", "2.1", "-o", "best.wav", "--json")
    assert outcome.code == 0, outcome.err
    info = read_info("best.wav")
    assert json.loads(outcome.out)["seeds"] == [info["seed"]]
    assert info["seed"] in (3, 4)
    assert len(info["scores"]) == 2


@pytest.mark.usefixtures("folder")
def test_a_stream_is_a_wav_of_the_same_music_and_raw_its_samples():
    """In a process of its own, for it writes bytes to standard output."""
    words = [sys.executable, "-m", "descant", "generate", "techno", *TINY, "-d", "0.5"]
    wav = subprocess.run([*words, "--stream", "-"], check=True, capture_output=True)
    raw = subprocess.run([*words, "--stream", "-", "--stream-format", "raw"], check=True, capture_output=True)
    subprocess.run([*words, "-o", "whole.wav", "--loudness", "off"], check=True, capture_output=True)
    streamed, rate_hz = soundfile.read(io.BytesIO(wav.stdout), dtype="int16")
    assert rate_hz == 32_000
    assert wav.stdout[44:] == raw.stdout == streamed.tobytes()
    whole = samples_of("whole.wav")
    peak = np.abs(whole).max()
    # A file that would pass full scale is turned down as a whole, and of a stream what comes near it is bent.
    assert peak < 0.8 * 32_767
    assert np.abs(streamed.astype(int) - whole).max() <= 4
    assert len(streamed) == len(whole) == 16_000
    assert b"the first after" in wav.stderr


@pytest.mark.usefixtures("folder")
def test_a_reader_that_goes_away_ends_the_stream():
    words = [sys.executable, "-m", "descant", "generate", "techno", *TINY, "-d", "600", "--stream", "-"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert len(process.stdout.read(2_000)) == 2_000
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait(timeout=60) == 0
    assert "the reader has gone" in err
    assert "Traceback" not in err


def test_variations_of_the_best_share_no_candidates(run):
    made = ("generate", "drums, 120 bpm", *TINY, "--best-of", "2", "--count", "3", "-d", "2.1", "-o", "out/", "--json")
    seeds = json.loads(run(*made).out)["seeds"]
    assert len(set(seeds)) == 3
    assert all(seed in (3 + 2 * number, 4 + 2 * number) for number, seed in enumerate(seeds))


def test_what_is_made_again_still_says_what_it_was_made_from(run, start):
    assert run("generate", "two", *TINY, "-d", "0.5", "--continue", start, "-o", "two.wav").code == 0
    assert run("regenerate", "two.wav", "-o", "again.wav").code == 0
    assert read_info("again.wav")["made_from"] == read_info("two.wav")["made_from"]


def test_any_sound_can_be_gone_on_from_whatever_tags_its_format_has(run):
    samples = 0.1 * np.random.default_rng(0).standard_normal(8_000)
    for name in ("start.aiff", "start.au", "start.caf"):
        soundfile.write(name, samples, 32_000)
        outcome = run("generate", "x", *TINY, "-d", "0.5", "--continue", name, "-o", f"{name}.wav")
        assert outcome.code == 0, outcome.err


def test_a_given_part_that_passes_full_scale_is_made_again(run):
    samples = (1.5 * np.sin(np.arange(8_000) / 20)).astype(np.float32)
    soundfile.write("loud.wav", samples, 32_000, subtype="FLOAT")
    assert run("generate", "x", *TINY, "-d", "0.5", "--continue", "loud.wav", "-o", "more.wav").code == 0
    assert run("regenerate", "more.wav", "-o", "again.wav").code == 0
    apart = np.abs(samples_of("again.wav").astype(int) - samples_of("more.wav"))
    assert apart[:8_000].max() <= 1
    # How the given part would go on is extrapolate from its 16-bit samples.
    assert apart.max() <= 16


def test_loops_of_several_tempi_say_what_they_took(run):
    made = ("generate", "a 240 bpm", "b 120 bpm", *TINY, "--loop", "1", "-o", "out/", "--json")
    result = json.loads(run(*made).out)
    assert result["real_time_factor"] == pytest.approx(result["seconds_taken"] / 3.0)


def test_what_streams_keeps_its_shape_and_never_passes_full_scale():
    samples = torch.linspace(-3, 3, 20_001)[None]
    numbers = np.frombuffer(pcm(samples), dtype="<i2").astype(float) / 32_767
    quiet = samples[0].abs() <= 0.8
    np.testing.assert_allclose(numbers[quiet], samples[0][quiet], atol=1e-4)
    assert (np.diff(numbers) >= 0).all()
    assert 0.99 < numbers.max() <= 1
    assert np.frombuffer(pcm(torch.tensor([[0.1, 0.2], [-0.1, -0.2]])), dtype="<i2").tolist() == [
        3277,
        -3277,
        6554,
        -6554,
    ]


def test_a_continuation_of_any_recording_is_made_again_to_the_sample(run):
    """Its samples are no 16-bit numbers: they were resampled, and a fade extrapolate from them would be another."""
    times = np.arange(11_025) / 44_100
    sides = [0.3 * np.sin(2 * np.pi * rate_hz * times) for rate_hz in (220, 331)]
    soundfile.write("stereo.wav", np.stack(sides, axis=1), 44_100)
    assert run("generate", "x", *TINY, "-d", "0.5", "--continue", "stereo.wav", "-o", "more.wav").code == 0
    assert run("regenerate", "more.wav", "-o", "again.wav").code == 0
    assert (samples_of("again.wav") == samples_of("more.wav")).all()
