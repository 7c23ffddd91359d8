"""Where a model's files are: in a folder, or on the model hub and then in its cache.

The only file of the package that imports huggingface_hub. Its own settings apply: ``HF_HOME`` and ``HF_HUB_CACHE`` set
the location of the cache, ``HF_HUB_OFFLINE=1`` disables the network.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from descant.checkpoints.config_files import read_json
from descant.errors import CheckpointError, MissingExtra
from descant.user_files import add_content

DESCRIPTION = ("*.json", "*.txt", "*.model")
SAFETENSORS = (*DESCRIPTION, "*.safetensors")
AUDIOCRAFT = (*DESCRIPTION, "state_dict.bin", "compression_state_dict.bin")
LAYOUTS = (SAFETENSORS, AUDIOCRAFT)
"""The files to fetch: the first of these sets that a model has. Released models are on the hub in several layouts, each
with all weights."""
ANY_WEIGHTS = (*DESCRIPTION, "*.safetensors", "*.bin")
"""The files of a frozen network, which transformers reads."""
SETTINGS = ("config.json", "generation_config.json", "preprocessor_config.json", "codec/config.json")

_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]{0,95}/[\w][\w.-]{0,95})(@(?P<revision>[\w][\w./-]{0,199}))?", re.ASCII)


def find(model: str | Path) -> Path:
    """The folder with a model's files: ``model`` itself, or the hub's snapshot of that id, fetched if necessary.

    Every file from the hub is compared with its checksum, each time: a damaged weight would cause no error, it would
    only sound wrong.

    Args:
        model: a folder, or an id such as ``facebook/musicgen-small``, or with a branch, a tag or a commit
            ``facebook/musicgen-small@main``.

    Raises:
        CheckpointError: there is no such model, the hub cannot be reached and the cache does not have it, a download
            broke off, or a file is damaged; the message says which.
        MissingExtra: the name is a hub id, and huggingface_hub is not installed.
    """
    if _is_folder(model):
        return Path(model)
    hub_id, revision = _parts(model)
    folder, patterns = _fetch_either(hub_id, revision)
    _check_files(folder, patterns, hub_id)
    return folder


def find_cached(name: str, *layouts: tuple[str, ...], checked: tuple[str, ...] | None = None) -> Path | None:
    """The folder in the cache of an id that was fetched before; uses neither the network nor other folders.

    Args:
        layouts: sets of file patterns, of which the first with weights is taken.
        checked: patterns of the files to compare with their checksums; None for all of that set.

    Raises:
        CheckpointError: a file in the cache is damaged.
    """
    if not is_id(name):
        return None
    hub_id, revision = _parts(name)
    for patterns in layouts:
        try:
            folder = _fetch(hub_id, revision, patterns, from_cache=True)
        except (CheckpointError, MissingExtra):
            continue
        if _has_weights(folder, patterns) and not _lacks_shards(folder):
            _check_files(folder, patterns if checked is None else checked, hub_id)
            return folder
    return None


@contextmanager
def settings_of(name: str) -> Iterator[Path]:
    """Gives a folder with a model's configs: from the hub only those are fetched, unless the weights contain them.

    Raises:
        CheckpointError, MissingExtra: as ``find``.
    """
    if _is_folder(name) or not is_id(name):
        yield find(name)
        return
    cached = find_cached(name, *LAYOUTS, checked=DESCRIPTION)
    if cached is not None:
        yield cached if (cached / "config.json").is_file() else find_cached(name, *LAYOUTS) or cached
        return
    hub_id, revision = _parts(name)
    with tempfile.TemporaryDirectory(prefix="descant-") as place:
        # Not into the cache: half a model there would look like a broken download.
        folder = _fetch(hub_id, revision, SETTINGS, place=Path(place))
        yield folder if (folder / "config.json").is_file() else find(name)


def is_id(name: str) -> bool:
    """Whether a name could be the id of a model on the hub."""
    parts = _HUB_ID.fullmatch(name)
    if parts is None or ".." in name:
        return False
    # All of these are paths in the cache, where "--" stands for the slash. The hub has no such ids, git no such refs.
    has_id = not any("--" in part or part.endswith((".", "-", ".git")) for part in parts["id"].split("/"))
    refs = (parts["revision"] or "main").split("/")
    return has_id and all(ref and not ref.startswith(".") and not ref.endswith((".", ".lock")) for ref in refs)


def _parts(model: str | Path) -> tuple[str, str | None]:
    """A hub id and its revision, if it has one."""
    parts = _HUB_ID.fullmatch(str(model)) if is_id(str(model)) else None
    if parts is None:
        raise CheckpointError(f"{str(model)!r:.200}: no such folder, and no hub id such as facebook/musicgen-small")
    return parts["id"], parts["revision"]


def _is_folder(model: str | Path) -> bool:
    try:
        return str(model) != "" and Path(model).is_dir()
    except (OSError, ValueError):  # a name that is invalid for a folder
        return False


def _fetch_either(hub_id: str, revision: str | None) -> tuple[Path, tuple[str, ...]]:
    """The folder of a model, with the first layout that has weights, and that layout's file patterns."""
    first_error: CheckpointError | None = None
    for patterns in (SAFETENSORS, AUDIOCRAFT):
        try:
            folder = _fetch(hub_id, revision, patterns)
        except _NotInCache as error:
            # The cache may hold the other layout completely.
            first_error = first_error or error
            continue
        if _has_weights(folder, patterns):
            if _lacks_shards(folder):
                raise CheckpointError(_why_not_cached(hub_id))
            return folder, patterns
    if first_error is None and _broke_off(hub_id):
        raise CheckpointError(_why_not_cached(hub_id))
    raise first_error or CheckpointError(
        f"{hub_id}: has no weights that are read here; they are in safetensors, or in audiocraft's state_dict.bin"
    )


def _has_weights(folder: Path, patterns: tuple[str, ...]) -> bool:
    weights = set(patterns) - set(DESCRIPTION)
    return any(fnmatch(file.name, pattern) for file in folder.rglob("*") for pattern in weights)


def _check_files(folder: Path, patterns: tuple[str, ...], hub_id: str) -> None:
    for file in sorted(folder.rglob("*")):
        if any(fnmatch(file.name, pattern) for pattern in patterns):
            _check_content(file, hub_id)


class _NotInCache(CheckpointError):
    """The hub was not used or did not answer, and the cache lacks files."""


def _fetch(
    hub_id: str,
    revision: str | None,
    patterns: tuple[str, ...],
    *,
    from_cache: bool = False,
    place: Path | None = None,
) -> Path:
    """The folder of a snapshot: in the cache, or in ``place``.

    Args:
        from_cache: do not use the network.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingExtra(
            f'{hub_id}: no such folder here, and the model hub needs: pip install "descant[hub]"'
        ) from error
    try:
        return Path(
            huggingface_hub.snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(patterns),
                local_files_only=from_cache,
                local_dir=place,
            )
        )
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{hub_id}: its owner grants access one by one; ask there, then: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{hub_id}: no such folder here and no such model on the hub, or a private one; check the spelling"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{hub_id}: the hub has this model, but no revision {revision!r}") from error
    except errors.LocalEntryNotFoundError as error:
        raise _NotInCache(_why_not_cached(hub_id)) from error
    # Other errors are of the network or the disk, in the classes of the library's current HTTP client.
    except Exception as error:
        raise CheckpointError(
            f"{hub_id}: the download broke off ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            + ("what has arrived is kept, run the same again to go on" if place is None else "run the same again")
        ) from error


def _broke_off(hub_id: str) -> bool:
    """Whether the cache holds an incomplete file of this model."""
    from huggingface_hub import constants

    stored = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    return any(stored.glob("blobs/*.incomplete"))


def _lacks_shards(folder: Path) -> bool:
    """Whether an index names missing files."""
    for index in folder.glob("*.safetensors.index.json"):
        named = read_json(index).get("weight_map")
        if isinstance(named, dict) and not all((index.parent / str(name)).exists() for name in set(named.values())):
            return True
    return False


def _why_not_cached(hub_id: str) -> str:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
        remedy = "unset it once to fetch them"
    else:
        reason = "the model hub cannot be reached"
        remedy = "try again with a network"
    if _broke_off(hub_id):
        return f"{hub_id}: an earlier download broke off, and {reason}; {remedy}, it resumes where it stopped"
    return f"{hub_id}: no such folder here, {reason} and the cache {str(cache)!r} lacks files of it; {remedy}"


def _check_content(file: Path, hub_id: str) -> None:
    """Compares a cached file with the checksum that is its name in the cache.

    Raises:
        CheckpointError: they differ, or the file is missing.
    """
    blob = file.resolve()
    if not blob.is_file():
        raise CheckpointError(f"{hub_id}: {file.name} is gone from the cache; delete {str(file)!r} and fetch it again")
    # Large files are named by their SHA-256, small ones by git's object id; a cache without links has neither.
    algorithm = {64: "sha256", 40: "git"}.get(len(blob.name)) if re.fullmatch("[0-9a-f]+", blob.name) else None
    if algorithm is None:
        return
    status = blob.stat()
    if _digest(blob, algorithm, status.st_size, status.st_mtime_ns) != blob.name:
        raise CheckpointError(
            f"{hub_id}: {file.name} is damaged, its checksum is not the hub's; delete {str(blob)!r} and fetch it again"
        )


@lru_cache(maxsize=256)
def _digest(blob: Path, algorithm: str, size: int, modified_ns: int) -> str:
    """A file's checksum; cached while size and time stay the same, since a command needs it several times."""
    del modified_ns
    if algorithm == "git":
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    else:
        digest = hashlib.sha256()
    add_content(digest, blob)
    return digest.hexdigest()
