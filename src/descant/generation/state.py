"""A request while it is generated: its plan, the codes known so far, and the job of each window for the step loop."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.generation.audition import Audition, Listener
from descant.generation.condition_rows import ConditionRow, rows_of, scales_by_step
from descant.generation.decode import Decoder
from descant.generation.decode_job import DecodeJob, Decoding
from descant.generation.guidance import Scales
from descant.generation.plan import Section, Window, first_frame, plan_sections, plan_windows
from descant.generation.prepared import Preparer
from descant.generation.resolve import ResolvedRequest
from descant.generation.sampling import NoiseSource
from descant.model import MusicGenModel, PreparedConditions
from descant.nn.inputs import LMInputs
from descant.nn.settings import in_one_thread


class GenerationState:
    """One request while it is generated. Conditions are prepared section by section, when the music gets there.

    Args:
        preparer: of the model; shared by the requests of one call.
        audition: judges the first seconds of the music.

    Raises:
        InvalidRequest: two prompts of the timeline begin with the same frame, or one begins with no frame of the music.
    """

    def __init__(
        self,
        model: MusicGenModel,
        request: ResolvedRequest,
        preparer: Preparer,
        audition: Audition | None = None,
    ) -> None:
        self.model, self.request = model, request
        self._preparer = preparer
        self.codes = request.prompt_codes
        self._listener = Listener(audition, model.codec, request)
        self.sections = self._sections(request.timeline)
        self.windows = self._planned(self.codes.shape[-1], self.sections)
        self.noise = NoiseSource(request.seed, model.codec.num_codebooks, model.codec.codebook_size)
        self._prepared: dict[int, PreparedConditions] = {}
        # Prepared now, so that conditions that the model cannot take are refused before the first step.
        self._prepared_for(self.windows[0].section)

    @property
    def is_complete(self) -> bool:
        """Whether all frames are known."""
        return self.codes.shape[-1] == self.request.num_frames

    @property
    def is_over(self) -> bool:
        """Whether the music is to end early."""
        return self._listener.is_over

    @property
    def next_window(self) -> Window:
        """The window that begins with the first unknown frame."""
        return next(window for window in self.windows if window.start == self.codes.shape[-1])

    def num_steps(self, window: Window) -> int:
        """Steps of the pattern that a window takes."""
        return self.model.config.pattern.length(window.num_frames)

    @property
    def num_steps_left(self) -> int:
        """Steps of the windows that are not complete."""
        return sum(self.num_steps(window) for window in self.windows if window.start >= self.codes.shape[-1])

    def append(self, codes: Int[Tensor, "K T"], window: Window) -> None:
        """Adds the new frames of a window.

        Args:
            codes: all frames that the window saw, the known ones first.
        """
        # Copied, since tensors of the step loop are made under inference_mode and could never be trained on.
        self.codes = torch.cat([self.codes, codes[:, window.start - window.first :].clone()], dim=-1)

    def listen(self, decoding: Decoding, decoder: Decoder, window: Window) -> None:
        """Lets the audition hear the beginning of the music, if it is known and was not heard.

        Args:
            decoding: that of the window, of which nothing was appended yet.
        """
        self._listener.listen(
            window.first + decoding.num_known,
            lambda: torch.cat([self.codes[:, : window.first], decoder.codes(decoding)], dim=-1),
        )

    def change(self, text: str | None) -> None:
        """Replaces the prompt from the next frame on; later prompts of the timeline are dropped."""
        start = self.codes.shape[-1]
        current = next(section for section in reversed(self.sections) if section.start <= start)
        self.sections = [current.followed_by(start, text, self.model.codec.frame_rate_hz)]
        self.request = self._with_chords(self.request, self.sections)
        self.windows = self._planned(self.codes.shape[-1], self.sections)
        self._prepared = {}

    def revise(self, later: Sequence[tuple[float, str]], window: Window, num_begun: int) -> Window:
        """Replaces the prompts of the timeline that begin after the first ``num_begun`` frames.

        Args:
            later: the new ones (second, text), as the model reads them.
            window: the one that is being generated, or the next one.

        Returns:
            That window, which may now end earlier.

        Raises:
            InvalidRequest: one begins too early, after the end, or with the same frame as another.
        """
        rate_hz = self.model.codec.frame_rate_hz
        if later and first_frame(later[0][0], rate_hz) < num_begun:
            raise InvalidRequest(
                f"timeline: second {later[0][0]:g} has been generated, or nearly; prompts can change from second "
                f"{num_begun / rate_hz:g} on"
            )
        begun = tuple(prompt for prompt in self.request.timeline if first_frame(prompt[0], rate_hz) < num_begun)
        sections = self._sections((*begun, *later))
        windows = self._planned(window.start, sections)
        if windows[0].end > window.end:
            # What is being generated cannot become longer: the next window begins where it ends, with the same text.
            stay = (window.end / rate_hz, self.sections[window.section].text or "")
            return self.revise((stay, *later), window, num_begun)
        self.request = self._with_chords(replace(self.request, timeline=(*begun, *later)), sections)
        self.sections, self.windows, self._prepared = sections, windows, {}
        return windows[0]

    def check(self, text: str | None) -> None:
        """Prepares the conditions under another prompt, so that one that the model cannot take is refused.

        Raises:
            InvalidRequest: the model's encoder refuses it.
        """
        self._prepare(Section(0, text, fallback=self.request.tempo_key))

    @in_one_thread
    @torch.no_grad()
    def job(self, window: Window) -> DecodeJob:
        """The window as a job for the step loop; all frames before it must be known. Its inputs have the same bits with
        any number of threads."""
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

    def _sections(self, timeline: Sequence[tuple[float, str]]) -> list[Section]:
        request, rate_hz = self.request, self.model.codec.frame_rate_hz
        return plan_sections(request.text, timeline, request.num_frames, rate_hz, request.tempo_key)

    def _with_chords(self, request: ResolvedRequest, sections: Sequence[Section]) -> ResolvedRequest:
        """The request with the chords that were chosen as they are in other sections, from the first of these on."""
        if request.chord_plan is None:
            return request
        rate_hz = self.model.codec.frame_rate_hz
        start_s = sections[0].start / rate_hz
        before = [chord for chord in request.conditions["chords"] if chord.start_s < start_s]
        chords = (*before, *request.chord_plan.chords(sections, rate_hz))
        return replace(request, conditions={**request.conditions, "chords": chords})

    def _planned(self, num_known: int, sections: Sequence[Section]) -> list[Window]:
        request = self.request
        return plan_windows(request.num_frames, num_known, request.window_frames, request.overlap_frames, sections)

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
            is_exact=True,
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
