"""A request while it is generated: its plan, the codes known so far, and the job of each window for the step loop."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from descant.generation.condition_rows import ConditionRow, rows_of, scales_by_step
from descant.generation.decode_job import DecodeJob
from descant.generation.guidance import Scales
from descant.generation.plan import Section, Window, plan_sections, plan_windows
from descant.generation.prepared import Preparer
from descant.generation.resolve import ResolvedRequest
from descant.generation.sampling import NoiseSource
from descant.model import MusicGenModel, PreparedConditions
from descant.nn.inputs import LMInputs


class GenerationState:
    """One request while it is generated. Conditions are prepared section by section, when the music gets there.

    Args:
        preparer: of the model; shared by the requests of one call.

    Raises:
        InvalidRequest: two prompts of the timeline begin with the same frame, or one begins with no frame of the music.
    """

    def __init__(self, model: MusicGenModel, request: ResolvedRequest, preparer: Preparer) -> None:
        self.model, self.request = model, request
        self._preparer = preparer
        self.codes = request.prompt_codes
        self.sections = plan_sections(
            request.text, request.timeline, request.num_frames, model.codec.frame_rate_hz, request.tempo_key
        )
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

    def check(self, text: str | None) -> None:
        """Prepares the conditions under another prompt, so that one that the model cannot take is refused.

        Raises:
            InvalidRequest: the model's encoder refuses it.
        """
        self._prepare(Section(0, text, fallback=self.request.tempo_key))

    @torch.no_grad()
    def job(self, window: Window) -> DecodeJob:
        """The window as a job for the step loop; all frames before it must be known."""
        rows = rows_of(self.request, self.sections[window.section])
        inputs = self._inputs(window, rows)
        scales = self._scales(window, rows[1:])
        index = needed_rows(inputs, scales)
        return DecodeJob(
            num_frames=window.num_frames,
            prompt=self.codes[:, window.first : window.start],
            inputs=inputs.rows(torch.tensor(index, device=self.model.device)),
            guidance=tuple(scales[row - 1] for row in index[1:]),
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
            self._prepared = {section: self._prepare(self.sections[section])}
        return self._prepared[section]

    def _prepare(self, section: Section) -> PreparedConditions:
        return self._preparer.prepare([row.conditions for row in rows_of(self.request, section)])

    def _inputs(self, window: Window, rows: Sequence[ConditionRow]) -> LMInputs:
        """The model's inputs for each row, all as long as the longest."""
        frame_rate_hz = self.model.codec.frame_rate_hz
        beats = [row.section.beats_before(window.first, frame_rate_hz) for row in rows]
        return self.model.inputs(
            self._prepared_for(window.section),
            self.model.span(
                window.num_frames,
                first_s=window.first / frame_rate_hz - self._lead_in_s,
                first_beats=torch.tensor(beats, dtype=torch.float64),
            ),
        )

    def _scales(self, window: Window, rows: Sequence[ConditionRow]) -> list[Scales]:
        """The guidance scales of a window, for each row that guidance pushes away from."""
        span = self.model.span(window.num_frames)
        # Seconds of a schedule count from the start of the result: the lead-in of a loop has the scale at second 0.
        seconds = ((span.input_frames + window.first) / span.frame_rate_hz - self._lead_in_s).clamp(min=0)
        return [scales_by_step(row.scales, seconds) for row in rows]


def needed_rows(inputs: LMInputs, scales: Sequence[Scales]) -> list[int]:
    """The rows of a job that must be computed, its own first; the others push nothing away.

    A term whose scales are all 1 changes nothing. Neither does the first one that is applied if its conditions are the
    job's own, as those of a request without any: its logits are the same to the last bit, and so is what ``guide``
    makes of them.
    """
    needed = [0]
    for row, of_row in enumerate(scales, start=1):
        if all(scale == 1 for scale in of_row) or (len(needed) == 1 and inputs.has_equal_rows(0, row)):
            continue
        needed.append(row)
    return needed
