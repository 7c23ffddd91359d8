"""The program that decodes one upload: ``python -m descant.apps.server.decode FILE STORED MAX_SECONDS``.

It prints one JSON object: what it has stored, or an error.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from descant.apps.server.uploads import CPU_S, MEMORY_BYTES

INTACT = "; send a file that is intact"


def main(source: str, stored: str, max_s: str) -> None:
    """Decodes and stores."""
    _limit()
    from descant.audio import Clip
    from descant.errors import SALVAGE_HINT, DescantError

    name = repr(source)
    try:
        clip = Clip.read(source, max_duration_s=float(max_s))
        if len(clip.samples) > 2:
            clip = clip.to_channels(2)
        Path(stored).write_bytes(clip.leveled(None)[0].to_bytes("flac"))
    except DescantError as error:
        # The path is the server's; the user knows the file as their own. What is said of Python they cannot do here.
        words = str(error).replace(name, "the file").replace(SALVAGE_HINT, INTACT)
        answer: dict[str, str | int] = {"error": words}
    else:
        answer = {"num_samples": len(clip), "sample_rate_hz": clip.sample_rate_hz, "channels": len(clip.samples)}
    print(json.dumps(answer))


def _limit() -> None:
    """Limits of the operating system, where it has them."""
    os.nice(5)
    with suppress(ImportError):  # Windows
        import resource

        for kind, most in ((resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, MEMORY_BYTES)):
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
