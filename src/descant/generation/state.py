"""A request while it is generated: its plan, the codes known so far, and the job of each window for the step loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.generation.decode import DecodeJob, GuidanceTerm
from descant.generation.plan import Section, Window, plan_sections, plan_windows
from descant.generation.resolve import ResolvedRequest
from descant.generation.sampling import NoiseSource
from descant.model import Conditions, Heard, MusicGenModel
from descant.nn.inputs import LMInputs

CONDITION_STEPS = 64
"""Text conditions are padded to a multiple of this, so that requests with short texts can share a batch and a row's
attention sums over the same number of positions in any company."""


@dataclass(frozen=True)
class Negative:
    """What one guidance term pushes away from.

    Args:
        section: its tempo decides on which beat a window begins.
        scales: points (second, scale) that are joined by straight lines; the first is at 0.
    """

    conditions: Mapping[str, Any]
    section: Section
    scales: tuple[tuple[float, float], ...]


class GenerationState:
    """One request on its way. Conditions are prepared section by section, when the music gets there.

    Raises:
        InvalidRequest: two prompts of the timeline begin with the same frame.
    """

    def __init__(self, model: MusicGenModel, request: ResolvedRequest) -> None:
        self.model, self.request = model, request
        self.codes = request.prompt_codes
        self.sections = plan_sections(request.text, request.timeline, model.codec.frame_rate_hz)
        self.windows = self._planned()
        self.noise = NoiseSource(request.seed, model.codec.num_codebooks, model.codec.codebook_size)
        self._prepared: dict[int, Heard] = {}
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
        section = self.sections[window.section]
        negatives = self._negatives(section)
        rows = self._inputs(window, [section, *(negative.section for negative in negatives)])
        return DecodeJob(
            num_frames=window.num_frames,
            prompt=self.codes[:, window.first : window.start],
            inputs=rows[0],
            guidance=tuple(
                GuidanceTerm(row, self._scales(negative.scales, window))
                for row, negative in zip(rows[1:], negatives, strict=True)
            ),
            sampling=self.request.sampling,
            noise=self.noise,
        )

    def _planned(self) -> list[Window]:
        request = self.request
        return plan_windows(
            request.num_frames, self.codes.shape[-1], request.window_frames, request.overlap_frames, self.sections
        )

    def _positive(self, section: Section) -> dict[str, Any]:
        return {"text": section.text, **self.request.conditions}

    def _negatives(self, section: Section) -> list[Negative]:
        """What guidance pushes away from, in the order of its terms (arXiv 2407.12563, section 4.3)."""
        guidance, positive, negatives = self.request.guidance, self._positive(section), []
        if guidance.text_scale is not None:
            negatives.append(Negative({**positive, "text": None}, section, ((0.0, guidance.text_scale),)))
        if guidance.melody_scale is not None:
            negatives.append(Negative({**positive, "melody": None}, section, ((0.0, guidance.melody_scale),)))
        if guidance.scale != 1 or guidance.schedule:
            text = self.request.negative_text
            # The negative text has a tempo of its own, whose beats count from the beginning.
            negatives.append(Negative({"text": text}, Section(0, text), ((0.0, guidance.scale), *guidance.schedule)))
        return negatives

    def _prepared_for(self, index: int) -> Heard:
        """The prepared conditions of a section; those of earlier sections are dropped."""
        if index not in self._prepared:
            section = self.sections[index]
            rows = [self._positive(section), *(negative.conditions for negative in self._negatives(section))]
            self._prepared = {index: prepare(self.model, rows)}
        return self._prepared[index]

    def _inputs(self, window: Window, sections: Sequence[Section]) -> list[LMInputs]:
        """The model's inputs for each row, all as long as the longest.

        In a model without cross-attention the text is a prefix. That has no mask, so padding it to the length of
        another request's text would change the music: there, texts of different lengths do not share a batch.

        Args:
            sections: for each row, the section whose tempo it follows.
        """
        frame_rate_hz = self.model.codec.frame_rate_hz
        lead_in_s = self.request.lead_in_samples / self.model.codec.sample_rate_hz
        beats = [section.beats_before(window.first, frame_rate_hz) for section in sections]
        inputs = self.model.inputs(
            self._prepared_for(window.section),
            window.num_frames,
            first_s=window.first / frame_rate_hz - lead_in_s,
            first_beats=torch.tensor(beats, dtype=torch.float64),
        )
        if inputs.cross is not None and inputs.cross_mask is not None:
            missing = -inputs.cross.shape[1] % CONDITION_STEPS
            cross, cross_mask = F.pad(inputs.cross, (0, 0, 0, missing)), F.pad(inputs.cross_mask, (0, missing))
            inputs = replace(inputs, cross=cross, cross_mask=cross_mask)
        return [inputs.rows(row) for row in torch.arange(len(sections), device=self.model.device).split(1)]

    def _scales(self, points: Sequence[tuple[float, float]], window: Window) -> Float[Tensor, " S"]:
        """The scale of each step, at the moment of the frame that the step predicts; one value if it is constant."""
        if len(points) == 1:
            return torch.tensor([points[0][1]], dtype=torch.float32)
        moments = (self.model.frames_of_steps(window.num_frames) + window.first) / self.model.codec.frame_rate_hz
        by_input = torch.tensor([_interpolate(points, moment) for moment in moments.tolist()])
        # An input step predicts the codes of the step after it.
        return torch.cat([by_input[:1], by_input[:-1]])


def prepare(model: MusicGenModel, rows: Sequence[Mapping[str, Any]]) -> Heard:
    """Rows of conditions by name, as the frozen encoders read them.

    Raises:
        InvalidRequest: the model cannot read one of them.
    """
    return model.heard([Conditions(**row) for row in rows])


def _interpolate(points: Sequence[tuple[float, float]], second: float) -> float:
    """The value at a second on the line through the points."""
    later = next((index for index, point in enumerate(points) if point[0] > second), None)
    if later is None:
        return points[-1][1]
    (start, low), (end, high) = points[later - 1], points[later]
    return low + (high - low) * (second - start) / (end - start)
