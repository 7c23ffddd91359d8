"""A model tuned to a folder of music: an adapter beside it (LoRA), or ``finetune:full``, all of its weights.

``descant finetune FOLDER`` runs the same with settings that suit a dozen songs; here every one can be changed. The
music is scanned and tokenised by the run itself, and ``model`` is the starter, a model's folder or a hub id.
"""

import shlex
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
    recipe = "finetune" if run.lora is not None else "finetune:full"
    words = ["descant", "train", recipe, "--set", f"folder={run.folder}", "--set", f"model={run.model}"]
    return finetune(run, out_dir, command=shlex.join([*words, "--out", str(out_dir)]))
