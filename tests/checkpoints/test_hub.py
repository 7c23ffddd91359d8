"""Where a model's files are: a folder, the hub's cache, or nowhere for a reason that is told."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from descant.checkpoints import hub
from descant.errors import CheckpointError, MissingExtra

huggingface_hub = pytest.importorskip("huggingface_hub")
from huggingface_hub import constants, errors  # noqa: E402

COMMIT = "c" * 40
WEIGHTS = bytes(range(256)) * 9


class Cache:
    """A hub cache as the library lays it out: files are links to blobs, which are named by their checksums."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, hub_id: str, files: dict[str, bytes], revision: str = "main") -> Path:
        """Stores files as that revision, and gives the folder that the library would give."""
        repo = self.root / f"models--{hub_id.replace('/', '--')}"
        folder = repo / "snapshots" / COMMIT
        for place in (repo / "refs", repo / "blobs", folder):
            place.mkdir(parents=True, exist_ok=True)
        (repo / "refs" / revision).write_text(COMMIT)
        for name, content in files.items():
            blob = repo / "blobs" / self.name_of(name, content)
            blob.write_bytes(content)
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(blob)
        return folder

    @staticmethod
    def name_of(name: str, content: bytes) -> str:
        if name.endswith(".json"):
            return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Cache:
    """An empty cache, and a library that asks no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return Cache(tmp_path / "cache")


def test_a_folder_is_found_as_it_is_and_the_hub_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "someone" / "song").mkdir(parents=True)
    assert hub.find("someone/song") == Path("someone/song")
    assert hub.find(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "name", ["", "piano", "a/b/c", "../../etc/passwd", "/a/b", "a/b@", "n" * 300, "a\0/b", "a/b\n"]
)
def test_what_is_no_folder_and_no_hub_id_never_reaches_the_hub(name, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(CheckpointError, match="no such folder, and no hub id"):
        hub.find(name)


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}", "model.safetensors": WEIGHTS},
        {"config.json": b"{}", "model-00001-of-00002.safetensors": WEIGHTS, "model-00002-of-00002.safetensors": b"2"},
        {"config.json": b"{}", "codec/model.safetensors": WEIGHTS},
        {"state_dict.bin": WEIGHTS, "compression_state_dict.bin": b"codec"},
    ],
    ids=["transformers", "sharded", "native", "audiocraft"],
)
def test_a_cached_model_is_found_offline(cache, files):
    folder = cache.put("someone/song", files)
    assert hub.find("someone/song") == folder
    assert hub.find("someone/song@main") == folder
    assert hub.find(f"someone/song@{COMMIT}") == folder


def test_a_revision_that_is_not_cached_is_not_replaced_by_another(cache):
    cache.put("someone/song", {"model.safetensors": WEIGHTS}, revision="v1")
    assert hub.find("someone/song@v1").name == COMMIT
    for name in ("someone/song", "someone/song@v2"):
        with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE is set"):
            hub.find(name)


@pytest.mark.usefixtures("cache")
def test_a_model_that_is_not_cached_is_told_offline():
    with pytest.raises(
        CheckpointError, match=r"someone/song: no such folder here, HF_HUB_OFFLINE is set and the cache"
    ):
        hub.find("someone/song")


def test_an_interrupted_download_is_told_apart_from_a_missing_model(cache):
    folder = cache.put("someone/song", {"config.json": b"{}"})
    partial = folder.parents[1] / "blobs" / f"{hashlib.sha256(WEIGHTS).hexdigest()}.incomplete"
    partial.write_bytes(WEIGHTS[:100])
    broke_off = pytest.raises(CheckpointError, match="an earlier download broke off, and HF_HUB_OFFLINE is set")
    with broke_off:
        hub.find("someone/song")
    (folder.parents[1] / "refs" / "main").unlink()
    with broke_off:
        hub.find("someone/song")


def test_a_shard_that_did_not_arrive_is_an_interrupted_download(cache):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {"config.json": b"{}", "model.safetensors.index.json": index, "model-1.safetensors": WEIGHTS}
    folder = cache.put("someone/song", files)
    (folder.parents[1] / "blobs" / "b.incomplete").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="an earlier download broke off"):
        hub.find("someone/song")
    (folder / "model-2.safetensors").write_bytes(WEIGHTS)
    assert hub.find("someone/song") == folder


def flip(content: bytes) -> bytes:
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-1], flip, lambda _: b""], ids=["short", "one bit", "empty"]
)
def test_a_damaged_file_of_the_cache_is_told_by_its_checksum(cache, spoil: Callable[[bytes], bytes]):
    folder = cache.put("someone/song", {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS})
    assert hub.find("someone/song") == folder
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(spoil(WEIGHTS))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*delete .*blobs/"):
        hub.find("someone/song")


def test_a_damaged_config_is_told_too(cache):
    folder = cache.put("someone/song", {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS})
    (folder / "config.json").resolve().write_bytes(b'{"a": 2}')
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        hub.find("someone/song")


def test_a_link_to_a_blob_that_was_deleted_is_told(cache):
    folder = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    (folder / "model.safetensors").resolve().unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is gone from the cache"):
        hub.find("someone/song")


def test_files_of_other_layouts_are_not_read(cache):
    """The hub's repositories hold the same weights three times over; only one of them matters."""
    folder = cache.put("someone/song", {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"twice"})
    (folder / "pytorch_model.bin").resolve().write_bytes(b"spoilt")
    assert hub.find("someone/song") == folder


def test_a_repository_without_weights_is_told(cache):
    cache.put("someone/song", {"config.json": b"{}", "pytorch_model.bin": WEIGHTS})
    with pytest.raises(CheckpointError, match="no weights that are read here"):
        hub.find("someone/song")


# What the library raises when it does ask.


def response() -> object:
    """Stands for the answer that the library's errors quote."""
    return type("Response", (), {"headers": {}, "request": None, "status_code": 404})()


def hub_error(kind: type[Exception]) -> Exception:
    return kind("said the hub", response=response())  # type: ignore[call-arg]


FAILURES: dict[str, tuple[Callable[[], Exception], str]] = {
    "no such model": (lambda: hub_error(errors.RepositoryNotFoundError), "no such model on the hub"),
    "no such revision": (lambda: hub_error(errors.RevisionNotFoundError), "no revision 'v9'"),
    "a login is needed": (lambda: hub_error(errors.GatedRepoError), "grants access one by one"),
    "no network": (lambda: errors.LocalEntryNotFoundError("no route"), "hub cannot be reached and the cache"),
    "cut off": (lambda: ConnectionResetError(104, "reset by peer"), r"broke off \(ConnectionResetError: .*go on"),
    "a full disk": (lambda: OSError(28, "No space left on device"), r"broke off \(OSError: .*No space left"),
    "a server's fault": (lambda: hub_error(errors.HfHubHTTPError), "broke off"),
    "fewer bytes than announced": (lambda: OSError("Consistency check failed: file\nshould be"), "failed: file should"),
}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("failure", FAILURES)
def test_every_failure_of_the_hub_has_a_sentence_of_its_own(monkeypatch, failure):
    make, message = FAILURES[failure]

    def fail(*_: object, **__: object) -> str:
        raise make()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=message) as caught:
        hub.find("someone/song@v9")
    assert str(caught.value).startswith("someone/song: ")
    assert "\n" not in str(caught.value)


def test_without_the_library_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"descant\[hub\]"):
        hub.find("someone/song")
