"""``descant bench``."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def small_ceiling(monkeypatch):
    monkeypatch.setattr("descant.studies.speed.machine.COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr("descant.studies.speed.machine.PRODUCT_SIZE", {"cpu": 64})


@pytest.mark.parametrize("kind", ["decode", "codec", "train"])
def test_the_last_line_of_bench_is_one_json_object(run, kind):
    outcome = run("bench", kind, "--model", "tiny", "-d", "0.2", "--repeats", "1")
    assert outcome.code == 0, outcome.err
    *lines, last = outcome.out.splitlines()
    result = json.loads(last)
    assert result["what"] == kind
    assert result["model"] == "tiny"
    assert all(value > 0 for name, value in result.items() if name.endswith(("factor", "ceiling", "per_s", "bytes")))
    # A spread is on the line of its median.
    names = [name for name in result if not name.endswith(("_min", "_max"))]
    assert [line.split()[0] for line in lines] == names
    seconds = next(line for line in lines if line.split()[0].endswith("seconds"))
    assert seconds.count(" to ") == 1
    alone = run("bench", kind, "--model", "tiny", "-d", "0.2", "--repeats", "1", "--json")
    assert set(json.loads(alone.out)) == set(result)


def test_a_curve_has_a_line_for_each_point(run):
    outcome = run(
        "bench", "decode", "--model", "tiny", "-d", "0.2", "--repeats", "1", "--curve", "count", "--count", "2"
    )
    assert outcome.code == 0, outcome.err
    *lines, last = outcome.out.splitlines()
    assert [point["count"] for point in json.loads(last)["points"]] == [1, 2]
    assert [line[:7] for line in lines[-2:]] == ["count 1", "count 2"]


def test_loading_is_measured_in_another_process(run):
    """A model with random weights of a preset's shape is written to a folder for it."""
    outcome = run("bench", "load", "--untrained", "tiny", "--repeats", "1", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["what"], result["model"]) == ("load", "tiny, random weights")
    assert result["seconds"] > 0


def test_a_released_model_is_measured_against_transformers(run, transformers_model):
    folder = transformers_model("odd").folder
    outcome = run(
        *("bench", "decode", "--model", folder, "--device", "cpu", "-d", "0.01", "--repeats", "1", "--json"),
        *("--against", "transformers"),
    )
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["greedy_codes_equal"]
    assert result["transformers_seconds_ratio"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("decode", "--model", "tiny", "-d", "0.1", "--against", "transformers"), "--against transformers: "),
        (("decode", "--model", "tiny", "--untrained", "tiny"), "--untrained: it takes the place of --model"),
        (("decode", "--untrained", "huge"), "--untrained 'huge': allowed are tiny, starter, small"),
        (
            ("decode", "--model", "tiny", "--curve", "steps", "--busy", "1"),
            "--busy: not possible together with --curve",
        ),
        (("decode", "--model", "tiny", "--curve", "steps", "--count", "2"), "--count: not possible together with"),
        (("codec", "--untrained", "tiny", "-d", "31"), "--duration 31: model 'tiny' makes up to 30 s"),
    ],
)
def test_what_cannot_be_measured_is_refused(run, words, says):
    outcome = run("bench", *words)
    assert outcome.code == 2
    assert says in outcome.err.splitlines()[-1]
    assert not outcome.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_measurement_leaves_no_busy_process(number, code, tmp_path):
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("the system does not list the children of a process")
    words = ("bench", "decode", "--model", "tiny", "-d", "20", "--repeats", "100", "--busy", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "descant", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 120
        while len(started := children.read_text().split()) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages.decode()
    # A process that was being started when the signal came sees within milliseconds that its parent is gone.
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline
