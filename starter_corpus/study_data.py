"""The data of the studies: a corpus with more held-out pieces than usual, its codes, and crops to judge by."""

import sys
from pathlib import Path

import descant
from descant.checkpoints.native import load_codec
from descant.evaluation.embedders import Embedder
from descant.studies.ablation.data import StudyData, prepare
from starter_corpus.corpus import render_corpus

STARTER_CODEC = Path(descant.__file__).parent / "starter" / "codec"


def make_study_data(
    folder: Path,
    embedder: Embedder,
    *,
    hours: float,
    held_out_hours: float,
    seed: int,
    workers: int,
    codec: Path | None = None,
    duration_s: float = 6.0,
) -> StudyData:
    """Renders to ``folder/corpus`` and prepares ``folder``; what an interrupted call has finished is kept.

    Args:
        held_out_hours: a corpus of this length would have the held-out pieces; its other pieces are not rendered. A
            distance needs more recordings than the twentieth part of the hours that a small study trains on.
        codec: a trained codec's folder; None is the starter's.
        duration_s: of the held-out crops.

    Raises:
        ConfigError: an argument is out of range, or the folder has another corpus.
        MissingExtra: a program, package or soundfont is missing.
        DataError: the folder holds data of another codec.
    """
    corpus = folder / "corpus"
    render_corpus(corpus, hours, seed, workers)
    manifest = render_corpus(corpus, max(hours, held_out_hours), seed, workers, split="valid")
    folder_of_codec = codec or STARTER_CODEC
    num_frames = round(duration_s * load_codec(folder_of_codec)[0].frame_rate_hz)
    return prepare(manifest, folder, folder_of_codec, embedder, num_frames=num_frames, say=_say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
