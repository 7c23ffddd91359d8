"""What a file may have opened or fetched by naming it: a tag, a codes file or a config is written by anyone.

The user's own words are trusted: whatever stands on the command line or in a call is opened, and fetched from the hub.
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
"""The frozen networks that released models, and ours, name instead of holding them."""

TRUST_VARIABLE = "DESCANT_TRUST_NAMES"
_PRINTABLE = re.compile(r"[\w./@~ +-]{1,200}")


def part_named_in(config: str | Path, name: str) -> str:
    """What to read for a text encoder, a codec or a listener that a model's config names and does not hold.

    The rule: one of ``WELL_KNOWN`` is read, and fetched if it must be, unless a folder of that name lies in the current
    one, which whoever reads it would open instead. Any other name is looked up in the hub's cache,
    where only what somebody fetched on purpose is, without asking the network. Nothing else is opened, no folder
    either, unless the environment has ``DESCANT_TRUST_NAMES=1``: then every name counts as if the user had given it.

    Args:
        config: where the name stands, for messages.

    Raises:
        CheckpointError: the name is not to be trusted, or a folder hides the encoder; the message says what to do.
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
    """The folder in the hub's cache of a model that a sound file or a codes file names; None where there is none.

    Only a whole model counts. No folder is opened by its name, and the network is not asked.
    """
    return hub.find_cached(name, *hub.LAYOUTS)


def shown(name: str) -> str:
    """A name from a file, for a message: as it is if it is plain, else short and escaped."""
    return f"{name!r}" if _PRINTABLE.fullmatch(name) else f"{name!r:.80}"
