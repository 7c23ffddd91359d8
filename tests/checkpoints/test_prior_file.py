"""A prior is read as it was written, whether or not it has chords."""

import json
from dataclasses import replace

import pytest

from descant.checkpoints.native import starter_folder
from descant.checkpoints.prior_file import PRIOR, read_prior, write_prior
from descant.conditioning.prior import Prior
from descant.errors import CheckpointError


@pytest.fixture(scope="module")
def shipped() -> Prior:
    prior = read_prior(starter_folder())
    assert prior is not None
    return prior


def test_written_then_read_it_is_the_same(shipped, tmp_path):
    write_prior(shipped, tmp_path)
    assert read_prior(tmp_path) == shipped
    assert (tmp_path / PRIOR).read_bytes() == (starter_folder() / PRIOR).read_bytes()
    assert (tmp_path / PRIOR).stat().st_size < 60_000
    assert read_prior(tmp_path.parent) is None


def test_a_file_of_an_earlier_version_has_no_chords(shipped, tmp_path):
    without = replace(shipped, chords=None)
    write_prior(without, tmp_path)
    assert "chords" not in json.loads((tmp_path / PRIOR).read_text())
    assert read_prior(tmp_path) == without


@pytest.mark.parametrize(
    ("change", "message"),
    [({"words": {}}, PRIOR), ({"chords": {}}, "chords"), ({"chords": 3}, "chords"), ({"tonics": []}, "tonics")],
)
def test_a_file_that_is_no_prior_is_refused_by_name(shipped, tmp_path, change, message):
    write_prior(shipped, tmp_path)
    tables = json.loads((tmp_path / PRIOR).read_text())
    broken = change if "words" in change else {**tables, **change}
    (tmp_path / PRIOR).write_text(json.dumps(broken))
    with pytest.raises(CheckpointError, match=message) as refused:
        read_prior(tmp_path)
    assert PRIOR in str(refused.value)
