"""A request on its way: its windows, what is known of its codes, and what the model is told in each window."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.errors import InvalidRequest
from descant.generation.batch_invariance import CONDITION_STEPS
from descant.generation.decode import DecodeJob
from descant.generation.guidance import GuidanceTerm
from descant.generation.request import Guidance, Request
from descant.generation.sampling import NoiseSource
from descant.generation.windows import STRIDE_SHARE, Section, Window, plan_windows, sections_of
from descant.model import Conditions, Heard, MusicGenModel
from descant.nn.inputs import LMInputs


class Piece:
    """One request, settled. What the frozen encoders make of its conditions is worked out section by section, as the
    piece comes there.

    Args:
        num_frames: how long it gets, in frames.
        lead_in_s: how much of it is made before what was asked for begins; a melody begins behind it.
        prompt: codes that it begins with.

    Raises:
        InvalidRequest: its stride is no shorter than the model's longest clip.
    """

    def __init__(
        self,
        model: MusicGenModel,
        request: Request,
        num_frames: int,
        prompt: Int[Tensor, "K T"],
        lead_in_s: float = 0.0,
    ) -> None:
        assert request.seed is not None
        self.model, self.request = model, request
        self.num_frames, self.lead_in_s = num_frames, lead_in_s
        self.codes = prompt
        self.num_prompt_frames = prompt.shape[-1]
        self.sections = sections_of(request, model.codec.frame_rate_hz)
        self.room, self.keep = self._reach()
        self.windows = plan_windows(num_frames, self.num_prompt_frames, self.room, self.keep, self.sections)
        self.noise = NoiseSource(request.seed, model.codec.num_codebooks, model.codec.codebook_size)
        self._heard: dict[int, Heard] = {}
        self._heard_in(self.windows[0].section)

    def change(self, text: str | None) -> None:
        """From the frame that comes next on, the prompt is another; earlier ones are forgotten."""
        start = self.codes.shape[-1]
        current = next(section for section in reversed(self.sections) if section.start <= start)
        self.sections = [current.followed_by(start, text, self.model.codec.frame_rate_hz)]
        self.windows = plan_windows(self.num_frames, start, self.room, self.keep, self.sections)
        self._heard = {}

    @torch.no_grad()
    def draft(self, window: Window) -> DecodeJob:
        """The window in the language model's terms; all frames before it are known."""
        request = self.request
        assert request.sampling is not None
        assert request.guidance is not None
        roles = self._roles()
        own, *negatives = self._inputs(self._heard_in(window.section), window)
        scales = {
            "without_text": torch.tensor([request.guidance.text_scale or 0.0], dtype=torch.float32),
            "without_melody": torch.tensor([request.guidance.melody_scale or 0.0], dtype=torch.float32),
            "against": self._scales(request.guidance, window),
        }
        return DecodeJob(
            num_frames=window.num_frames,
            prompt=self.codes[:, window.first : window.start],
            inputs=own,
            guidance=tuple(
                GuidanceTerm(negative, scales[role]) for role, negative in zip(roles[1:], negatives, strict=True)
            ),
            sampling=request.sampling,
            noise=self.noise,
        )

    def num_steps(self, window: Window) -> int:
        """Steps of the pattern that a window takes."""
        return self.model.config.pattern.length(window.num_frames)

    def write(self, codes: Int[Tensor, "K T"], window: Window) -> None:
        """Adds what a window has made; ``codes`` are all that it saw and made."""
        # Copied, since what the step loop made under inference_mode could never be trained on.
        self.codes = torch.cat([self.codes, codes[:, window.start - window.first :].clone()], dim=-1)

    def _reach(self) -> tuple[int, int]:
        """Frames of the longest window, and how many of them it takes over from the one before."""
        limit_s, rate_hz = self.model.config.max_duration_s, self.model.codec.frame_rate_hz
        stride_s = self.request.stride_s
        if stride_s is not None and stride_s >= limit_s:
            raise InvalidRequest(f"stride_s={stride_s:g}: must be shorter than this model's windows of {limit_s:g} s")
        room = max(1, round(limit_s * rate_hz))
        stride = round(room * STRIDE_SHARE) if stride_s is None else round(stride_s * rate_hz)
        return room, room - max(1, min(stride, room - 1))

    def _roles(self) -> list[str]:
        guidance = self.request.guidance
        assert guidance is not None
        roles = ["inputs"]
        if guidance.text_scale is not None:
            roles.append("without_text")
        if guidance.melody_scale is not None:
            roles.append("without_melody")
        if guidance.scale != 1 or guidance.schedule:
            roles.append("against")
        return roles

    def _heard_in(self, section: int) -> Heard:
        """What is heard of the conditions in a section; of earlier ones it is forgotten."""
        if section not in self._heard:
            self._heard = {section: self._hear(self.sections[section])}
        return self._heard[section]

    @torch.no_grad()
    def _hear(self, section: Section) -> Heard:
        request = self.request
        everything = Conditions(text=section.text, melody=request.melody_chroma, style=request.style_codes)
        rows = {
            "inputs": everything,
            "without_text": replace(everything, text=None),
            "without_melody": replace(everything, melody=None),
            "against": Conditions(text=request.negative_text),
        }
        return self.model.heard([rows[role] for role in self._roles()])

    def _inputs(self, heard: Heard, window: Window) -> list[LMInputs]:
        """The conditions of each role, all as long as the longest.

        In a model without cross-attention the text is a prefix. It has no mask, so to pad it to the length of another
        request would change the music: requests with texts of different lengths are decoded one after another there.
        """
        rate_hz = self.model.codec.frame_rate_hz
        section = self.sections[window.section]
        # The negative text keeps its own time; the other rows are the section less something.
        told = [
            Section(0, row.text) if role == "against" else section
            for role, row in zip(self._roles(), heard.rows, strict=True)
        ]
        beats = [of_row.beats_before(window.first, rate_hz) for of_row in told]
        inputs = self.model.inputs(
            heard,
            window.num_frames,
            first_s=window.first / rate_hz - self.lead_in_s,
            first_beats=torch.tensor(beats, dtype=torch.float64),
        )
        if inputs.cross is not None and inputs.cross_mask is not None:
            missing = -inputs.cross.shape[1] % CONDITION_STEPS
            cross, cross_mask = F.pad(inputs.cross, (0, 0, 0, missing)), F.pad(inputs.cross_mask, (0, missing))
            inputs = replace(inputs, cross=cross, cross_mask=cross_mask)
        return [inputs.rows(row) for row in torch.arange(len(heard.rows), device=self.model.device).split(1)]

    def _scales(self, guidance: Guidance, window: Window) -> Float[Tensor, " S"]:
        """How strong guidance is at each step: the scale of the moment that the step leads to."""
        if not guidance.schedule:
            return torch.tensor([guidance.scale], dtype=torch.float32)
        points = ((0.0, guidance.scale), *guidance.schedule)
        moments = (self.model.frames_of_steps(window.num_frames) + window.first) / self.model.codec.frame_rate_hz
        by_input = torch.tensor([_between(points, moment) for moment in moments.tolist()])
        # An input step leads to the step after it.
        return torch.cat([by_input[:1], by_input[:-1]])


def _between(points: tuple[tuple[float, float], ...], second: float) -> float:
    """Where the line through the points is at a second."""
    later = next((index for index, point in enumerate(points) if point[0] > second), None)
    if later is None:
        return points[-1][1]
    (start, low), (end, high) = points[later - 1], points[later]
    return low + (high - low) * (second - start) / (end - start)
