"""A model tuned to a folder of music: an adapter beside it (LoRA), or ``finetune:full``, all of its weights.

``descant finetune FOLDER`` runs the same with settings that suit a dozen songs; here every one can be changed. The
music is scanned and tokenised by the run itself, and ``model`` is the starter, a model's folder or a hub id.
"""

from pathlib import Path
from typing import Any

from descant.finetuning.config import FineTuneRun, full_run
from descant.finetuning.run import finetune


def config() -> FineTuneRun:
    """An adapter, of a few megabytes."""
    return FineTuneRun()


def full() -> FineTuneRun:
    """All weights of the language model and its conditioners; writes a whole model."""
    return full_run()


def train(run: FineTuneRun, out_dir: Path, resume: bool) -> dict[str, Any]:
    """Tunes; an interrupted run goes on with ``resume``."""
    del resume  # the folder says how far the run is
    return finetune(run, out_dir, command=f"descant train finetune --set folder={run.folder} --out {out_dir}")
