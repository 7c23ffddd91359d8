"""The measurements of training data run, on little of it."""

import pytest

from benchmarks import data


@pytest.mark.slow
def test_tokenizing_is_measured_with_the_same_bytes():
    found = data.tokenize(clips=3, clip_s=1.0, turns=1)
    assert found["same_bytes"]
    assert {*found["seconds"]} == {"all-1", "all-2", "few-1", "few-2"}


@pytest.mark.slow
def test_loading_is_measured_alone_and_beside_updates():
    found = data.loading(turns=1, batch_size=1, segment_frames=50)
    assert found["loading_share"] > 0
    assert 0 <= found["waiting_share"] < 1
