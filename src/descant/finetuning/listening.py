"""What the model sounds like before, during and after the training: the same prompts and seed each time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from descant.adapters import Adapter
from descant.api import MusicGen
from descant.audio import Clip
from descant.finetuning.config import TRIGGER, ListeningConfig
from descant.generation.request import Request

Stage: TypeAlias = Literal["before", "during", "after"]
STAGES: tuple[Stage, ...] = get_args(Stage)
FOLDER = "samples"
LOUDNESS_LUFS = -14.0


class Listening:
    """The clips of a run, as files in ``samples`` of its folder; those that are there are not made again."""

    def __init__(self, config: ListeningConfig, trigger: str, out_dir: Path) -> None:
        self._config = config
        self._folder = out_dir / FOLDER
        self.prompts = tuple(prompt.replace(TRIGGER, trigger) for prompt in config.prompts)

    def has(self, stage: Stage) -> bool:
        """Whether all clips of a stage are there."""
        return all(self._file(stage, number).is_file() for number in range(len(self.prompts)))

    def make(self, stage: Stage, model: MusicGen, adapter: Adapter | None = None) -> None:
        """Generates the clips of a stage, in one batch.

        Raises:
            InvalidRequest: the model cannot read a prompt.
        """
        if self.has(stage) or not self.prompts:
            return
        duration_s = min(self._config.duration_s, model.max_duration_s)
        request = Request(duration_s=duration_s, seed=self._config.seed, adapters=() if adapter is None else adapter)
        clips = model.generate([replace(request, text=prompt) for prompt in self.prompts])
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, clip in enumerate(clips):
            clip.save(self._file(stage, number), loudness=LOUDNESS_LUFS)

    def clips(self, stage: Stage) -> Sequence[Clip] | None:
        """The clips of a stage, one for each prompt; None if they were not made."""
        if not self.has(stage):
            return None
        return [Clip.read(self._file(stage, number)) for number in range(len(self.prompts))]

    def _file(self, stage: Stage, number: int) -> Path:
        return self._folder / f"{number + 1}-{stage}.flac"
