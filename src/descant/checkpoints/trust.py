"""Which models may be opened or fetched because a file (a tag, a codes file, a config) names them: files are untrusted.

Names that the user gives, on the command line or in a call, are trusted: they are opened, and fetched from the hub.
"""

import os
import re
from pathlib import Path

from descant.checkpoints import hub
from descant.errors import CheckpointError

_SIZES = ("small", "base", "large", "3b", "11b")
_LATER_SIZES = ("small", "base", "large", "xl", "xxl")
WELL_KNOWN = frozenset(
    [
        *(f"t5-{size}" for size in _SIZES),
        *(f"google-t5/t5-{size}" for size in _SIZES),
        *(f"google/flan-t5-{size}" for size in _LATER_SIZES),
        *(f"google/t5-v1_1-{size}" for size in _LATER_SIZES),
        *("facebook/encodec_24khz", "facebook/encodec_32khz", "m-a-p/MERT-v1-95M", "m-a-p/MERT-v1-330M"),
        *("laion/clap-htsat-unfused", "laion/larger_clap_music", "laion/larger_clap_music_and_speech"),
    ]
)
"""The frozen networks that released models and ours refer to by name."""

TRUST_VARIABLE = "DESCANT_TRUST_NAMES"
_PRINTABLE = re.compile(r"[\w./@~ +-]{1,200}")


def part_named_in(config: str | Path, name: str) -> str:
    """What to read for a text encoder, a codec or a style network that a model's config only names.

    A name in ``WELL_KNOWN`` is read, and fetched if necessary, unless the current directory has a folder of that name,
    which would be opened instead. Any other name is looked up in the hub's cache, which holds only what was fetched on
    purpose, without using the network. Nothing else is opened, not even a folder, unless the environment has
    ``DESCANT_TRUST_NAMES=1``: then every name is treated as if the user had given it.

    Args:
        config: the file with the name, for messages.

    Raises:
        CheckpointError: the name is not trusted, or a folder hides the encoder; the message says what to do.
    """
    if os.environ.get(TRUST_VARIABLE) == "1" or (name in WELL_KNOWN and not Path(name).exists()):
        return name
    if name in WELL_KNOWN:
        raise CheckpointError(
            f"{config}: a folder {name!r} in the current directory hides the encoder of that name; "
            f"run elsewhere or rename it"
        )
    cached = hub.find_cached(name, hub.ANY_WEIGHTS)
    if cached is not None:
        return str(cached)
    if hub.is_id(name):
        remedy = f"fetch it first if you trust it: hf download {name.replace('@', ' --revision ')}"
    else:
        remedy = f"if you trust it, set {TRUST_VARIABLE}=1"
    raise CheckpointError(f"{config}: names {shown(name)}, which is not opened on a file's word; {remedy}")


def model_named_in_file(name: str) -> Path | None:
    """The folder in the hub's cache of a model that an audio file or a codes file names; None if there is none.

    Only complete models count. No folder is opened by its name, and the network is not used.
    """
    return hub.find_cached(name, *hub.LAYOUTS)


def shown(name: str) -> str:
    """A name from a file, for a message: unchanged if it is plain, else shortened and escaped."""
    return f"{name!r}" if _PRINTABLE.fullmatch(name) else f"{name!r:.80}"
