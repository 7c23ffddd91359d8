"""Basic Pitch, a small network that finds the notes of any instruments (Bittner et al., arXiv 2203.09893).

Its weights (Apache-2.0) are read from the package ``basic-pitch`` as an ONNX file. The package's own dependencies can
no longer be installed (TensorFlow below 2.15), and none of its code is run: windows, decoding and MIDI are here.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from descant.audio import Clip
from descant.errors import CheckpointError, MissingExtra
from descant.transcription.notes import FRAME_SAMPLES, NUM_PITCHES, SAMPLE_RATE_HZ, Note, decode_notes

INSTALL = 'pip install "descant[midi]" && pip install --no-deps basic-pitch==0.4.0'
WEIGHTS = "nmp.onnx"
INPUT, NOTES, ONSETS = "serving_default_input_2:0", "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"
"""Names in the graph: samples, and per frame and pitch the probabilities that it sounds and that it begins."""

WINDOW_SAMPLES = 43_844
"""Two seconds but one frame: the length that the network was trained on."""
CONTEXT_FRAMES = 16
"""At each end of a window; the network has seen too little there."""
KEPT_FRAMES = WINDOW_SAMPLES // FRAME_SAMPLES - 2 * CONTEXT_FRAMES
BATCH = 8
AUDIBLE_DB = 50.0
"""Below the loudest note; in the noise after a last note the network finds notes."""

Activations = tuple[Float[np.ndarray, "T P"], Float[np.ndarray, "T P"]]


def is_installed() -> bool:
    """Whether notes can be transcribed here: the packages and the weights are there."""
    packages = ("onnxruntime", "mido")
    return all(find_spec(name) is not None for name in packages) and has_weights()


def has_weights() -> bool:
    """Whether the package with the weights is installed."""
    return _weights_file() is not None


def transcribe(clip: Clip) -> list[Note]:
    """The notes of a clip from 27.5 Hz to 4.2 kHz, by onset, without instruments; drums give few and wrong ones.

    The level of the clip hardly matters. Times are multiples of a frame of 11.6 ms; a note is at least 0.13 s long.

    Raises:
        MissingExtra: the extra ``midi`` or the weights are not installed.
    """
    session = _session()
    samples = clip.to_channels(1).resample(SAMPLE_RATE_HZ).samples[0].cpu().numpy()
    return _audible(decode_notes(*_activations(session, samples)), samples)


def _audible(notes: list[Note], samples: Float[np.ndarray, " N"]) -> list[Note]:
    """Without notes in sound that is far below the loudest one: to the network all levels are alike."""
    ends = [(round(note.onset_s * SAMPLE_RATE_HZ), round(note.end_s * SAMPLE_RATE_HZ)) for note in notes]
    levels = [float(np.mean(np.square(samples[start:end]))) for start, end in ends]
    least = max(levels, default=0.0) * 10 ** (-AUDIBLE_DB / 10)
    return [note for note, level in zip(notes, levels, strict=True) if level >= least]


def _activations(session: Any, samples: Float[np.ndarray, " N"]) -> Activations:
    """The probabilities that a pitch sounds and that it begins, for every frame of the samples."""
    num_frames = -(-len(samples) // FRAME_SAMPLES)
    num_windows = -(-num_frames // KEPT_FRAMES)
    # Windows advance by a whole number of frames, so frames of different windows lie on one grid.
    hop, margin = KEPT_FRAMES * FRAME_SAMPLES, CONTEXT_FRAMES * FRAME_SAMPLES
    padded = np.zeros(margin + (num_windows - 1) * hop + WINDOW_SAMPLES, np.float32)
    padded[margin : margin + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::hop]
    parts: list[list[np.ndarray]] = []
    for first in range(0, num_windows, BATCH):
        batch = np.ascontiguousarray(windows[first : first + BATCH])[..., None]
        parts.append(session.run([NOTES, ONSETS], {INPUT: batch}))
    kept = slice(CONTEXT_FRAMES, CONTEXT_FRAMES + KEPT_FRAMES)
    notes, onsets = (
        np.concatenate([part[output][:, kept] for part in parts]).reshape(-1, NUM_PITCHES)[:num_frames]
        for output in range(2)
    )
    return notes, onsets


@cache
def _session() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(f"finding notes needs onnxruntime and the weights of Basic Pitch: {INSTALL}") from error
    file = _weights_file()
    if file is None:
        raise MissingExtra(f"the weights that find notes come in the package basic-pitch: {INSTALL}")
    options = onnxruntime.SessionOptions()
    # One thread: it takes 1 s for a minute of music, and other work goes on meanwhile.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise CheckpointError(f"{file}: not the weights of Basic Pitch ({str(error)[:200]})") from error


@cache
def _weights_file() -> Path | None:
    # Importing the package would import what it depends on: its files are looked up in the metadata instead.
    try:
        files = distribution("basic-pitch").files or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name == WEIGHTS]
    return found[0] if found and found[0].is_file() else None
