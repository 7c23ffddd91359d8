"""A study from its rows to its page: nothing runs twice, a stop changes nothing, the page comes from the results."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from descant.errors import Cancelled, DataError, InvalidRequest
from descant.studies.ablation.report import difference, markdown, over_seeds, write_report
from descant.studies.ablation.results import NAME, append, lines_of, read
from descant.studies.ablation.run import judging_id, seeded, training_id
from descant.studies.ablation.study import run_studies
from descant.studies.ablation.train import WEIGHTS, trained_model
from descant.training.checkpoint import checkpoints
from descant.training.lm import LMTask

pytestmark = pytest.mark.filterwarnings("ignore:Trying to estimate tuning:UserWarning")
"""librosa's, of clips without any pitch, as untrained models make them."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


def run(study, data, out, embedder, **settings):
    run_studies([study], data, out, embedder, num_seeds=1, provenance={"command": "a test"}, **settings)
    return lines_of(read(out / NAME), study.name)


def test_every_row_is_written_once_and_equal_trainings_are_shared(study, data, out, embedder, monkeypatch):
    lines = run(study, data, out, embedder)
    assert [line["row"] for line in lines] == ["melody", "text", "slower"]
    assert lines[0]["trainings"] == lines[1]["trainings"] != lines[2]["trainings"]
    assert len(list((out / "runs").iterdir())) == 2
    assert [line["row"] for line in read(out / NAME)[:2]] == ["recordings", "codec"]
    monkeypatch.setattr(LMTask, "loss", None)  # nothing is trained again
    assert run(study, data, out, embedder) == lines
    assert len(read(out / NAME)) == 5


def test_a_row_of_an_earlier_study_is_copied(study, data, out, embedder, monkeypatch):
    known = run(study, data, out, embedder)
    monkeypatch.setattr(LMTask, "loss", None)
    (copied,) = run(replace(study, name="other"), data, out, embedder, rows=["slower"])
    assert copied == {**known[2], "study": "other"}


def test_the_measures_of_a_row_are_complete(study, data, out, embedder):
    melody, text, _ = run(study, data, out, embedder)
    for name in ("nats_per_frame", "caption_gain", "kernel", "label_kl", "melody", "copied", "tempo", "key"):
        assert melody[name]["low"] <= melody[name]["value"] <= melody[name]["high"], name
    assert len(melody["nats_per_frame_of_each_crop"]) == len(data.held_out.prompts) == 7
    assert melody["nats_per_frame_of_each_crop"] != text["nats_per_frame_of_each_crop"]
    assert "more windows than dimensions" in melody["left_out"]["frechet"]
    assert melody["positions"] == 4 * 2 * 161
    assert melody["frames"] == 4 * 2 * 160


def test_a_stopped_training_ends_with_the_same_bits(toy, data, tmp_path, monkeypatch):
    trained_model(toy, data, tmp_path / "whole")
    whole_loss, seen = LMTask.loss, []

    def stopping_loss(task, phase, batch, context):
        seen.append(context.step)
        if seen == [0, 1]:
            os.kill(os.getpid(), signal.SIGINT)
        return whole_loss(task, phase, batch, context)

    monkeypatch.setattr(LMTask, "loss", stopping_loss)
    with pytest.raises(Cancelled):
        trained_model(toy, data, tmp_path / "parts")
    trained_model(toy, data, tmp_path / "parts")
    assert seen == [0, 1, 2, 3]
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert checkpoints(tmp_path / "parts") == []


def test_a_trained_model_is_read_back_as_it_was(toy, data, tmp_path):
    first, again = (trained_model(toy, data, tmp_path) for _ in range(2))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


def test_what_does_not_change_the_result_does_not_change_the_name(toy, data):
    identity = data.identity
    logged = replace(toy, trainer=replace(toy.trainer, log_every=1, save_every=3, device="auto"))
    assert training_id(logged, identity) == training_id(toy, identity)
    longer = replace(toy, trainer=replace(toy.trainer, max_steps=5))
    others = [seeded(toy, 1), longer, replace(toy, batches=replace(toy.batches, max_hours=1.0))]
    assert len({training_id(other, identity) for other in [toy, *others]}) == 4
    text = replace(toy, judging=replace(toy.judging, conditions=("text",)))
    assert training_id(text, identity) == training_id(toy, identity)
    assert judging_id(text, identity) != judging_id(toy, identity)
    assert training_id(toy, {**identity, "prompts": None}) != training_id(toy, identity)


def test_main_rows_have_one_seed_more_and_first_seeds_come_first(study):
    plan = study.plan(None, None)
    assert plan == [
        ("melody", 0), ("text", 0), ("slower", 0), ("melody", 1), ("text", 1), ("slower", 1), ("melody", 2)
    ]  # fmt: skip
    assert study.plan(["text"], 1) == [("text", 0)]
    with pytest.raises(InvalidRequest, match="no row 'loud'; it has melody, text, slower"):
        study.plan(["loud"], None)


def test_a_line_that_a_killed_process_began_is_replaced(tmp_path):
    file = tmp_path / NAME
    append(file, {"row": 1})
    with file.open("ab") as stream:
        stream.write(b'{"row": 2, "va')
    assert read(file) == [{"row": 1}]
    append(file, {"row": 3})
    assert read(file) == [{"row": 1}, {"row": 3}]
    file.write_text("no JSON\n")
    with pytest.raises(DataError, match="line 1"):
        read(file)


def test_the_page_is_made_from_the_results_alone(study, data, out, embedder, tmp_path):
    run(study, data, out, embedder)
    lines = read(out / NAME)
    page, plot = write_report(study, lines, tmp_path)
    text = page.read_text()
    assert "| `melody` |" in text
    assert "| recordings |" in text
    assert "| `slower` |" in text.split("against `melody`")[1]
    assert plot.read_text().startswith("<?xml")
    again = write_report(study, json.loads(json.dumps(lines)), tmp_path / "again")
    assert [file.read_bytes() for file in again] == [page.read_bytes(), plot.read_bytes()]
    with pytest.raises(InvalidRequest, match="no row of it"):
        write_report(replace(study, name="nothing"), lines, tmp_path)
    assert "`text`" not in markdown(study, [line for line in lines if line["row"] != "text"]).split("## Budget")[1]


def test_seeds_are_averaged_and_differences_are_paired():
    def line(value, low, high, crops):
        return {
            "nats_per_frame": {"value": value, "low": low, "high": high, "count": 2},
            "nats_per_frame_of_each_crop": crops,
            "parameters": 3,
        }

    lines = [line(2.0, 1.0, 3.0, [1.0, 3.0]), line(4.0, 3.5, 4.5, [3.0, 5.0])]
    both = over_seeds(lines, "nats_per_frame")
    assert (both.value, both.low, both.high) == (3.0, 1.0, 4.5)
    assert over_seeds(lines, "parameters") == 3
    assert over_seeds(lines, "tempo") is None
    against = difference(lines, [line(0.0, 0.0, 0.0, [1.0, 3.0])])
    assert (against.value, against.low, against.high) == (1.0, 1.0, 1.0)
