import json
from pathlib import Path

import pytest

from descant.audio import audio_header
from descant.data.manifest import read_manifest
from descant.errors import ConfigError
from starter_corpus.card import card_text
from starter_corpus.corpus import render_corpus

HOURS = 0.013


class Stopped(Exception):
    pass


def stop(*_hours: float) -> None:
    raise Stopped


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


pytestmark = pytest.mark.usefixtures("synthesizer", "programs")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    render_corpus(folder, HOURS, seed=5, workers=1)
    return folder


def test_the_manifest_matches_the_files(corpus):
    records = read_manifest(corpus / "manifest.jsonl")
    assert len(records) == 2
    for record in records:
        header = audio_header(record.path)
        assert (header.sample_rate_hz, header.num_channels) == (32_000, 1)
        assert header.duration_s == record.duration_s
        assert len(record.captions) >= 4
        assert set(record.tags) - {"chords", "sections"} == {
            *("genre", "style", "instrument", "instrument_family", "moods", "bpm", "key", "metre"),
            *("has_drums", "beat_locked", "source", "title", "first_beat_s", "first_bar_s"),
        }


def test_interrupted_and_continued_gives_the_same_files(corpus, tmp_path):
    with pytest.raises(Stopped):
        render_corpus(tmp_path, HOURS, seed=5, workers=1, progress=stop)
    last = sorted(tmp_path.glob("audio/*/*.json"))[-1]
    last.unlink()
    last.with_suffix(".wav").write_bytes(b"half a file")
    render_corpus(tmp_path, HOURS, seed=5, workers=1)
    assert files(tmp_path) == files(corpus)


def test_more_hours_keep_the_existing_pieces(corpus, tmp_path):
    render_corpus(tmp_path, HOURS / 2, seed=5, workers=1)
    assert len(files(tmp_path)) == 5
    few = files(tmp_path / "audio")
    assert {name: files(corpus / "audio")[name] for name in few} == few


def test_one_split_is_rendered_alone_as_it_is_with_the_others(tmp_path):
    """The second piece of this seed is held out, the first is not."""
    render_corpus(tmp_path, 0.9 * HOURS, seed=190, workers=1, split="valid")
    assert [record.path.stem for record in read_manifest(tmp_path / "manifest.jsonl")] == ["000001"]
    held_out = files(tmp_path / "audio")
    render_corpus(tmp_path, 0.9 * HOURS, seed=190, workers=1)
    assert len(files(tmp_path / "audio")) == 4
    assert {name: files(tmp_path / "audio")[name] for name in held_out} == held_out
    assert [record.split for record in read_manifest(tmp_path / "manifest.jsonl")] == ["train", "valid"]


@pytest.mark.slow
def test_two_workers_render_the_same_files_as_one(corpus, tmp_path):
    render_corpus(tmp_path, HOURS, seed=5, workers=2)
    assert files(tmp_path) == files(corpus)


def test_a_folder_holds_the_corpus_of_one_seed(corpus):
    with pytest.raises(ConfigError, match="seed 5, not 6"):
        render_corpus(corpus, HOURS, seed=6, workers=1)


@pytest.mark.parametrize(("hours", "workers"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_no_hours_and_no_workers_are_refused(hours, workers, tmp_path):
    with pytest.raises(ConfigError, match="hours must be above 0"):
        render_corpus(tmp_path, hours, workers=workers)


def test_the_card_counts_the_corpus_and_names_every_licence(corpus):
    records = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    card = card_text(records)
    assert card == (corpus / "DATA_CARD.md").read_text()
    assert "2 pieces" in card
    for word in ("GPL-2", "public domain", "MIT", "essenFolksong"):
        assert word in card
