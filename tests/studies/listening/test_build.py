"""The page tells a listener nothing about the systems, and its clips differ in nothing but their music."""

import json
from dataclasses import replace
from pathlib import Path

import mutagen
import pytest
import soundfile
import torch

from descant.audio import Clip, audio_header, integrated_loudness
from descant.errors import AudioError, CheckpointError, DataError, InvalidRequest
from descant.evaluation.signal_checks import measure_signal
from descant.studies.listening.build import build_test
from descant.studies.listening.files import read_key
from descant.studies.listening.sources import find_trials

SYSTEMS = ("zebra", "yak")


def page_data(folder: Path) -> dict:
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    return json.loads(page.split('id="test">')[1].split("</script>")[0])


def clip_files(folder: Path) -> list[Path]:
    return sorted((folder / "page" / "clips").iterdir())


def trials_of(folders, **settings):
    return find_trials({name: folders[name] for name in SYSTEMS}, **settings)[0]


def test_no_system_and_no_role_is_named_in_what_listeners_get(built):
    page = (built / "page" / "index.html").read_text(encoding="utf-8")
    assert not [word for word in (*SYSTEMS, "anchor", "repeat", "seed1") if word in page]
    for file in (built / "page").rglob("*"):
        content = file.read_bytes().lower() if file.is_file() else b""
        assert not [name for name in SYSTEMS if name.encode() in content or name in file.name]
    assert {file.name for file in built.iterdir()} == {"page", "key.json"}


def test_clips_have_no_tags(built):
    for file in clip_files(built):
        tags = mutagen.File(file).tags
        assert dict(tags or {}) == {}


def test_all_clips_have_one_format_and_those_of_a_prompt_one_length(built):
    headers = {file.stem: audio_header(file) for file in clip_files(built)}
    assert {header.sample_rate_hz for header in headers.values()} == {22_050}
    assert {soundfile.info(file).subtype for file in clip_files(built)} == {"PCM_16"}
    for prompt in ("one", "two", "three"):
        names = [clip.name for clip in read_key(built).clips if clip.prompt == prompt]
        assert len({headers[name].num_samples for name in names}) == 1


def test_all_clips_have_the_loudness_and_stay_below_the_true_peak(built):
    for file in clip_files(built):
        clip = Clip.read(file)
        assert integrated_loudness(clip.samples, clip.sample_rate_hz) == pytest.approx(-14, abs=0.5)
        assert measure_signal(clip).true_peak_db <= -0.9


def test_page_and_key_have_the_same_clips_and_the_page_orders_them_by_their_blind_names(built):
    data, key = page_data(built), read_key(built)
    names = [clip["name"] for clip in data["clips"]]
    assert names == sorted(clip.name for clip in key.clips)
    assert {clip["name"] for clip in data["clips"]} <= {file.stem for file in clip_files(built)}
    assert set(data["clips"][0]) == {"name", "text", "melody"}
    by_name = {clip.name: clip for clip in key.clips}
    assert all((clip["melody"] is not None) == (by_name[clip["name"]].prompt == "two") for clip in data["clips"])


def test_the_order_of_blind_names_does_not_follow_the_systems(folders, tmp_path):
    orders = set()
    for seed in range(8):
        built = build_test(tmp_path / str(seed), trials_of(folders), seed=seed, num_repeats=0, num_anchors=0)
        orders.add(tuple(clip.system for clip in sorted(built.key.clips, key=lambda clip: clip.name)))
    assert len(orders) > 4


def test_a_repeat_plays_the_same_audio_and_an_anchor_does_not(built):
    content = {file.stem: Clip.read(file).samples for file in clip_files(built)}
    hidden = [clip for clip in read_key(built).clips if clip.source]
    assert sorted(clip.role for clip in hidden) == ["anchor", "repeat", "repeat"]
    for clip in hidden:
        assert torch.equal(content[clip.name], content[clip.source]) == (clip.role == "repeat")


def test_the_same_seed_builds_the_same_test(built, folders, tmp_path):
    build_test(tmp_path / "again", trials_of(folders, melodies=folders["melodies"]), seed=3)
    for file in built.rglob("*.*"):
        assert (tmp_path / "again" / file.relative_to(built)).read_bytes() == file.read_bytes()


def test_the_page_needs_no_network(built):
    page = (built / "page" / "index.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert " src=" not in page.replace("audio.src =", "")
    assert "<link" not in page
    assert "import" not in page


def test_a_text_cannot_end_the_script_that_holds_it(built):
    assert page_data(built)["clips"][0]["text"].endswith("</script>")


def test_prompts_come_from_a_file_if_there_is_one(folders, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps({"one": "first", "two": "second", "three": "third"}))
    (tmp_path / "texts.txt").write_text("first\nthird\nsecond\n")  # in the order of the names: one, three, two
    for file in ("texts.json", "texts.txt"):
        texts = {trial.prompt: trial.text for trial in trials_of(folders, prompts=tmp_path / file)}
        assert texts == {"one": "first", "two": "second", "three": "third"}


def test_names_that_only_some_folders_have_are_reported(folders, tmp_path):
    whole = (folders["yak"] / "one-seed1.wav").read_bytes()
    (tmp_path / "one.wav").write_bytes(whole)
    (tmp_path / "four.wav").write_bytes(whole)
    trials, partial = find_trials({"zebra": folders["zebra"], "yak": tmp_path})
    assert [trial.prompt for trial in trials] == ["one"]
    assert partial == ["four", "three", "two"]


def test_clips_are_cut_to_the_duration(folders, tmp_path):
    built = build_test(
        tmp_path / "test", trials_of(folders, num_prompts=1), duration_s=0.5, num_repeats=0, num_anchors=0
    )
    assert built.duration_s == pytest.approx(1.0)
    assert audio_header(clip_files(tmp_path / "test")[0]).duration_s == pytest.approx(0.5, abs=0.001)


def test_what_cannot_be_a_test_is_refused(folders, tmp_path):
    trials = trials_of(folders)
    with pytest.raises(InvalidRequest, match="two or more"):
        find_trials({"yak": folders["yak"]})
    with pytest.raises(InvalidRequest, match="no file name is in all"):
        find_trials({"yak": folders["yak"], "zebra": tmp_path})
    with pytest.raises(InvalidRequest, match="num_prompts=4"):
        trials_of(folders, num_prompts=4)
    with pytest.raises(InvalidRequest, match="num_repeats=7"):
        build_test(tmp_path / "test", trials, num_repeats=7)
    with pytest.raises(DataError, match="is not a folder"):
        find_trials({"yak": folders["yak"], "zebra": tmp_path / "no"})
    with pytest.raises(InvalidRequest, match="melodies: no file"):
        trials_of(folders, melodies=tmp_path)
    (tmp_path / "short.txt").write_text("only one\n")
    with pytest.raises(DataError, match="1 lines for 3 prompts"):
        trials_of(folders, prompts=tmp_path / "short.txt")
    (tmp_path / "broken.json").write_text('{"one": ')
    with pytest.raises(DataError, match="not a file of texts"):
        trials_of(folders, prompts=tmp_path / "broken.json")
    with pytest.raises(CheckpointError, match="holds something else"):
        build_test(tmp_path, trials)
    assert not (tmp_path / "test").exists()


def test_two_files_of_one_name_are_refused(folders, tmp_path):
    for name in ("one.wav", "one-seed5.wav"):
        (tmp_path / name).write_bytes((folders["yak"] / "one-seed1.wav").read_bytes())
    with pytest.raises(DataError, match="both clips of 'one'"):
        find_trials({"yak": folders["yak"], "zebra": tmp_path})


def test_a_silent_clip_is_refused_by_name_and_leaves_no_folder(folders, tmp_path):
    Clip(torch.zeros(1, 16_000), 16_000).save(tmp_path / "quiet.wav")
    trial = trials_of(folders)[0]
    silent = replace(trial, files={**trial.files, "yak": tmp_path / "quiet.wav"})
    with pytest.raises(AudioError, match=r"quiet.wav.*silent"):
        build_test(tmp_path / "test", [silent], num_repeats=0, num_anchors=0)
    assert not (tmp_path / "test").exists()
