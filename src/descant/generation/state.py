"""A request while it is generated: its plan, the codes known so far, and the job of each window for the step loop."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from descant.generation.batch_invariance import CONDITION_STEPS
from descant.generation.condition_rows import ConditionRow, rows_of, scales_by_step
from descant.generation.decode import DecodeJob
from descant.generation.guidance import GuidanceTerm
from descant.generation.plan import Window, plan_sections, plan_windows
from descant.generation.resolve import ResolvedRequest
from descant.generation.sampling import NoiseSource
from descant.model import MusicGenModel, PreparedConditions
from descant.nn.inputs import LMInputs


class GenerationState:
    """One request while it is generated. Conditions are prepared section by section, when the music gets there.

    Raises:
        InvalidRequest: two prompts of the timeline begin with the same frame, or one begins with no frame of the music.
    """

    def __init__(self, model: MusicGenModel, request: ResolvedRequest) -> None:
        self.model, self.request = model, request
        self.codes = request.prompt_codes
        self.sections = plan_sections(request.text, request.timeline, request.num_frames, model.codec.frame_rate_hz)
        self.windows = self._planned()
        self.noise = NoiseSource(request.seed, model.codec.num_codebooks, model.codec.codebook_size)
        self._prepared: dict[int, PreparedConditions] = {}
        # Prepared now, so that conditions that the model cannot take are refused before the first step.
        self._prepared_for(self.windows[0].section)

    @property
    def is_complete(self) -> bool:
        """Whether all frames are known."""
        return self.codes.shape[-1] == self.request.num_frames

    @property
    def next_window(self) -> Window:
        """The window that begins with the first unknown frame."""
        return next(window for window in self.windows if window.start == self.codes.shape[-1])

    def num_steps(self, window: Window) -> int:
        """Steps of the pattern that a window takes."""
        return self.model.config.pattern.length(window.num_frames)

    def append(self, codes: Int[Tensor, "K T"], window: Window) -> None:
        """Adds the new frames of a window.

        Args:
            codes: all frames that the window saw, the known ones first.
        """
        # Copied, since tensors of the step loop are made under inference_mode and could never be trained on.
        self.codes = torch.cat([self.codes, codes[:, window.start - window.first :].clone()], dim=-1)

    def change(self, text: str | None) -> None:
        """Replaces the prompt from the next frame on; later prompts of the timeline are dropped."""
        start = self.codes.shape[-1]
        current = next(section for section in reversed(self.sections) if section.start <= start)
        self.sections = [current.followed_by(start, text, self.model.codec.frame_rate_hz)]
        self.windows = self._planned()
        self._prepared = {}

    @torch.no_grad()
    def job(self, window: Window) -> DecodeJob:
        """The window as a job for the step loop; all frames before it must be known."""
        rows = rows_of(self.request, self.sections[window.section])
        inputs = self._inputs(window, rows)
        span = self.model.span(window.num_frames)
        # Seconds of a schedule count from the start of the result: the lead-in of a loop has the scale at second 0.
        seconds = ((span.input_frames + window.first) / span.frame_rate_hz - self._lead_in_s).clamp(min=0)
        return DecodeJob(
            num_frames=window.num_frames,
            prompt=self.codes[:, window.first : window.start],
            inputs=inputs[0],
            guidance=tuple(
                GuidanceTerm(negative, scales_by_step(row.scales, seconds))
                for negative, row in zip(inputs[1:], rows[1:], strict=True)
            ),
            sampling=self.request.sampling,
            noise=self.noise,
        )

    @property
    def _lead_in_s(self) -> float:
        return self.request.lead_in_samples / self.model.codec.sample_rate_hz

    def _planned(self) -> list[Window]:
        request = self.request
        return plan_windows(
            request.num_frames, self.codes.shape[-1], request.window_frames, request.overlap_frames, self.sections
        )

    def _prepared_for(self, section: int) -> PreparedConditions:
        """The prepared conditions of a section; those of the section before are dropped."""
        if section not in self._prepared:
            rows = rows_of(self.request, self.sections[section])
            self._prepared = {section: self.model.prepare([row.conditions for row in rows])}
        return self._prepared[section]

    def _inputs(self, window: Window, rows: Sequence[ConditionRow]) -> list[LMInputs]:
        """The model's inputs for each row, all as long as the longest.

        In a model without cross-attention the text is a prefix. That has no mask, so padding it to the length of
        another request's text would change the music: there, texts of different lengths do not share a batch.
        """
        frame_rate_hz = self.model.codec.frame_rate_hz
        beats = [row.section.beats_before(window.first, frame_rate_hz) for row in rows]
        inputs = self.model.inputs(
            self._prepared_for(window.section),
            self.model.span(
                window.num_frames,
                first_s=window.first / frame_rate_hz - self._lead_in_s,
                first_beats=torch.tensor(beats, dtype=torch.float64),
            ),
        )
        if inputs.cross is not None and inputs.cross_mask is not None:
            missing = -inputs.cross.shape[1] % CONDITION_STEPS
            cross, cross_mask = F.pad(inputs.cross, (0, 0, 0, missing)), F.pad(inputs.cross_mask, (0, missing))
            inputs = replace(inputs, cross=cross, cross_mask=cross_mask)
        return [inputs.rows(row) for row in torch.arange(len(rows), device=self.model.device).split(1)]
