"""A whole fine-tuning run in one folder. The same call continues it after an interruption.

::

    adapter/ or model/   the result: the best so far while the run is going on, with its card in the end
    listen.html          clips before, during and after, and loss curves
    samples/             those clips
    manifest.jsonl, tokens/, run/, state.json, result.json
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from descant.api import MusicGen, load
from descant.atomic import write_atomically
from descant.checkpoints.adapters import AdapterInfo
from descant.config import to_dict
from descant.counted import counted
from descant.errors import Cancelled, ConfigError, naming
from descant.finetuning.card import Outcome, model_card
from descant.finetuning.config import FineTuneRun
from descant.finetuning.listening import Listening, Stage
from descant.finetuning.music import Music, prepare_music
from descant.finetuning.page import page
from descant.finetuning.state import RunState, read_state
from descant.finetuning.tasks import Training, make_training, planned
from descant.folder_lock import locked
from descant.generation.request import Request
from descant.generation.texts import TextReader
from descant.training.checkpoint import check_same_run
from descant.training.logs import read_log, say
from descant.training.machine import resolved_precision, training_device
from descant.training.run_folder import LOG_NAME, visible_names
from descant.training.trainer import Trainer
from descant.training.trainer_config import RESUMABLE

RUN, RESULT, PAGE = "run", "result.json", "listen.html"


def finetune(run: FineTuneRun, out_dir: Path, command: str) -> dict[str, Any]:
    """Tunes a model to a folder of music, or continues where an earlier call was interrupted.

    Args:
        out_dir: the folder of the run, new or with the same run.
        command: the command line for the model card.

    Returns:
        ``adapter`` or ``model``, ``page``, ``base``, ``trigger``, the losses on held-out music and their steps, and the
        files that were left out. It can be written as JSON.

    Raises:
        ConfigError: the folder holds a run with another config, or something else, or it is inside the music's.
        DataError: the music is missing, or too little of it can be used.
        CheckpointError: there is no such model.
        InvalidRequest: the model cannot read the trigger word, or another process works in the folder.
        Cancelled: a signal stopped the training; the same call continues.
    """
    with locked(out_dir):
        state = _state_of(run, out_dir)
        if (out_dir / RESULT).exists():
            say(f"{out_dir} is finished: choose another folder to train again")
            finished: dict[str, Any] = json.loads((out_dir / RESULT).read_text(encoding="utf-8"))
            return finished
        say(f"tuning {run.model} to the music in {run.folder}; the results go to {out_dir}")
        base = load(run.model, device=training_device(run.trainer.device), precision="fp32")
        with naming("trigger"):
            TextReader(base.model).read(Request(text=run.trigger_word))
        try:
            return _Finetuning(run, out_dir, state, base).result(command)
        except (Cancelled, KeyboardInterrupt) as error:
            error.args = ("what is done so far is kept, and the same command continues",)
            raise


def _state_of(run: FineTuneRun, out_dir: Path) -> RunState:
    """The state of the run in a folder, which marks it as one; its config is free until the training has begun."""
    config = to_dict(run)
    # As an absolute path, so that the same command from another folder is another run.
    config["folder"] = str(run.folder.absolute())
    state = read_state(out_dir)
    if state is not None and state.planned:
        check_same_run(state.config, config, {*RESUMABLE, "minutes", "patience"})
        return state
    if state is None and (names := visible_names(out_dir)):
        raise ConfigError(
            f"{out_dir} holds {', '.join(names[:3])}{' and more' if len(names) > 3 else ''} and no fine-tuning run; "
            f"nothing is overwritten: choose a new or empty folder"
        )
    if out_dir.resolve().is_relative_to(run.folder.resolve()):
        raise ConfigError(
            f"{out_dir} is in {run.folder}, and the clips of the run would become its music: choose a folder outside"
        )
    state = RunState(config=config)
    state.write(out_dir)
    return state


class _Finetuning:
    """One call of ``finetune``."""

    def __init__(self, run: FineTuneRun, out_dir: Path, state: RunState, base: MusicGen) -> None:
        self.run, self.out_dir, self.state, self.base = run, out_dir, state, base
        self.target = out_dir / ("model" if run.lora is None else "adapter")
        self.listening = Listening(run.listening, run.trigger_word, out_dir)

    def result(self, command: str) -> dict[str, Any]:
        run, base = self.run, self.base
        music = prepare_music(
            run.folder,
            self.out_dir,
            base.model.codec,
            run.valid_share,
            say,
            varispeed=run.varispeed,
            caption_fields=run.batches.captions.fields,
        )
        count = counted(len(music.records), "clip")
        say(f"{count}, {music.minutes():.1f} min; the trigger word is {run.trigger_word!r}")
        precision = resolved_precision(run.trainer.precision, base.model.device)
        info = AdapterInfo(
            base=base.name,
            base_fingerprint=base.fingerprint,
            trigger=run.trigger_word,
            trained=to_dict(replace(run.trainer, precision=precision)),
        )
        if self.state.steps is None:
            self.state.steps = self._train(make_training(run, base.model, music.tokens, info))
            self.state.write(self.out_dir)
        self._listen("after")
        return self._written(music, self._outcome(self.state.steps), command)

    def _train(self, training: Training) -> int:
        """Trains until the end or until nothing improves any more; returns the number of steps."""
        state = self.state
        if not state.planned:
            plan = planned(training, self.run.minutes)
            state.planned = {"max_steps": plan.max_steps, "every": plan.validate_every or plan.max_steps}
            state.write(self.out_dir)
        self.listening.make("before", self.base)
        every = state.planned["every"]
        config = replace(
            training.trainer,
            max_steps=state.planned["max_steps"],
            validate_every=every,
            save_every=every,
            max_minutes=self.run.minutes,
        )
        folder = self.out_dir / RUN
        trainer = Trainer(
            training.task, training.batches, config, folder, training.identity, watch=partial(self._watch, training)
        )
        return trainer.run(resume=(folder / LOG_NAME).exists()).step

    def _watch(self, training: Training, step: int, metrics: Mapping[str, float]) -> bool:
        """Keeps the weights of the best validation; whether there have been too many others since."""
        if self.state.add(step, metrics):
            training.keep(self.target)
        self.state.write(self.out_dir)
        if 2 * step >= self.state.planned["max_steps"]:
            self._listen("during")
        return self.state.misses >= self.run.patience

    def _listen(self, stage: Stage) -> None:
        if self.listening.has(stage):
            return
        if self.run.lora is None:
            self.listening.make(stage, load(self.target, device=self.base.device, precision="fp32"))
        else:
            self.listening.make(stage, self.base, self.base.load_adapter(self.target))

    def _outcome(self, steps: int) -> Outcome:
        validations, best_step = self.state.validations, self.state.best_step
        return Outcome(
            before=validations[0]["ce"],
            after=validations[best_step]["ce"],
            divergence=validations[best_step].get("divergence"),
            best_step=best_step,
            steps=steps,
        )

    def _written(self, music: Music, outcome: Outcome, command: str) -> dict[str, Any]:
        title = f"{self.run.folder.absolute().name}, on {self.base.name}"
        card = model_card(
            title=title,
            base=self.base.name,
            trigger=self.run.trigger_word,
            target=self.target,
            is_adapter=self.run.lora is not None,
            music=music,
            outcome=outcome,
            command=command,
        )
        write_atomically(self.target / "README.md", card.encode())
        log = read_log(self.out_dir / RUN / LOG_NAME)
        content = page(title, self.run.trigger_word, outcome, self.listening, log)
        write_atomically(self.out_dir / PAGE, content.encode())
        result = {
            self.target.name: str(self.target),
            "page": str(self.out_dir / PAGE),
            "base": self.run.model,
            "trigger": self.run.trigger_word,
            "loss_before": outcome.before,
            "loss_after": outcome.after,
            "change": outcome.change,
            "best_step": outcome.best_step,
            "steps": outcome.steps,
            "left_out": music.left_out,
        }
        write_atomically(self.out_dir / RESULT, (json.dumps(result, indent=2) + "\n").encode())
        return result
