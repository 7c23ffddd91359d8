"""The split of a source, determined by its name alone, so that it never changes and no source is in both."""

import hashlib

VALID_PERCENT = 5


def split_of(source: str) -> str:
    """``valid`` for about 5 % of the sources, else ``train``."""
    digest = hashlib.sha256(f"descant starter split 15:{source}".encode()).digest()
    return "valid" if int.from_bytes(digest[:8], "big") % 100 < VALID_PERCENT else "train"
