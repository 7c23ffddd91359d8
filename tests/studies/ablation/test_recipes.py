"""The recipes of ``recipes/ablations``: their rows differ in what they say, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from descant.apps.cli.main import main
from descant.apps.cli.recipes import import_recipe
from descant.studies.ablation.study import rows_of

RECIPES = Path(__file__).parents[3] / "recipes" / "ablations"
NAMES = ("cascade", "chroma", "delays", "first", "patterns", "scale", "text")


@pytest.fixture(scope="module")
def studies():
    return {name: rows_of(import_recipe(RECIPES / f"{name}.py"), name) for name in NAMES}


def test_all_recipes_are_listed(capsys):
    assert main(["study", "--list", "--recipes", str(RECIPES)]) == 0
    listed = capsys.readouterr().out
    assert [line.partition(":")[0] for line in listed.splitlines() if not line.startswith(" ")] == list(NAMES)


def test_every_row_is_a_run_that_says_what_it_is(studies):
    for study in studies.values():
        for name, row in study.rows.items():
            assert row().num_frames == 300, name
            assert row.__doc__, name
        assert study.main <= set(study.rows)


def test_rows_of_the_pattern_study_differ_in_pattern_and_batch_size_only(studies):
    base = studies["patterns"].rows["delay"]()
    for name, row in studies["patterns"].rows.items():
        run = row()
        size = run.batches.batch_size
        same = replace(run, model=base.model, batches=replace(run.batches, batch_size=base.batches.batch_size))
        assert same == base, name
        assert (size == base.batches.batch_size) != name.endswith("equal_compute"), name


def test_equal_compute_is_as_near_as_whole_crops_allow(studies):
    rows = studies["patterns"].rows
    limit = rows["delay"]().positions_per_update
    for name in (name for name in rows if name.endswith("equal_compute")):
        run = rows[name]()
        length = run.model.pattern.training_length(run.num_frames)
        assert limit - length < run.positions_per_update <= limit, name


def test_a_cascade_has_the_data_and_nearly_the_compute_of_one_stage(studies):
    one, two = (studies["cascade"].rows[name]() for name in ("one_stage", "cascade"))
    layers = [
        sum(stage.positions_per_update * stage.model.lm.transformer.num_layers for stage in run.stages)
        for run in (one, two)
    ]
    assert layers[0] == layers[1]
    assert all(stage.batches == one.batches and stage.trainer == one.trainer for stage in two.stages)


def test_the_first_row_of_each_study_of_codes_is_the_same_training(studies):
    runs = [next(iter(studies[name].rows.values()))() for name in ("patterns", "delays", "cascade")]
    assert runs[0] == runs[1] == runs[2]
