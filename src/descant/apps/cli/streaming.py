"""``generate --stream -``: audio to standard output while it is made, fit for a player's pipe."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from descant.apps.cli.outputs import note
from descant.apps.cli.requests import choices_of, note_unused, texts_of
from descant.apps.cli.standard_streams import binary_stdout, reader_has_gone
from descant.atomic import write_all
from descant.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor

    from descant.api import MusicGen
    from descant.generation.request import Request


def check_stream(arguments: argparse.Namespace, num_files: int) -> None:
    """Refuses options that need the complete music, and a standard output that cannot take audio."""
    refused = {
        "--output": arguments.output,
        "--format": arguments.format,
        "--save-codes": arguments.save_codes,
        "--json": arguments.json or None,
        "--loop": arguments.loop,
        "--loudness": getattr(arguments, "loudness", None),
        "--best-of": arguments.best_of if arguments.best_of > 1 else None,
    }
    for name, value in refused.items():
        if value is not None:
            raise InvalidRequest(f"{name}: not possible together with --stream; leave one of them out")
    if num_files != 1:
        raise InvalidRequest(
            f"--stream: it carries one piece of music, and {num_files} are asked for; give one PROMPT, without --count"
        )
    binary_stdout("--stream -")


def stream(model: "MusicGen", request: "Request", format: str) -> None:
    """Writes music as it is made. A reader that goes away ends it; one that pauses makes it wait."""
    from descant.provenance import info_of

    began, first_s = time.monotonic(), 0.0
    music = model.stream(request)
    info = info_of(music.request)
    choices = choices_of(request, info["tempo"], info["key"], info["chords"])
    if model.model.tempo_key is not None:
        note_unused(texts_of(request))
    if choices:
        note(choices)
    num_samples = round(music.request.duration_s * model.sample_rate_hz)
    out = binary_stdout("--stream -")
    written = 0
    try:
        if format == "wav":
            from descant.audio.pcm import wav_header

            write_all(out, wav_header(num_samples, model.sample_rate_hz, model.num_channels))
        for clip in music:
            first_s = first_s or time.monotonic() - began
            write_all(out, pcm(clip.samples))
            out.flush()
            written += clip.samples.shape[1]
    except BrokenPipeError:
        if not reader_has_gone():
            raise
        # What is left in the buffer cannot be delivered; at exit Python would try again.
        sys.stdout = None  # type: ignore[assignment]
        note(f"the reader has gone after {written / model.sample_rate_hz:.1f} s of audio")
        return
    seconds_taken = time.monotonic() - began
    note(
        f"{written / model.sample_rate_hz:g} s of audio in {seconds_taken:.1f} s, the first after {first_s:.2f} s; "
        f"seed {music.request.seed}"
    )


def pcm(samples: "Tensor") -> bytes:
    """Samples [C, N] as interleaved 16-bit integers, with a soft limiter above 0.8 so that none exceeds full scale.

    A file is attenuated as a whole instead; the peak of a stream is not known while it is written.
    """
    from descant.audio.pcm import pcm16, soft_limited

    return pcm16(soft_limited(samples))
