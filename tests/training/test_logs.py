import json

import torch

from descant.training.logs import RunLog, RunningMeans, console_line, read_log


def test_running_means_give_means_and_a_rate_and_start_over():
    running = RunningMeans()
    for value in (1.0, torch.tensor(2.0, requires_grad=True), 6.0):
        running.add({"ce": value, "audio_s": 10.0})
    means = running.read()
    assert means["ce"] == 3.0
    assert means["audio_s_per_s"] > 10
    assert running.read() == {}


def test_rewinding_removes_later_steps_and_an_unfinished_line(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.write(step, "train", {"ce": 1.0 / step})
    log.file.write_text(log.file.read_text() + '{"step": 4, "kind": "tr')
    log.rewind(2)
    assert [line["step"] for line in read_log(log.file)] == [1, 2]
    assert log.last(2, "train") == {"ce": 0.5}
    assert log.last(2, "validation") is None
    log.write(3, "train", {"ce": 0.0})
    assert [line["step"] for line in read_log(log.file)] == [1, 2, 3]


def test_numbers_that_json_lacks_are_written_as_null(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    log.write(1, "train", {"ce": float("nan"), "norm": float("inf")})
    assert json.loads(log.file.read_text()) == {"step": 1, "kind": "train", "ce": None, "norm": None}


def test_the_console_line_shows_the_time_left():
    assert console_line(5, 90, {"ce": 4.0}, left_s=65.2) == "step 5/90  ce 4  left 1:05"
    assert console_line(5, 90, {}, left_s=3_661.0) == "step 5/90  left 1:01:01"
