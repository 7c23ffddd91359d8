"""Files and folders appear whole or not at all, and nothing else is left, whatever ends the process."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from descant import atomic, staging
from descant.atomic import replacing_folder, write_atomically, write_new
from descant.audio import Clip
from descant.errors import AudioError, CheckpointError
from descant.staging import ABANDONED_AFTER_S


@pytest.fixture
def umask():
    """Sets the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path) -> str:
    return oct(os.stat(path).st_mode & 0o777)


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def anything(folder: Path) -> bool:
    return folder.is_dir()


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


@pytest.mark.parametrize("bits", [0o600, 0o664, 0o640, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path, umask, bits):
    umask(0o022)
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(bits)
    write_atomically(path, b"new")
    assert mode(path) == oct(bits)


@pytest.mark.parametrize(("mask", "bits"), [(0o022, "0o644"), (0o077, "0o600"), (0o002, "0o664")])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path, umask, mask, bits):
    umask(mask)
    write_atomically(tmp_path / "a", b"new")
    assert mode(write_new(tmp_path / "b", b"new")) == mode(tmp_path / "a") == bits


def test_a_private_file_is_never_readable_by_others_not_even_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o600)
    seen = []
    replace = os.replace
    monkeypatch.setattr(
        atomic.os, "replace", lambda a, b: (seen.append((mode(a), mode(Path(a).parent))), replace(a, b))
    )
    write_atomically(path, b"new")
    assert seen == [("0o600", "0o700")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_stays_theirs(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 65_534, 65_534)
    write_atomically(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (65_534, 65_534)


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


def test_a_clip_is_saved_this_way(tmp_path, umask):
    import torch

    umask(0o027)
    (tmp_path / "link.wav").symlink_to("b.wav")
    Clip(torch.zeros(1, 100), 8_000).save(tmp_path / "link.wav")
    assert mode(tmp_path / "b.wav") == "0o640"
    with pytest.raises(AudioError, match="--stream -"):
        Clip(torch.zeros(1, 100), 8_000).save("/dev/stdout", format="wav")


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


def test_files_are_flushed_where_only_a_writer_may_do_so(tmp_path, monkeypatch):
    """As on Windows, where flushing a file that is open for reading is an error."""
    sync = atomic._sync

    def windows(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        sync(descriptor)

    monkeypatch.setattr(atomic, "_sync", windows)
    fill(tmp_path / "a", b"new")


def test_processes_that_choose_names_at_once_lose_nothing(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom descant.atomic import write_new\n"
        "for number in range(25): write_new(Path('a.wav'), f'{sys.argv[1]} {number}'.encode())\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=tmp_path) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = {path.read_text() for path in tmp_path.iterdir()}
    assert found == {f"{n} {number}" for n in range(3) for number in range(25)}


FULL = {
    "a file": lambda folder: write_atomically(folder / "a", bytes(1 << 20)),
    "a new file": lambda folder: write_new(folder / "a", bytes(1 << 20)),
    "a folder": lambda folder: fill(folder / "a", bytes(1 << 20)),
}


def fill(folder: Path, content: bytes, is_replaceable=is_empty) -> None:
    with replacing_folder(folder, is_replaceable) as new:
        (new / "weights").write_bytes(content)


@pytest.mark.parametrize("write", FULL.values(), ids=FULL.keys())
def test_a_full_disk_leaves_nothing(tmp_path, write):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises((AudioError, CheckpointError), match=r"cannot write '.*a': File too large"):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
from descant.atomic import replacing_folder
with replacing_folder(Path("model"), lambda old: True) as new:
    (new / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def killed_while_writing(folder: Path, number: signal.Signals) -> None:
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)


def grow_old(folder: Path, seconds: float) -> None:
    """Shifts all times in a folder into the past."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - seconds,) * 2)


def test_ctrl_c_leaves_the_old_folder_and_nothing_else(tmp_path):
    (tmp_path / "model").mkdir()
    killed_while_writing(tmp_path, signal.SIGINT)
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == []


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    killed_while_writing(tmp_path, signal.SIGKILL)
    (left,) = os.listdir(tmp_path)
    write_atomically(tmp_path / "a", b"new")
    assert left in os.listdir(tmp_path), "not yet: it could be another machine's"
    grow_old(tmp_path / left, ABANDONED_AFTER_S + 1)
    staging._search_due_s.pop(tmp_path)  # as in another process
    write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_process_that_was_started_soon_after_a_kill_removes_what_was_left_later(tmp_path, monkeypatch):
    """A run that was started again at once kept half a checkpoint of each kill for as long as it trained."""
    killed_while_writing(tmp_path, signal.SIGKILL)
    (left,) = os.listdir(tmp_path)
    write_atomically(tmp_path / "a", b"new")
    grow_old(tmp_path / left, ABANDONED_AFTER_S + 1)
    write_atomically(tmp_path / "a", b"new")
    assert left in os.listdir(tmp_path)
    later = time.monotonic() + ABANDONED_AFTER_S + 1
    monkeypatch.setattr(staging.time, "monotonic", lambda: later)
    write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_process_looks_once_for_what_was_abandoned_in_a_folder(tmp_path, monkeypatch):
    scanned = []
    scandir = os.scandir
    monkeypatch.setattr(atomic.os, "scandir", lambda path: (scanned.append(path), scandir(path))[1])
    for number in range(3):
        write_atomically(tmp_path / f"{number}", b"new")
    assert scanned.count(tmp_path) == 1


def test_what_another_process_is_still_writing_stays_however_old_it_is(tmp_path):
    with replacing_folder(tmp_path / "model", is_empty) as new:
        (new / "weights").write_text("whole")
        grow_old(new.parent, 10 * ABANDONED_AFTER_S)
        write_atomically(tmp_path / "a", b"new")
        assert (new / "weights").read_text() == "whole"
    assert (tmp_path / "model" / "weights").read_text() == "whole"


def test_a_process_killed_between_old_and_new_loses_neither(tmp_path):
    """The old folder is back after the next write to the same parent."""
    staging = tmp_path / f".descant-{'0' * 16}.part"
    for name in ("new", "old/model"):
        (staging / name).mkdir(parents=True)
        (staging / name / "weights").write_text(name)
    grow_old(staging, ABANDONED_AFTER_S + 1)
    write_atomically(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "model"]
    assert (tmp_path / "model" / "weights").read_text() == "old/model"


@pytest.mark.parametrize("name", [".descant-0.part", "x.part", f".descant-{'0' * 16}.part.wav", f"{'0' * 16}"])
def test_nothing_else_is_removed(tmp_path, name):
    (tmp_path / name).mkdir()
    grow_old(tmp_path / name, 1e6)
    (tmp_path / f".descant-{'1' * 16}.part").write_text("a file of the user's")
    (tmp_path / f".descant-{'2' * 16}.part").symlink_to(name)
    write_atomically(tmp_path / "a", b"new")
    assert len(os.listdir(tmp_path)) == 4


def test_an_error_between_old_and_new_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    replace = os.replace

    def failing(source, destination):
        if Path(source).name == "new":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(atomic.os, "replace", failing)
    with pytest.raises(CheckpointError, match="Input/output"):
        fill(tmp_path / "model", b"new", anything)
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_folder_has_the_modes_of_the_umask_or_those_it_had(tmp_path, umask):
    umask(0o027)
    for text in ("first", "second"):
        with replacing_folder(tmp_path / "model", anything) as new:
            for name in ("config", "weights", "text/weights"):
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_text(text)
                (new / name).chmod(0o600)  # as safetensors does
        if text == "first":
            assert {mode(path) for path in (tmp_path / "model").rglob("*") if path.is_file()} == {"0o640"}
            assert mode(tmp_path / "model") == "0o750"
            (tmp_path / "model").chmod(0o700)
            (tmp_path / "model" / "text/weights").chmod(0o600)
    assert mode(tmp_path / "model") == "0o700"
    assert mode(tmp_path / "model/text/weights") == "0o600"
    assert mode(tmp_path / "model/weights") == "0o640"


def test_a_folder_that_may_not_be_replaced_stays(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "letters").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("model", "file"):
        with pytest.raises(CheckpointError, match="holds something else"), replacing_folder(tmp_path / name, is_empty):
            pass
    assert (tmp_path / "model" / "letters").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_folder_through_a_link_to_nothing_is_made_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to("nowhere/at/all")
    fill(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "nowhere/at/all/weights").read_bytes() == b"new"
    assert os.listdir(tmp_path / "nowhere/at") == ["all"]


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/weights"),
        PermissionError(errno.EACCES, "Permission denied"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ValueError("a mistake of the caller"),
    ],
    ids=repr,
)
def test_the_callers_own_errors_pass_as_they_are(tmp_path, fault):
    with pytest.raises(type(fault)) as raised, replacing_folder(tmp_path / "model", is_empty):
        raise fault
    assert raised.value is fault
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_no_more_is_an_error_of_the_folder(tmp_path, number):
    with pytest.raises(CheckpointError, match="cannot write"), replacing_folder(tmp_path / "model", is_empty):
        raise OSError(number, os.strerror(number))


def test_an_error_about_a_file_in_the_new_folder_is_one_of_the_folder(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"cannot write '.*model': No such file"),
        replacing_folder(tmp_path / "model", is_empty) as new,
    ):
        (new / "no" / "weights").write_text("new")


def test_saved_weights_have_the_mode_of_the_config(tmp_path, tiny_model, umask):
    from descant.checkpoints.native import save_model

    umask(0o022)
    save_model(tiny_model, tmp_path / "model")
    assert {mode(path) for path in (tmp_path / "model").rglob("*") if path.is_file()} == {"0o644"}
