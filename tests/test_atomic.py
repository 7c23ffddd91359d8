"""A file appears whole or not at all, where links lead, and under a name that was free if it must be new."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from descant import atomic
from descant.atomic import write_atomically, write_new
from descant.errors import AudioError


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("path_type", [str, Path, os.fsencode])
def test_a_path_may_be_text_bytes_or_an_object(tmp_path, path_type):
    write_atomically(path_type(tmp_path / "a"), b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b").write_bytes(b"old")
    (tmp_path / "far" / "link").symlink_to("b")
    (tmp_path / "a").symlink_to("far/link")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "far" / "link").is_symlink()
    assert (tmp_path / "far" / "b").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path / "far")) == ["b", "link"]


def test_a_link_to_nothing_is_filled(tmp_path):
    (tmp_path / "a").symlink_to("b")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "b").read_bytes() == b"new"


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(AudioError, match="symbolic links"):
        write_atomically(tmp_path / "a", b"new")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/new.wav"])
def test_devices_are_refused_and_stay(path):
    existed = os.path.lexists(path)
    with pytest.raises(AudioError, match="--stream -"):
        write_atomically(path, b"new")
    assert os.path.lexists(path) == existed


def test_standard_output_is_refused_even_where_it_is_a_plain_file(tmp_path):
    code = "from descant.atomic import write_atomically; write_atomically('/dev/stdout', b'new')"
    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, check=False)
    assert b"--stream -" in done.stderr
    assert (tmp_path / "out").read_bytes() == b""
    assert os.listdir(tmp_path) == ["out"]


def test_pipes_folders_and_links_to_them_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name, words in (("pipe", "--stream -"), ("link", "--stream -"), ("folder", "directory"), ("no/a", "No such")):
        with pytest.raises(AudioError, match=words):
            write_atomically(tmp_path / name, b"new")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "pipe"]


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    """A rename asks for the folder's permission alone."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    monkeypatch.setattr(atomic.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(AudioError, match="write-protected"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_new_files_take_the_next_free_name(tmp_path):
    names = [write_new(tmp_path / "a.wav", str(number).encode()).name for number in range(3)]
    assert names == ["a.wav", "a-2.wav", "a-3.wav"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"0", b"1", b"2"]
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert (tmp_path / "a.wav").stat().st_nlink == 1


def test_files_that_belong_together_get_the_same_number(tmp_path):
    (tmp_path / "a.json").touch()
    (tmp_path / "a-2.wav").touch()
    assert write_new(tmp_path / "a.wav", b"new", [tmp_path / "a.json"]).name == "a-3.wav"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.json").symlink_to("nowhere")
    assert write_new(tmp_path / "b.wav", b"new", [tmp_path / "other" / "b.json"]).name == "b-2.wav"


def test_a_link_to_nothing_is_no_free_name(tmp_path):
    (tmp_path / "a.wav").symlink_to("nowhere")
    assert write_new(tmp_path / "a.wav", b"new").name == "a-2.wav"


def test_new_files_need_no_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(atomic.os, "link", refuse)
    assert [write_new(tmp_path / "a.wav", b"new").name for _ in range(2)] == ["a.wav", "a-2.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"new"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")], ids=repr)
def test_no_empty_file_stays_where_a_name_was_taken_and_not_filled(tmp_path, monkeypatch, fault):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no links here")

    def fail(*_):
        raise fault

    monkeypatch.setattr(atomic.os, "link", refuse)
    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises((KeyboardInterrupt, AudioError)):
        write_new(tmp_path / "a.wav", b"new")
    assert os.listdir(tmp_path) == []


def test_processes_that_choose_names_at_once_lose_nothing(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom descant.atomic import write_new\n"
        "for number in range(25): write_new(Path('a.wav'), f'{sys.argv[1]} {number}'.encode())\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=tmp_path) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = {path.read_text() for path in tmp_path.iterdir()}
    assert found == {f"{n} {number}" for n in range(3) for number in range(25)}
