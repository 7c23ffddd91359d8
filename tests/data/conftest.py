"""Clips to tokenize."""

import pytest

from tests.data.fake_codec import saved


@pytest.fixture
def records(tmp_path):
    """Seven clips of one to three seconds to train on, and one to validate with."""
    folder = tmp_path / "audio"
    return [
        saved(folder / f"{index}.wav", 1.0 + index % 3, seed=index, captions=(f"clip {index}",), tags={"bpm": index})
        for index in range(7)
    ] + [saved(folder / "valid.wav", 1.005, seed=9, split="valid")]
