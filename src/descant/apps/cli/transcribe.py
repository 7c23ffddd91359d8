"""``transcribe``: the notes of a recording as a MIDI file."""

import argparse
import time
from typing import TYPE_CHECKING

from descant.apps.cli.codec import MAX_AUDIO_S
from descant.apps.cli.options import add_common_options, add_salvage_option, number
from descant.apps.cli.outputs import midi_target, note, show
from descant.apps.cli.parser import Commands

if TYPE_CHECKING:
    from descant.audio import Clip


def add_commands(commands: Commands) -> None:
    """Adds ``transcribe``."""
    help = "write the notes of a recording as a MIDI file"
    parser = commands.add("transcribe", help, "descant transcribe piano.wav -o piano.mid", run=transcribe)
    parser.add_argument("audio", metavar="AUDIO", help=f"an audio file of up to {MAX_AUDIO_S:g} s")
    parser.add_argument("-o", "--output", required=True, metavar="MIDI", help="the .mid file to write")
    parser.add_argument(
        "--tempo",
        type=number,
        metavar="BPM",
        help="of the bars in the file (default: measured, or else as AUDIO was generated, or else 120)",
    )
    add_salvage_option(parser)
    add_common_options(parser)


def transcribe(arguments: argparse.Namespace) -> None:
    """Writes the notes of an audio file."""
    target = midi_target(arguments.output)
    from descant import transcription
    from descant.audio import Clip

    if arguments.tempo is not None:
        transcription.check_tempo(arguments.tempo)
    clip = Clip.read(arguments.audio, max_duration_s=MAX_AUDIO_S, salvage=arguments.salvage)
    began = time.monotonic()
    notes = transcription.transcribe(clip)
    tempo = _tempo(clip, arguments.audio) if arguments.tempo is None else arguments.tempo
    target.write(transcription.midi_file(notes, clip.duration_s, tempo, target.path.stem), target.path.stem)
    result = {
        "file": str(target.path),
        "num_notes": len(notes),
        "tempo_bpm": tempo,
        "duration_s": clip.duration_s,
        "seconds_taken": time.monotonic() - began,
    }
    show(result, [f"{target.path}"], arguments.json)
    if not arguments.json:
        note(_count_line(len(notes), tempo))


def _count_line(num_notes: int, tempo: float) -> str:
    if num_notes == 0:
        return "no note was found, so the file has none: is there anything with a pitch in it?"
    return f"{num_notes} {'note' if num_notes == 1 else 'notes'}, bars of {tempo:g} bpm"


def _tempo(clip: "Clip", path: str) -> float:
    """The tempo of a clip in beats per minute: measured, or as its file records it, or what is usual in MIDI files."""
    from descant.audio import read_info
    from descant.curation.tempo import tempo_of
    from descant.transcription import DEFAULT_BPM

    measured = tempo_of(clip)
    if measured is not None:
        return round(measured.bpm, 1)
    recorded = read_info(path).get("tempo")
    return float(recorded) if isinstance(recorded, int | float) else DEFAULT_BPM
