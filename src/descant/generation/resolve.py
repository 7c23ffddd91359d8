"""From a `Request` and a model to a `ResolvedRequest`, in which everything that generation needs is decided."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.conditioning.base import readable_text
from descant.errors import InvalidRequest
from descant.generation.conditions import READERS
from descant.generation.plan import window_lengths
from descant.generation.request import Guidance, Request, Sampling
from descant.generation.tempo_key import resolve_tempo_key
from descant.generation.texts import TextReader
from descant.model import GenerationDefaults, MusicGenModel
from descant.tempo_key import TempoKey


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedRequest:
    """A request as one model will generate it.

    Args:
        original: the request as the user made it.
        text, timeline, negative_text: as the model reads them, long ones perhaps cut. None is the null condition.
        unknown_words: words of the texts for which the text encoder has no token.
        conditions: the other conditions by name, as the model takes them: ``melody`` levels [T, P], ``style`` codes
            [K, L]. One that is not given is absent.
        tempo_key: tempo and key where a text states none; always open in a model without such conditions.
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
        codec, request = self._model.codec, self._texts.read(original)
        read = {name: reader.read(request) for name, reader in self._readers.items()}
        conditions = {name: value for name, value in read.items() if value is not None}
        lead_in_s = 0.0 if request.loop_bars is None else request.bar_s
        lead_in_samples = round(lead_in_s * codec.sample_rate_hz)
        num_samples = max(1, round(request.result_s * codec.sample_rate_hz))
        num_frames = codec.num_frames(lead_in_samples + num_samples)
        window_frames, overlap_frames = window_lengths(
            self._model.config.max_duration_s, request.stride_s, codec.frame_rate_hz
        )
        self._check_length(request, num_frames, window_frames)
        prompt_wave = self._prompt_wave(request)
        seed = secrets.randbits(31) if request.seed is None else request.seed
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
            tempo_key=resolve_tempo_key(request, seed, self._model),
            prompt_wave=prompt_wave,
            prompt_codes=self._prompt_codes(request, prompt_wave, num_frames),
            duration_s=request.result_s,
            num_samples=num_samples,
            lead_in_samples=lead_in_samples,
            num_frames=num_frames,
            window_frames=window_frames,
            overlap_frames=overlap_frames,
        )

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

    def _guidance(self, request: Request, conditions: Mapping[str, Any]) -> Guidance:
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
        if codes.shape[-1] >= num_frames:
            raise InvalidRequest(
                f"duration_s={request.duration_s:g}: the prompt fills {codes.shape[-1]} of {num_frames} frames; "
                "ask for more, or give a shorter prompt"
            )
        return codes

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
        codec, num_samples = self._model.codec, wave.shape[-1]
        # Whole frames only: the codec pads the last one with silence, which would be heard as a gap in the music.
        whole = num_samples // codec.hop_samples * codec.hop_samples
        if whole == 0:
            raise InvalidRequest(
                f"prompt: {num_samples / codec.sample_rate_hz:g} s is less than one frame; give a longer one"
            )
        codes: Int[Tensor, "1 K T"] = codec.encode_in_chunks(wave[None, :, :whole].to(self._model.device))
        return codes[0]


def default_sampling(defaults: GenerationDefaults) -> Sampling:
    """The sampling of a request that has none."""
    return Sampling(temperature=defaults.temperature, top_k=defaults.top_k, top_p=defaults.top_p)


def default_guidance(defaults: GenerationDefaults) -> Guidance:
    """The guidance of a request that has none, apart from what its melody adds."""
    return Guidance(scale=defaults.guidance)
