"""Where a model's files are: a folder, the hub's cache, or nowhere, with a reason."""

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


def test_a_folder_is_found_as_it_is_and_the_hub_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    (tmp_path / "someone" / "song").mkdir(parents=True)
    assert hub.find("someone/song") == Path("someone/song")
    assert hub.find(tmp_path) == tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("", "piano", "a/b/c", "../../etc/passwd", "/a/b", "a/b@", "n" * 300, "a\0/b", "a/b\n", "\na/b", "a/b "),
        *("a/..", "../b", "a..b/c", "a/b..", "a/b.", "a/b-", "a./b", "a/b.git", "a--b/c", "a/b--c", "./b", "a/.b"),
        *("C:/model", "C:\\model", "a\\b", "\\\\host\\share", "//host/share", "~/model", "file:///a", "hf://a/b"),
        *("a/b@..", "a/b@../../x", "a/b@x/../../y", "a/b@x/..", "a/b@x//y", "a/b@/x", "a/b@x/", "a/b@x/.y", "a/b@x."),
        *("a/b@x.lock", "a/b@x.lock/y", "a/b@x\n", "a/b@x@y", "a/b@x y", "a/b@x\\y", "a/b@x:y", "a/b@refs/../x"),
        *("a/b\u00e9", "\u0430/b", "a\uff0fb", "a/b@\uff58", "a\u2215b", "a/b\u202e", "a/\u2025"),
    ],
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
def test_a_model_that_is_not_cached_is_reported_offline():
    with pytest.raises(
        CheckpointError, match=r"someone/song: no such folder here, HF_HUB_OFFLINE is set and the cache"
    ):
        hub.find("someone/song")


def test_an_interrupted_download_is_distinguished_from_a_missing_model(cache):
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
def test_a_damaged_file_of_the_cache_is_found_by_its_checksum(cache, spoil: Callable[[bytes], bytes]):
    folder = cache.put("someone/song", {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS})
    assert hub.find("someone/song") == folder
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(spoil(WEIGHTS))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*delete .*blobs/"):
        hub.find("someone/song")


def test_a_damaged_config_is_reported_too(cache):
    folder = cache.put("someone/song", {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS})
    (folder / "config.json").resolve().write_bytes(b'{"a": 2}')
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        hub.find("someone/song")


def test_a_link_to_a_blob_that_was_deleted_is_reported(cache):
    folder = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    (folder / "model.safetensors").resolve().unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is gone from the cache"):
        hub.find("someone/song")


def test_files_of_other_layouts_are_not_read(cache):
    """The hub's repositories hold the same weights three times over; only one of them matters."""
    folder = cache.put("someone/song", {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"twice"})
    (folder / "pytorch_model.bin").resolve().write_bytes(b"damaged")
    assert hub.find("someone/song") == folder


def test_a_repository_without_weights_is_reported(cache):
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


def test_without_the_library_the_line_that_installs_it_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"descant\[hub\]"):
        hub.find("someone/song")


# What is looked up without asking.


def never_asked(monkeypatch) -> None:
    """Fails if the library is let near the network."""
    real = huggingface_hub.snapshot_download

    def only_cached(*words: object, **settings: object) -> str:
        assert settings.get("local_files_only") is True, "the hub was asked"
        return real(*words, **settings)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", only_cached)


def test_the_cache_is_looked_into_without_asking_the_hub(cache, monkeypatch):
    never_asked(monkeypatch)
    folder = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    cache.put("someone/half", {"config.json": b"{}"})
    audiocraft = cache.put("someone/other", {"state_dict.bin": WEIGHTS})
    assert hub.find_cached("someone/song", *hub.LAYOUTS) == folder
    assert hub.find_cached("someone/other", *hub.LAYOUTS) == audiocraft
    for name in ("someone/half", "someone/unknown", "someone/song@v2", "starter", str(folder), "..", "a/b@../x"):
        assert hub.find_cached(name, *hub.LAYOUTS) is None


def test_no_folder_is_taken_for_the_cache(cache, monkeypatch, tmp_path):
    """A folder below the current one may have the very name that a file holds."""
    never_asked(monkeypatch)
    mine = tmp_path / "someone" / "song"
    mine.mkdir(parents=True)
    (mine / "model.safetensors").write_bytes(WEIGHTS)
    assert hub.find_cached("someone/song", *hub.LAYOUTS) is None
    folder = cache.put("someone/song", {"model.safetensors": WEIGHTS})
    assert hub.find_cached("someone/song", *hub.LAYOUTS) == folder


def test_a_damaged_file_of_the_cache_is_not_taken_without_asking_either(cache):
    folder = cache.put("someone/song", {"model.safetensors": WEIGHTS})
    (folder / "model.safetensors").resolve().write_bytes(flip(WEIGHTS))
    with pytest.raises(CheckpointError, match="is damaged"):
        hub.find_cached("someone/song", *hub.LAYOUTS)


def test_of_a_model_that_is_only_shown_nothing_but_its_configs_is_fetched(cache, monkeypatch):
    real = huggingface_hub.snapshot_download
    fetched: list[list[str]] = []

    def download(hub_id: str, **settings: object) -> str:
        if settings["local_files_only"]:
            return real(hub_id, **settings)
        fetched.append(settings["allow_patterns"])
        (Path(settings["local_dir"]) / "config.json").write_text('{"model_type": "musicgen"}')
        return str(settings["local_dir"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with hub.settings_of("someone/song") as folder:
        assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert not folder.exists()
    assert len(fetched) == 1
    assert not any("safetensors" in pattern or "bin" in pattern or "*" in pattern for pattern in fetched[0])
    assert not list(cache.root.glob("*"))
    whole = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    with hub.settings_of("someone/song") as folder:
        assert folder == whole
    assert len(fetched) == 1


@pytest.mark.usefixtures("cache")
def test_nothing_is_promised_of_configs_that_are_fetched_only_to_be_shown(monkeypatch):
    def fail(*_: object, **settings: object) -> str:
        if settings["local_files_only"]:
            raise errors.LocalEntryNotFoundError("not here")
        raise ConnectionResetError(104, "reset by peer")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"broke off .*; run the same again$"), hub.settings_of("someone/song"):
        pass
    with pytest.raises(CheckpointError, match=r"broke off .*; what has arrived is kept, run the same again to go on$"):
        hub.find("someone/song")


def test_of_a_cached_model_that_is_only_shown_the_configs_are_checked_and_the_weights_are_not(cache, monkeypatch):
    never_asked(monkeypatch)
    folder = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    (folder / "model.safetensors").resolve().write_bytes(flip(WEIGHTS))
    with hub.settings_of("someone/song") as found:
        assert found == folder
    (folder / "config.json").resolve().write_bytes(b"[]")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"), hub.settings_of("someone/song"):
        pass
    other = cache.put("someone/other", {"state_dict.bin": WEIGHTS})
    (other / "state_dict.bin").resolve().write_bytes(flip(WEIGHTS))
    with pytest.raises(CheckpointError, match=r"state_dict\.bin is damaged"), hub.settings_of("someone/other"):
        pass


def test_configs_that_are_in_the_weights_are_fetched_with_them(cache, monkeypatch):
    real = huggingface_hub.snapshot_download

    def download(hub_id: str, **settings: object) -> str:
        if settings["local_files_only"]:
            return real(hub_id, **settings)
        if settings["local_dir"] is not None:
            return str(settings["local_dir"])
        return str(next(cache.root.glob("*/snapshots/*"), None) or cache.put(hub_id, {"state_dict.bin": WEIGHTS}))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with hub.settings_of("someone/song") as folder:
        assert (folder / "state_dict.bin").read_bytes() == WEIGHTS
