"""The paper's table at toy size: a folder with captions and clips, a tiny model, and embedders without weights."""

import shutil
from dataclasses import replace

import pytest

from descant import api
from descant.audio import Clip
from descant.errors import DataError, InvalidRequest
from descant.evaluation.embedders.base import TextEmbedder
from descant.studies.evaluation.choice import Settings
from descant.studies.evaluation.evaluate import evaluate
from descant.studies.evaluation.musiccaps import (
    METRICS,
    NUM_OF_PAPER,
    PAPER,
    generate_missing,
    open_sets,
    paper_table,
    read_musiccaps,
)
from tests.studies.evaluation.conftest import sound
from tests.studies.evaluation.embedders import RATE_HZ, BandTexts

YTIDS = ("-0Gj8-vB1q4", "-0SdAVK79lg", "abc_defghij", "zzzzzzzzzzz")


class LengthTexts(BandTexts):
    """Texts without a band's number."""

    def embed_text(self, text):
        return super().embed_text(f"band {len(text) % 6}")


@pytest.fixture
def folder(tmp_path):
    """Three clips of four captions, under the three kinds of names that people give them."""
    place = tmp_path / "musiccaps"
    place.mkdir()
    rows = [f"{ytid},0,10,\"['a', 'b']\",\"a piano plays, number {number}\"" for number, ytid in enumerate(YTIDS)]
    (place / "musiccaps-public.csv").write_text("ytid,start_s,end_s,aspect_list,caption\n" + "\n".join(rows))
    for number, name in enumerate((YTIDS[0], f"[{YTIDS[1]}]-[30-40]", f"{YTIDS[2]}_30_40")):
        Clip(sound(number, number, 10.0), RATE_HZ).save(place / f"{name}.wav")
    return place


class Counting:
    """The tiny model, which counts what it generates; at its speed ten seconds would be long."""

    def __init__(self) -> None:
        self.model = api.load("tiny")
        self.fingerprint, self.texts = self.model.fingerprint, []

    def generate(self, requests):
        self.texts += [request.text for request in requests]
        clips = self.model.generate([replace(request, duration_s=1.0) for request in requests])
        return [Clip(0.5 * sound(1, clip.info["seed"], 10.0), RATE_HZ, info=clip.info) for clip in clips]


def test_the_table_has_our_numbers_next_to_the_papers(folder, embedders):
    out = folder / "generated"
    suite = read_musiccaps(folder, out)
    assert [clip.ytid for clip in suite.clips] == list(YTIDS[:3])
    assert suite.num_missing == 1
    model = Counting()
    assert generate_missing(model.generate, model.fingerprint, suite.clips, out, 2, lambda _done, _whole: None) == 0
    assert sorted(file.stem for file in out.glob("*.wav")) == sorted(YTIDS[:3])
    # The clips that were just generated are no references.
    assert read_musiccaps(folder, out) == suite
    found = evaluate(
        *open_sets(suite.clips, out, skip_broken=False),
        Settings(metrics=METRICS, embedders={**embedders, "text_embedder": LengthTexts()}),
    )
    table = paper_table("tiny", found)
    assert (
        f"| tiny | {found.row('fad').estimate} | {found.row('kl').estimate} | {found.row('clap').estimate} |" in table
    )
    assert "| MusicGen 300M | 3.1 | 1.28 | 0.31 |" in table
    assert "the paper's embedder is vggish, not bands: do not compare" in table
    assert f"3 clips; the paper has {NUM_OF_PAPER}" in table
    assert isinstance(LengthTexts(), TextEmbedder)
    assert len(PAPER) == 10


def test_a_run_continues_where_it_stopped_and_refuses_clips_of_another_model(folder):
    out = folder / "generated"
    clips = read_musiccaps(folder, out).clips
    model = Counting()
    generate_missing(model.generate, model.fingerprint, clips, out, 8, lambda _done, _whole: None)
    first = {file.name: file.read_bytes() for file in out.glob("*.wav")}
    (out / f"{YTIDS[1]}.wav").unlink()
    model.texts.clear()
    assert generate_missing(model.generate, model.fingerprint, clips, out, 8, lambda _done, _whole: None) == 2
    assert model.texts == ["a piano plays, number 1"]
    assert {file.name: file.read_bytes() for file in out.glob("*.wav")} == first
    model.fingerprint = "another"
    with pytest.raises(DataError, match=r"another model.*--output"):
        generate_missing(model.generate, model.fingerprint, clips, out, 8, lambda _done, _whole: None)


def test_a_folder_without_table_or_clips_is_refused(folder, tmp_path):
    out = folder / "generated"
    with pytest.raises(InvalidRequest, match="num_clips=4: allowed are 1 to 3"):
        read_musiccaps(folder, out, 4)
    shutil.copy(folder / "musiccaps-public.csv", tmp_path / "table.csv")
    with pytest.raises(DataError, match="has none of the clips"):
        read_musiccaps(tmp_path, folder)
    (tmp_path / "table.csv").write_text("id,text\n1,a\n")
    with pytest.raises(DataError, match="columns ytid and caption"):
        read_musiccaps(tmp_path, out)
    (tmp_path / "table.csv").write_text("ytid,caption\na,one\na,two\n")
    with pytest.raises(DataError, match=r"line 3: .*second time"):
        read_musiccaps(tmp_path, out)
    (tmp_path / "table.csv").unlink()
    with pytest.raises(DataError, match=r"has 0 \.csv files"):
        read_musiccaps(tmp_path, out)
