"""From a `Request` and a model to a `ResolvedRequest`, in which everything that generation needs is decided."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.conditioning.base import readable_text
from descant.conditioning.chords import with_lead_in
from descant.errors import InvalidRequest
from descant.generation.conditions import READERS
from descant.generation.open_chords import ChordPlan, plan_chords
from descant.generation.plan import plan_sections, window_lengths
from descant.generation.request import Guidance, Request, Sampling
from descant.generation.tempo_key import check_tempo_key, resolve_tempo_key
from descant.generation.texts import TextReader
from descant.model import GenerationDefaults, MusicGenModel
from descant.nn.settings import in_one_thread
from descant.tempo_key import TempoKey


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedRequest:
    """A request as one model will generate it.

    Args:
        original: the request as the user made it.
        text, timeline, negative_text: as the model reads them, long ones perhaps cut. None is the null condition.
        unknown_words: words of the texts for which the text encoder has no token.
        conditions: the other conditions by name, as the model takes them: ``melody`` levels [T, P], ``style`` codes
            [K, L], ``chords``. One that is neither given nor chosen is absent.
        tempo_key: tempo and key where a text states none; always open in a model without such conditions.
        chord_plan: where the chords were chosen; those of the timeline are among the conditions.
        prompt_wave: the audio that the result begins with, at the codec's rate; no samples if none is given.
        prompt_codes: the codes that are continued, on the model's device; no frames if there is nothing to continue.
        duration_s: length of the result; of a loop, its bars.
        num_samples: the same in samples.
        lead_in_samples: samples that are generated before the result begins: the bar before a loop, from which the end
            of the loop is blended into its beginning. A melody starts after it.
        num_frames: codec frames of the lead-in and the result.
        window_frames, overlap_frames: length of the longest window, and how much of it the window before has generated.
    """

    original: Request
    text: str | None
    timeline: tuple[tuple[float, str], ...]
    negative_text: str | None
    unknown_words: tuple[str, ...]
    seed: int
    sampling: Sampling
    guidance: Guidance
    conditions: Mapping[str, Any]
    tempo_key: TempoKey
    chord_plan: ChordPlan | None
    prompt_wave: Float[Tensor, "C N"]
    prompt_codes: Int[Tensor, "K T"]
    duration_s: float
    num_samples: int
    lead_in_samples: int
    num_frames: int
    window_frames: int
    overlap_frames: int

    @property
    def num_prompt_frames(self) -> int:
        """Frames of the result that are given and not generated."""
        return self.prompt_codes.shape[-1]


class Resolver:
    """Resolves the requests of one call; texts and melodies that several requests share are read once."""

    def __init__(self, model: MusicGenModel) -> None:
        self._model = model
        self._texts = TextReader(model)
        self._readers = {name: reader(model) for name, reader in READERS.items()}

    def resolve(self, original: Request) -> ResolvedRequest:
        """The request with the model's defaults, and a new seed, where it leaves them open.

        Raises:
            InvalidRequest: it asks for something that this model cannot do.
        """
        request = self._texts.read(original)
        read = {name: reader.read(request) for name, reader in self._readers.items()}
        conditions = {name: value for name, value in read.items() if value is not None}
        lead_in_samples, num_samples, num_frames = self._lengths(request)
        window_frames, overlap_frames = self._windows(request, num_frames)
        prompt_wave = self._prompt_wave(request)
        seed = secrets.randbits(31) if request.seed is None else request.seed
        tempo_key = resolve_tempo_key(request, seed, self._model)
        chord_plan = plan_chords(request, seed, self._model, tempo_key)
        if chord_plan is not None:
            rate_hz = self._model.codec.frame_rate_hz
            sections = plan_sections(request.text, request.timeline, num_frames, rate_hz, tempo_key)
            conditions["chords"] = chord_plan.chords(sections, rate_hz)
        chords = conditions.get("chords")
        if request.loop_bars is not None and isinstance(chords, tuple):
            conditions["chords"] = with_lead_in(chords, request.result_s, request.bar_s)
        return ResolvedRequest(
            original=original,
            text=request.text,
            timeline=request.timeline,
            negative_text=request.negative_text,
            unknown_words=tuple(self._texts.unknown_words(request)),
            seed=seed,
            sampling=request.sampling or default_sampling(self._model.config.defaults),
            guidance=self._guidance(request, conditions),
            conditions=conditions,
            tempo_key=tempo_key,
            chord_plan=chord_plan,
            prompt_wave=prompt_wave,
            prompt_codes=self._prompt_codes(request, prompt_wave, num_frames),
            duration_s=request.result_s,
            num_samples=num_samples,
            lead_in_samples=lead_in_samples,
            num_frames=num_frames,
            window_frames=window_frames,
            overlap_frames=overlap_frames,
        )

    def check(self, original: Request) -> None:
        """Refuses what ``resolve`` would refuse, as far as that shows without running a network, which takes long.

        Raises:
            InvalidRequest: the request asks for something that this model cannot do.
        """
        request = self._texts.read(original)
        given = [name for name, reader in self._readers.items() if reader.check(request)]
        num_frames = self._lengths(request)[2]
        self._windows(request, num_frames)
        self._guidance(request, given)
        check_tempo_key(request, self._model)
        wave = self._prompt_wave(request)
        if request.prompt_codes is not None:
            codes = self._checked_codes(request.prompt_codes)
            self._check_same_length(request, wave, codes)
            self._check_prompt_length(request, codes.shape[-1], num_frames)
        elif request.prompt is not None:
            self._check_prompt_length(request, self._whole_frames(wave), num_frames)

    def _lengths(self, request: Request) -> tuple[int, int, int]:
        """Samples before the result begins, samples of the result, and frames of both."""
        codec = self._model.codec
        lead_in_s = 0.0 if request.loop_bars is None else request.bar_s
        lead_in_samples = round(lead_in_s * codec.sample_rate_hz)
        num_samples = max(1, round(request.result_s * codec.sample_rate_hz))
        return lead_in_samples, num_samples, codec.num_frames(lead_in_samples + num_samples)

    def _windows(self, request: Request, num_frames: int) -> tuple[int, int]:
        """Frames of the longest window and of its overlap with the one before."""
        frame_rate_hz = self._model.codec.frame_rate_hz
        lengths = window_lengths(self._model.config.max_duration_s, request.stride_s, frame_rate_hz)
        self._check_length(request, num_frames, lengths[0])
        return lengths

    def _check_length(self, request: Request, num_frames: int, trained_frames: int) -> None:
        if not self._model.config.pattern.depends_on_length:
            return
        limit_s = self._model.config.max_duration_s
        if request.timeline:
            raise InvalidRequest(f"timeline: this model generates clips of {limit_s:g} s in one piece; give one prompt")
        if num_frames != trained_frames:
            raise InvalidRequest(
                f"duration_s={request.result_s:g}: this model's order of codes depends on the length of a clip, and it "
                f"was trained on clips of {limit_s:g} s: ask for exactly that"
            )

    def _guidance(self, request: Request, conditions: Collection[str]) -> Guidance:
        defaults = self._model.config.defaults
        guidance = request.guidance or default_guidance(defaults)
        has_text_and_style = "style" in conditions and readable_text(request.text) is not None
        if guidance.text_scale is not None and not has_text_and_style:
            raise InvalidRequest(
                f"guidance.text_scale={guidance.text_scale:g}: weighs text against style; "
                "give both, or leave the scale out"
            )
        if guidance.melody_scale is not None and "melody" not in conditions:
            raise InvalidRequest(
                f"guidance.melody_scale={guidance.melody_scale:g}: applies to a melody; "
                "give one, or leave the scale out"
            )
        if guidance.melody_scale is None and "melody" in conditions:
            return replace(guidance, melody_scale=defaults.melody_guidance)
        return guidance

    def _prompt_wave(self, request: Request) -> Float[Tensor, "C N"]:
        codec = self._model.codec
        if request.prompt is None:
            return torch.zeros(codec.num_channels, 0)
        return request.prompt.resample(codec.sample_rate_hz).to_channels(codec.num_channels).samples.cpu()

    def _prompt_codes(self, request: Request, wave: Float[Tensor, "C N"], num_frames: int) -> Int[Tensor, "K T"]:
        if request.prompt_codes is not None:
            codes = self._checked_codes(request.prompt_codes)
            self._check_same_length(request, wave, codes)
        elif request.prompt is not None:
            codes = self._encoded(wave)
        else:
            return torch.zeros(self._model.codec.num_codebooks, 0, dtype=torch.long, device=self._model.device)
        self._check_prompt_length(request, codes.shape[-1], num_frames)
        return codes

    def _check_prompt_length(self, request: Request, num_prompt_frames: int, num_frames: int) -> None:
        if num_prompt_frames >= num_frames:
            raise InvalidRequest(
                f"duration_s={request.duration_s:g}: the prompt fills {num_prompt_frames} of {num_frames} frames; "
                "ask for more, or give a shorter prompt"
            )

    def _checked_codes(self, given: Int[Tensor, "K T"]) -> Int[Tensor, "K T"]:
        codec, codes = self._model.codec, given.to(self._model.device, torch.long)
        low, high = int(codes.min()), int(codes.max())
        if len(codes) != codec.num_codebooks or not 0 <= low <= high < codec.codebook_size:
            raise InvalidRequest(
                f"prompt_codes: {len(codes)} codebooks with codes from {low} to {high}; this model's codec has "
                f"{codec.num_codebooks} with codes from 0 to {codec.codebook_size - 1}: give the prompt as audio"
            )
        return codes

    def _check_same_length(self, request: Request, wave: Float[Tensor, "C N"], codes: Int[Tensor, "K T"]) -> None:
        codec = self._model.codec
        difference = codes.shape[-1] * codec.hop_samples - wave.shape[-1]
        if request.prompt is not None and abs(difference) > codec.hop_samples:
            raise InvalidRequest(
                f"prompt_codes: {codes.shape[-1]} frames are {codes.shape[-1] / codec.frame_rate_hz:g} s, but the "
                f"prompt is {request.prompt.duration_s:g} s long; give codes of the same audio, or only one of the two"
            )

    def _encoded(self, wave: Float[Tensor, "C N"]) -> Int[Tensor, "K T"]:
        codec = self._model.codec
        # Whole frames only: the codec pads the last one with silence, which would be heard as a gap in the music.
        whole = self._whole_frames(wave) * codec.hop_samples
        encode = in_one_thread(codec.encode_in_chunks)
        codes: Int[Tensor, "1 K T"] = encode(wave[None, :, :whole].to(self._model.device))
        return codes[0]

    def _whole_frames(self, wave: Float[Tensor, "C N"]) -> int:
        codec, num_samples = self._model.codec, wave.shape[-1]
        if num_samples < codec.hop_samples:
            raise InvalidRequest(
                f"prompt: {num_samples / codec.sample_rate_hz:g} s is less than one frame; give a longer one"
            )
        return num_samples // codec.hop_samples


def default_sampling(defaults: GenerationDefaults) -> Sampling:
    """The sampling of a request that has none."""
    return Sampling(
        temperature=defaults.temperature,
        top_k=defaults.top_k,
        top_p=defaults.top_p,
        hold_penalty=defaults.hold_penalty,
    )


def default_guidance(defaults: GenerationDefaults) -> Guidance:
    """The guidance of a request that has none, apart from what its melody adds."""
    return Guidance(scale=defaults.guidance)
