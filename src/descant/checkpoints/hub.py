"""Where a model's files are: in a folder, or on the model hub and from then on in its cache.

The only file of the package that imports huggingface_hub. Its own settings hold here too: ``HF_HOME`` and
``HF_HUB_CACHE`` say where the cache is, ``HF_HUB_OFFLINE=1`` keeps it from asking the network.
"""

import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path

from descant.errors import CheckpointError, MissingExtra

DESCRIPTION = ("*.json", "*.txt", "*.model")
SAFETENSORS = (*DESCRIPTION, "*.safetensors")
AUDIOCRAFT = (*DESCRIPTION, "state_dict.bin", "compression_state_dict.bin")
"""What is fetched, the first set that a model has. The released models lie there in several layouts, each with all the
weights."""

_HUB_ID = re.compile(r"(?P<id>[\w][\w.-]{0,95}/[\w][\w.-]{0,95})(@(?P<revision>[\w][\w./-]{0,199}))?", re.ASCII)
_BLOCK_BYTES = 2**20


def find(model: str | Path) -> Path:
    """The folder with a model's files: ``model`` itself, or what the hub has under that id, fetched if it must be.

    Every file that comes from the hub is compared with its checksum, each time: a damaged weight would not stop
    anything, it would only sound wrong.

    Args:
        model: a folder, or an id such as ``facebook/musicgen-small`` or, with a branch, a tag or a commit behind it,
            ``facebook/musicgen-small@main``.

    Raises:
        CheckpointError: there is no such model, the hub cannot be reached and the cache does not have it, a download
            broke off, or a file is damaged; the message says which.
        MissingExtra: the name is a hub id, and huggingface_hub is not installed.
    """
    if _is_folder(model):
        return Path(model)
    parts = _HUB_ID.fullmatch(str(model))
    if parts is None:
        raise CheckpointError(f"{str(model)!r:.200}: no such folder, and no hub id such as facebook/musicgen-small")
    folder, patterns = _fetch_either(parts["id"], parts["revision"])
    for file in sorted(folder.rglob("*")):
        if any(fnmatch(file.name, pattern) for pattern in patterns):
            _check_content(file, parts["id"])
    return folder


def is_id(name: str) -> bool:
    """Whether a name could be a model's on the hub."""
    return _HUB_ID.fullmatch(name) is not None


def _is_folder(model: str | Path) -> bool:
    try:
        return str(model) != "" and Path(model).is_dir()
    except (OSError, ValueError):  # a name that no folder can have
        return False


def _fetch_either(hub_id: str, revision: str | None) -> tuple[Path, tuple[str, ...]]:
    """The model in the first layout that it has weights in, and which of its files belong to that."""
    first_error: CheckpointError | None = None
    for patterns in (SAFETENSORS, AUDIOCRAFT):
        try:
            folder = _fetch(hub_id, revision, patterns)
        except _NotInCache as error:
            # The cache may hold the other layout whole.
            first_error = first_error or error
            continue
        weights = set(patterns) - set(DESCRIPTION)
        if any(fnmatch(file.name, pattern) for file in folder.rglob("*") for pattern in weights):
            return folder, patterns
    raise first_error or CheckpointError(
        f"{hub_id}: has no weights that are read here; they are in safetensors, or in audiocraft's state_dict.bin"
    )


class _NotInCache(CheckpointError):
    """The hub was not asked or did not answer, and the cache lacks files."""


def _fetch(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise MissingExtra(
            f'{hub_id}: no such folder here, and to ask the model hub: pip install "descant[hub]"'
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
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
        raise _NotInCache(_why_not_cached(hub_id, Path(constants.HF_HUB_CACHE), bool(constants.HF_HUB_OFFLINE))) from (
            error
        )
    # What else comes is the network's or the disk's, in the classes of whichever HTTP client that library uses today.
    except Exception as error:
        raise CheckpointError(
            f"{hub_id}: the download broke off ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "what has arrived is kept, run the same again to go on"
        ) from error


def _why_not_cached(hub_id: str, cache: Path, is_offline: bool) -> str:
    stored = cache / f"models--{hub_id.replace('/', '--')}"
    if is_offline:
        reason = "HF_HUB_OFFLINE is set"
        remedy = "unset it once to fetch them"
    else:
        reason = "the model hub cannot be reached"
        remedy = "try again with a network"
    if any(stored.glob("blobs/*.incomplete")):
        return f"{hub_id}: an earlier download broke off, and {reason}; {remedy}, it goes on where it stopped"
    return f"{hub_id}: no such folder here, {reason} and the cache {str(cache)!r} lacks files of it; {remedy}"


def _check_content(file: Path, hub_id: str) -> None:
    """Compares a cached file with the checksum that the cache names it by.

    Raises:
        CheckpointError: they differ, or there is only the name.
    """
    blob = file.resolve()
    if not blob.is_file():
        raise CheckpointError(f"{hub_id}: {file.name} is gone from the cache; delete {str(file)!r} and fetch it again")
    # Large files are known by their SHA-256, small ones by git's object id; a cache without links has neither.
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        return
    with blob.open("rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != blob.name:
        raise CheckpointError(
            f"{hub_id}: {file.name} is damaged, its checksum is not the hub's; delete {str(blob)!r} and fetch it again"
        )
