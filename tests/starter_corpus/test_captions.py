"""The captions of a corpus without its audio."""

import json

import pytest

from descant.data.manifest import read_manifest
from starter_corpus.__main__ import main
from starter_corpus.pieces import make_piece

pytestmark = pytest.mark.usefixtures("programs")


def test_captions_without_audio_are_those_of_the_rendered_piece(synthesizer, tmp_path):
    """Of pieces with one instrument, which is audible throughout; of others some may be inaudible when rendered."""
    file = tmp_path / "captions.jsonl"
    assert main(["captions", str(file), "--pieces", "6", "--seed", "5"]) == 0
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(read_manifest(file)) == 6
    index = next(index for index, one in enumerate(written) if len(one["tags"]["instrument"]) == 1)
    rendered = make_piece(synthesizer, 5, index).record
    assert written[index] == {**rendered, "duration_s": pytest.approx(rendered["duration_s"], abs=0.1)}
