"""``generate --stream -``: audio to standard output while it is made, fit for a player's pipe."""

import argparse
import struct
import sys
import time
from typing import TYPE_CHECKING

from descant.apps.cli.outputs import note
from descant.apps.cli.standard_streams import binary_stdout, reader_has_gone
from descant.atomic import write_all
from descant.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor

    from descant.api import MusicGen
    from descant.generation.request import Request

FORMATS = ("wav", "raw")
BYTES_PER_SAMPLE = 2
BENT_FROM = 0.8


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    """``--stream`` and ``--stream-format``."""
    parser.add_argument(
        "--stream",
        choices=["-"],
        help="write the music to standard output while it is being made, for a player: --stream - | ffplay -i -",
    )
    parser.add_argument(
        "--stream-format", choices=FORMATS, help="wav, or raw: its 16-bit samples without a header (default: wav)"
    )


def check_stream(arguments: argparse.Namespace, num_files: int) -> None:
    """Refuses what can only be done or known once the music is complete, and a standard output that takes no audio."""
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
        raise InvalidRequest(f"--stream: {num_files} pieces do not fit one stream; ask for one")
    binary_stdout("--stream -")


def stream(model: "MusicGen", request: "Request", format: str) -> None:
    """Writes a piece as it is made. A reader that goes away ends it; one that waits makes it wait."""
    began, first_s = time.monotonic(), 0.0
    music = model.stream(request)
    num_samples = round(music.request.duration_s * model.sample_rate_hz)
    out = binary_stdout("--stream -")
    written = 0
    try:
        if format == "wav":
            write_all(out, wav_header(num_samples, model.sample_rate_hz, model.num_channels))
        for clip in music:
            first_s = first_s or time.monotonic() - began
            write_all(out, pcm(clip.samples))
            out.flush()
            written += clip.samples.shape[1]
    except BrokenPipeError:
        if not reader_has_gone():
            raise
        # Whatever still lies in the buffer has nowhere to go; at exit Python would try again.
        sys.stdout = None  # type: ignore[assignment]
        note(f"the reader has gone after {written / model.sample_rate_hz:.1f} s of audio")
        return
    seconds_taken = time.monotonic() - began
    note(
        f"{written / model.sample_rate_hz:g} s of audio in {seconds_taken:.1f} s, the first after {first_s:.2f} s; "
        f"seed {music.request.seed}"
    )


def pcm(samples: "Tensor") -> bytes:
    """Samples [C, N] as interleaved 16-bit integers, with a soft limit from 0.8 on so that none passes full scale.

    A file is turned down as a whole instead; how loud a stream will get is not known while it is written.
    """
    over = (samples.abs() - BENT_FROM).clamp(min=0)
    bent = samples.clamp(-BENT_FROM, BENT_FROM) + samples.sign() * (1 - BENT_FROM) * (over / (1 - BENT_FROM)).tanh()
    whole = (bent * 32_767).round().short()
    return bytes(whole.T.contiguous().numpy().astype("<i2").tobytes())


def wav_header(num_samples: int, sample_rate_hz: int, num_channels: int) -> bytes:
    """The header of a wav file with this number of samples (RIFF, PCM)."""
    frame = num_channels * BYTES_PER_SAMPLE
    size = num_samples * frame
    facts = struct.pack("<HHIIHH", 1, num_channels, sample_rate_hz, sample_rate_hz * frame, frame, 8 * BYTES_PER_SAMPLE)
    head = struct.pack("<4sI4s4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16)
    return head + facts + struct.pack("<4sI", b"data", size)
