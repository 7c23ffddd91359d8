"""``data check`` and ``data caption`` as they are typed."""

import json
import re

import pytest

from tests.curation.music import song


@pytest.fixture
def music(folder):
    (folder / "music").mkdir()
    for number in range(3):
        song(number, 6.0, bpm=90 + 15 * number, tonic=number).save(folder / "music" / f"song {number}x.wav")
        (folder / "music" / f"song {number}x.txt").write_text(f"piece {number}\n")
    return folder / "music"


def test_check_succeeds_where_nothing_is_wrong_and_fails_at_a_fault(run, music):
    words = ("data", "check", music, "--cache", "cache", "--workers", "1")
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["num_faults"] == 0
    assert set(result["problems"]) <= {"unknown licence", "vocals"}
    song(9, 6.0).save(music / "copy 1.wav")
    song(9, 6.0).save(music / "copy 2.mp3")
    outcome = run(*words, "--families")
    assert outcome.code == 3
    assert "fault: 1 duplicate" in outcome.out or "fault: 1 leaked" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("descant: error: ")
    rows = [json.loads(line) for line in (music / "families.jsonl").read_text().splitlines()]
    assert rows == [{"clips": ["copy 1.wav", "copy 2.mp3"]}]
    assert run(*words, "--allow", "duplicate,leaked").code == 0


def test_the_page_needs_no_other_file_and_plays_what_the_codec_harms(run, music):
    outcome = run("data", "check", music, "--page", "page.html", "--cache", "off", "--workers", "1", "--json")
    assert outcome.code == 0, outcome.err
    page = (music.parent / "page.html").read_text()
    assert page.count("<audio") == 6
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    losses = json.loads(outcome.out)["codec_loss_db"]
    assert set(losses) == {f"song {number}x.wav" for number in range(3)}
    assert list(losses.values()) == sorted(losses.values(), reverse=True)
    assert all(1 < loss < 30 for loss in losses.values())


@pytest.mark.parametrize(
    "words",
    [
        ("data", "check", "music", "--cache", "off"),
        ("data", "caption", "music", "--cache", "off", "--dry-run"),
        ("data", "scan", "music"),
        ("evaluate", "music", "--metrics", "checks", "--cache", "off"),
        ("evaluate", "music", "--metrics", "checks", "--cache", "off", "--skip-broken"),
    ],
)
def test_a_damaged_file_is_explained_without_words_of_python(run, music, words):
    """They said "salvage=True takes them", an argument of the library, where no option does the same."""
    whole = (music / "song 0x.wav").read_bytes()
    (music / "cut.wav").write_bytes(whole[: len(whole) // 2])
    outcome = run(*words)
    shown = outcome.out + outcome.err
    assert "s can be read; keep them with ffmpeg -i INPUT output.wav" in shown
    assert "salvage" not in shown


def test_reasons_are_summed_up_over_the_clips(run, music):
    """Each clip had a line of 350 characters."""
    (music / "song 0x.txt").write_text("in D minor")
    for number in range(3):
        song(number, 1.0).save(music / f"short {number}.wav")
    outcome = run("data", "caption", music, "--cache", "off", "--dry-run", "--workers", "1")
    assert outcome.code == 0, outcome.err
    assert "left out (shorter than 5 s): bpm of 3 clips, key of 3 clips\n" in outcome.out
    assert "left out (stated in its description): key of 1 clip\n" in outcome.out
    assert outcome.out.count("left out (shorter than 5 s)") == 1


def test_captions_stay_as_they_are_and_a_second_run_changes_nothing(run, music):
    (music / "song 0x.txt").write_text("slow piano, 61 bpm, in D minor, sad")
    before = {path.name: path.read_bytes() for path in music.iterdir()}
    words = ("data", "caption", music, "--cache", "cache", "--workers", "1")
    outcome = run(*words, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "stated in its description" in outcome.out
    assert {path.name: path.read_bytes() for path in music.iterdir()} == before
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    first = (music / "measured.jsonl").read_bytes()
    assert run(*words).code == 0
    assert (music / "measured.jsonl").read_bytes() == first
    assert run("data", "scan", music).code == 0
    rows = {row["path"]: row for row in map(json.loads, (music / "manifest.jsonl").read_text().splitlines())}
    assert not {"bpm", "key"} & set(rows["song 0x.wav"]["tags"])
    assert rows["song 1x.wav"]["tags"]["bpm"] == pytest.approx(105, rel=0.01)
    assert rows["song 1x.wav"]["captions"] == ["piece 1"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("check", "music", "--page", "page.txt"), "--page"),
        (("check", "music", "--page", "none/page.html"), "--page"),
        (("check", "music", "--codec", "codec"), "--codec"),
        (("check", "music", "--workers", "0"), "--workers"),
        (("check", "music", "--segment", "-1"), "--segment"),
        (("check", "music", "--shard", "1/2", "--page", "page.html"), "--page: has no effect with --shard"),
        (("scan", "music", "--shard", "1/2", "--split-again"), "--split-again: has no effect with --shard"),
        (("scan", "music", "--workers", "0"), "--workers"),
        (("check", "music", "--sample-rate", "0"), "--sample-rate"),
        (("check", "music", "--allow", "noise"), "--allow"),
        (("caption", "music", "--cache", "music/song 0x.txt"), "--cache"),
    ],
)
def test_wrong_options_are_refused_by_name(refused, music, words, named):
    del music
    assert named in refused(2, "data", *words)


def test_a_folder_without_audio_is_refused(refused, folder):
    (folder / "empty").mkdir()
    assert "no audio" in refused(3, "data", "check", "empty")
    assert "no readable audio" in refused(3, "data", "caption", "empty")
