"""Scanning and tokenizing in several processes and on several machines: the same bytes as one."""

import gc
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from descant.audio import audio_header
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.data.audio_digests import DIGESTS_NAME
from descant.data.header_parts import remove_headers
from descant.data.parts import Part
from descant.data.scan import scan_folder, scan_part
from descant.data.sent_codec import with_codec, write_codec
from descant.data.shard_index import INDEX_NAME
from descant.data.tokenize import tokenize
from descant.data.workers import Workers
from descant.errors import DataError, InvalidRequest, ProcessLost
from tests.data.fake_codec import FakeCodec, contents, saved


@pytest.fixture
def records(tmp_path):
    """Two lengths, a recording that is there twice, and a broken file."""
    made = [saved(tmp_path / "audio" / f"{index}.wav", 1.0 + index % 2, seed=index) for index in range(9)]
    shutil.copy(made[1].path, made[7].path)
    made[4].path.write_bytes(made[4].path.read_bytes()[:200])
    return made


def tokenized(records, folder, codec=None, **changes):
    left_out = []
    settings = {"shard_clips": 2, "batch_size": 2, "skip": lambda record, _: left_out.append(record.path.name)}
    tokenize(records, codec or FakeCodec(), folder, **{**settings, **changes})
    return left_out


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_two_processes_write_the_bytes_of_one(records, tmp_path):
    alone = tokenized(records, tmp_path / "one", shard_clips=4)
    assert tokenized(records, tmp_path / "two", shard_clips=4, workers=2) == alone == ["4.wav"]
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_a_codec_with_weight_norms_is_sent_to_other_processes_with_its_codes(tmp_path):
    codec = EnCodec(EnCodecConfig(filters=4, codebook_size=16)).eval()
    write_codec(codec, tmp_path / "codec")
    wave = torch.randn(2, 1, 6_400, generator=torch.Generator().manual_seed(0))
    codes = with_codec(tmp_path / "codec", "cpu", lambda sent, _: sent.encode(wave))
    assert torch.equal(codes, codec.encode(wave))


def test_a_process_keeps_only_the_codec_that_it_encodes_with(tmp_path):
    read = []
    for name in ("first", "second"):
        write_codec(FakeCodec(), tmp_path / name)
        read.append(with_codec(tmp_path / name, "cpu", lambda sent, _: weakref.ref(sent)))
    gc.collect()
    assert [codec() is None for codec in read] == [True, False]


def test_two_machines_write_the_codes_of_one_and_the_last_run_only_joins_them(records, tmp_path):
    tokenized(records, tmp_path / "one")
    for number in (1, 2):
        tokenized(records, tmp_path / "two", part=Part(number, 2))
        assert [path.name for path in sorted((tmp_path / "two").iterdir())] == [
            f"part-{done}-of-2" for done in range(1, number + 1)
        ]
    codec = FakeCodec()
    assert tokenized(records, tmp_path / "two", codec) == ["4.wav"]
    assert codec.frames_seen == 0
    names = {*files_of(tmp_path / "one")}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names
    ours, theirs = files_of(tmp_path / "two"), files_of(tmp_path / "one")
    assert {name: ours[name] for name in names - {DIGESTS_NAME}} == {
        name: theirs[name] for name in names - {DIGESTS_NAME}
    }


def test_a_part_with_codes_that_are_not_joined_is_kept_and_named(records, tmp_path):
    """Tokenizing the first clips alone deleted the codes of all others."""
    sound = [record for record in records if record.path.name != "4.wav"]
    for number in (1, 2):
        tokenized(sound, tmp_path / "codes", part=Part(number, 2))
    made = tokenize(sound[:2], FakeCodec(), tmp_path / "codes")
    kept = tmp_path / "codes" / "part-2-of-2"
    assert [*made.kept_parts] == [str(tmp_path / "codes" / "part-1-of-2"), str(kept)]
    codec = FakeCodec()
    assert tokenize(sound, codec, tmp_path / "codes").kept_parts == ()
    assert codec.frames_seen == 0
    assert not kept.exists()


class Killed(Exception):
    """Stands in for a process that is killed."""


def test_a_run_that_is_killed_while_it_removes_a_part_goes_on(records, tmp_path, monkeypatch):
    """Without its index, what was left of the part could not be read, and no later run could finish."""
    sound = [record for record in records if record.path.name != "4.wav"]
    tokenized(sound, tmp_path / "one")
    tokenized(sound, tmp_path / "codes", part=Part(1, 2))
    rmtree = shutil.rmtree

    def killed(folder, **options):
        if not Path(folder).name.startswith("part-"):
            return rmtree(folder, **options)
        (folder / INDEX_NAME).unlink()
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("descant.data.parts.shutil.rmtree", killed)
        with pytest.raises(Killed):
            tokenized(sound, tmp_path / "codes")
    tokenized(sound, tmp_path / "codes")
    assert contents(tmp_path / "codes") == contents(tmp_path / "one")
    assert not [*(tmp_path / "codes").glob("part-*")]


def test_a_part_that_begins_while_others_are_joined_is_neither_joined_nor_removed(records, tmp_path, monkeypatch):
    sound = [record for record in records if record.path.name != "4.wav"]
    tokenized(sound, tmp_path / "codes", part=Part(1, 2))

    def begin(*arguments):
        if not (tmp_path / "codes" / "part-2-of-2").exists():
            tokenized(sound, tmp_path / "codes", part=Part(2, 2))
        return Workers(*arguments)

    # What is started once the folders are locked.
    monkeypatch.setattr("descant.data.tokenize.Workers", begin)
    codec = FakeCodec()
    tokenized(sound, tmp_path / "codes", codec)
    assert codec.frames_seen > 0
    assert [path.name for path in (tmp_path / "codes").glob("part-*")] == ["part-2-of-2"]


def test_processes_start_before_torch_is_imported_and_before_there_is_a_codec(records, tmp_path):
    script = "import sys; import descant.data.workers, descant.data.manifest; sys.exit('torch' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environ).returncode == 0
    with Workers(2) as workers:
        assert len(workers._pool._processes) == 2
        assert tokenized(records, tmp_path / "two", shard_clips=4, workers=workers) == ["4.wav"]
    tokenized(records, tmp_path / "one", shard_clips=4)
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_a_process_that_the_system_ends_is_an_error_that_says_what_to_do():
    with (
        pytest.raises(ProcessLost, match=r"one of 2 processes was ended .* use fewer of them \(--workers\)"),
        Workers(2) as workers,
    ):
        workers.start(os._exit, 1)()


def test_what_a_machine_has_not_done_is_encoded_when_parts_are_joined(records, tmp_path):
    sound = [record for record in records if record.path.name != "4.wav"]
    tokenized(sound, tmp_path / "two", part=Part(2, 2))
    again = FakeCodec()
    tokenized(sound, tmp_path / "two", again, part=Part(2, 2))
    assert again.frames_seen == 0
    tokenized(sound, tmp_path / "two")
    tokenized(sound, tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_part_encodes_nothing_that_the_folder_has(records, tmp_path):
    tokenized(records[:4], tmp_path / "codes")
    seen = 0
    for number in (1, 2):
        codec = FakeCodec()
        tokenized(records, tmp_path / "codes", codec, part=Part(number, 2))
        seen += codec.frames_seen
    assert seen == 50 * (2 + 1 + 1)
    tokenized(records, tmp_path / "codes", codec)
    tokenized(records, tmp_path / "one")
    assert contents(tmp_path / "codes") == contents(tmp_path / "one")


def test_parts_of_another_codec_or_too_many_are_refused(records, tmp_path):
    tokenized(records, tmp_path / "codes", part=Part(1, 2), window_s=30.0)
    with pytest.raises(DataError, match=r"part-1-of-2' was started with another window_s"):
        tokenized(records, tmp_path / "codes")
    with pytest.raises(InvalidRequest, match=r"part 9/9: there are too few clips"):
        tokenized(records, tmp_path / "other", part=Part(9, 9))
    with pytest.raises(InvalidRequest, match="the first number is 1 to the second"):
        Part(3, 2)
    with pytest.raises(InvalidRequest, match="workers=0: at least 1"):
        tokenized(records, tmp_path / "other", workers=0)


@pytest.mark.usefixtures("records")
def test_a_scan_in_two_processes_finds_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr("descant.data.scan.BLOCK", 2)
    assert scan_folder(tmp_path / "audio", workers=2) == scan_folder(tmp_path / "audio")


def test_what_machines_have_read_of_a_folder_is_not_read_again_unless_it_changes(records, tmp_path, monkeypatch):
    folder = tmp_path / "audio"
    whole = scan_folder(folder)
    assert [scan_part(folder, Part(number, 2)) for number in (1, 2)] == [5, 4]
    read = []
    monkeypatch.setattr("descant.data.scan.plausible_header", lambda path: read.append(path.name) or audio_header(path))
    assert scan_folder(folder) == whole
    assert read == []
    saved(records[3].path, 3.0, seed=3)
    assert scan_folder(folder).records[3].duration_s == 3.0
    assert read == ["3.wav"]
    remove_headers(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_file_that_changes_while_its_header_is_read_is_read_again(records, tmp_path, monkeypatch):
    folder = tmp_path / "audio"

    def changing(path):
        header = audio_header(path)
        if path == records[3].path:
            saved(path, 3.0, seed=3)
        return header

    with monkeypatch.context() as patched:
        patched.setattr("descant.data.scan.plausible_header", changing)
        scan_part(folder, Part(1, 1))
    assert scan_folder(folder).records[3].duration_s == 3.0
