"""What a run leaves to read: log, table, plot, page and TensorBoard's files, whatever happens to it."""

import csv
import re
import sys
from xml.etree import ElementTree

import pytest

from descant.errors import MissingExtra
from descant.training.line_plots import MAX_POINTS, Line, line_plot, stacked
from descant.training.logs import LEFT_OUT, RunLog, read_log
from descant.training.run_page import plots, table
from descant.training.trainer import Trainer

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg, number):
    """The points of a line of a plot, from its path; a new list begins at every gap."""
    lines = [path for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if path.get("fill") == "none"][::2]
    parts = lines[number].get("d").split("M")[1:]
    return [[tuple(map(float, point.split(","))) for point in part.replace("h0", "").split("L")] for part in parts]


def test_a_line_runs_from_corner_to_corner_and_has_gaps_where_nothing_is_known():
    nan, infinity = float("nan"), float("inf")
    svg = line_plot(
        "a & b",
        [Line("<up>", [(0.0, 1.0), (5.0, 2.0), (10.0, 3.0)]), Line("gaps", [(0.0, 2.0), (1.0, nan), (10.0, infinity)])],
    )
    (start, middle, end) = drawn(svg, 0)[0]
    assert start[0] < middle[0] < end[0]
    assert start[1] > middle[1] > end[1]
    assert middle == pytest.approx(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    assert drawn(svg, 1) == [[(start[0], middle[1])]]
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"a & b", "<up>: 3", "gaps: 2", "step 0", "step 10"} <= set(texts)


def test_a_long_line_is_drawn_as_means_of_neighbours():
    points = [(float(step), float(step % 2)) for step in range(10 * MAX_POINTS)]
    (thin,) = drawn(line_plot("long", [Line("zigzag", points), Line("ends", [(0.0, 0.0), (4_000.0, 1.0)])]), 0)
    assert len(thin) == MAX_POINTS
    assert len({y for _, y in thin}) == 1


@pytest.mark.parametrize("points", [[], [(1.0, float("nan"))], [(3.0, 2.0)], [(1.0, 5.0), (2.0, 5.0)]])
def test_a_plot_of_little_is_a_plot(points):
    ElementTree.fromstring(stacked([("little", [Line("a", points)])] * 2))


def test_the_table_has_the_values_of_the_log(toy, tmp_path):
    toy.trainer(tmp_path, has_critic=True).run()
    lines = read_log(tmp_path / "log.jsonl")
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert {name: value for name, value in row.items() if value} == {
            name: str(value) for name, value in line.items()
        }


def test_the_page_needs_no_other_file_and_plots_every_value(toy, tmp_path):
    toy.trainer(tmp_path, has_critic=True).run()
    page = (tmp_path / "run.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)|url\(|(src|href)=", page)
    labels = re.findall(r'aria-label="([^"]*)"', page)
    assert [label.split(".")[0] for label in labels] == [
        "Loss that is minimised", "critic_loss", "error", "Norm of the gradient",
        "Speed: seconds of audio per second", "Learning rate", "Updates left out because they were not finite",
    ]  # fmt: skip
    assert "student: " in labels[0]
    assert "critic: " in labels[0]
    ElementTree.parse(tmp_path / "curves.svg")


def test_codebooks_have_their_own_plot_and_training_and_validation_share_one():
    lines = [
        {"step": 1, "kind": "train", "loss_lm": 3.0, "ce": 2.0, "ce_q0": 1.0, "ce_q1": 3.0, "lr": 0.1},
        {"step": 1, "kind": "validation", "ce": 2.5, "train_ce": 2.2, "ce_q0": 1.5, "gain": 0.5, "gain_low": 0.4},
    ]
    found = {title: [line.name for line in drawn] for title, drawn in plots(lines)}
    assert found == {
        "Loss that is minimised": ["lm"],
        "Cross-entropy in nats": ["training", "validation", "training clips, measured as in validation"],
        "Cross-entropy in nats of each codebook, training": ["codebook 0", "codebook 1"],
        "Cross-entropy in nats of each codebook, validation": ["codebook 0"],
        "gain": ["validation", "low end of its 95 % interval"],
        "Learning rate": ["training"],
    }


def test_clips_that_cannot_be_used_are_named_once_in_log_and_page(toy, tmp_path):
    found = {}

    class Losing(toy.Batches):
        def batch(self, step):
            if step >= 4:
                found["bad/<one>.wav"] = "is damaged"
            if step >= 12:
                found["two\udcff.wav"] = "is gone"
            return super().batch(step)

    def trainer(**changes):
        return Trainer(toy.Task(), Losing(), toy.config(**changes), tmp_path, left_out=lambda: found)

    trainer(max_steps=10).run()
    trainer().run(resume=True)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if line["kind"] == LEFT_OUT]
    assert [(line["clip"], line["reason"]) for line in lines] == [*found.items()]
    assert "<td>bad/&lt;one&gt;.wav</td><td>is damaged</td>" in (tmp_path / "run.html").read_text()
    assert LEFT_OUT not in table(read_log(tmp_path / "log.jsonl"))


def test_a_page_that_cannot_be_written_does_not_end_the_run(toy, tmp_path, capsys):
    (tmp_path / "run.html").mkdir()
    (tmp_path / "run.html" / "mine").write_text("not yours")
    assert toy.trainer(tmp_path).run().finished
    assert "the page of the run was not written" in capsys.readouterr().err
    assert (tmp_path / "run.html" / "mine").read_text() == "not yours"


DAMAGED = (
    b'{"step": 3, "kind": "validation", "error": "low"}', b'{"step": 3, "kind": "train", "loss": [1]}',
    b'{"step": true, "kind": "train"}', b'{"step": null, "kind": "train"}', b'{"step": 3, "kind": ["train"]}',
    b'{"step": 3, "kind": "left_out", "clip": 3}', b'{"step": 1' + b"0" * 400 + b', "kind": "train"}',
    b'{"step": 3, "kind": "train", "loss": 1' + b"0" * 400 + b"}", b"\xff\xfe", b"[" * 100_000, b"", b"null",
)  # fmt: skip


def test_no_damaged_line_of_the_log_stops_a_run_or_reaches_its_page(toy, tmp_path):
    toy.trainer(tmp_path, max_steps=10).run()
    log = tmp_path / "log.jsonl"
    whole = read_log(log)
    log.write_bytes(b"".join(line + b"\n" for line in DAMAGED) + log.read_bytes() + b'{"step": 11, "kind": "tr')
    assert read_log(log) == whole
    assert toy.trainer(tmp_path, max_steps=12, tensorboard=False).run(resume=True).finished
    assert [line["step"] for line in RunLog(log).lines("validation")] == [7, 10, 12]


def test_the_loss_that_is_minimised_is_logged_beside_what_it_is_made_of(toy, tmp_path):
    toy.trainer(tmp_path, has_critic=True, accumulate=2).run()
    lines = [line for line in read_log(tmp_path / "log.jsonl") if line["kind"] == "train"]
    assert all(line["loss_critic"] == pytest.approx(line["critic_loss"]) for line in lines)
    assert all(line["loss_student"] > line["loss"] for line in lines), "it has the critic's part too"


def test_tensorboard_has_every_step_once_after_a_kill(toy, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy.stop_at(toy.trainer(tmp_path, tensorboard=True), 13)
    toy.trainer(tmp_path, tensorboard=True).run(resume=True)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = read_log(tmp_path / "log.jsonl")
    for kind, name in (("train", "loss"), ("train", "lr"), ("validation", "error")):
        expected = [(line["step"], pytest.approx(line[name])) for line in lines if line["kind"] == kind]
        assert [(event.step, event.value) for event in board.Scalars(f"{name}/{kind}")] == expected


def test_a_missing_tensorboard_is_refused_before_the_run(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"descant\[tensorboard\]"):
        toy.trainer(tmp_path, tensorboard=True)
    assert not [*tmp_path.iterdir()]
