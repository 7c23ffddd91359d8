"""Requests to music: settles what a request leaves open, batches what can share steps, decodes codes to sound."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.conditioning.base import readable_text
from descant.conditioning.melody import extract_melody
from descant.conditioning.stems import melodic_part
from descant.errors import Cancelled, InvalidRequest
from descant.generation.conditions import beginning, check_melody, checked_melody, checked_style
from descant.generation.decode import DecodeJob, decode
from descant.generation.piece import Piece
from descant.generation.request import Guidance, Request, Sampling
from descant.generation.runtimes import runtime_for
from descant.generation.seams import joined, looped
from descant.generation.stream import MusicStream
from descant.generation.texts import TextReader
from descant.generation.windows import Window
from descant.model import MusicGenModel
from descant.nn.settings import own_settings
from descant.tempo_key import parse_tempo_key


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a request: its music, its codes (the prompt's are the first of them), and the request settled.

    ``unknown_words`` are those of its texts that the text encoder has no token for.
    """

    wave: Float[Tensor, "C N"]
    codes: Int[Tensor, "K T"]
    num_prompt_frames: int
    request: Request
    unknown_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """What is made, in samples: of a loop the bar before it too."""

    lead_in: int
    length: int

    @property
    def num_samples(self) -> int:
        """All of it."""
        return self.lead_in + self.length


class Engine:
    """Makes music with one model. It keeps no state between calls, so threads may share it.

    Args:
        max_batch: how many requests are decoded side by side; more wait for their turn.
    """

    def __init__(self, model: MusicGenModel, max_batch: int = 8) -> None:
        self.model = model
        self.max_batch = max_batch
        self.runtime = runtime_for(model.lm)

    @property
    def default_sampling(self) -> Sampling:
        """How codes are drawn where a request does not say."""
        defaults = self.model.config.defaults
        return Sampling(temperature=defaults.temperature, top_k=defaults.top_k, top_p=defaults.top_p)

    @property
    def default_guidance(self) -> Guidance:
        """How strong guidance is where a request does not say."""
        return Guidance(scale=self.model.config.defaults.guidance)

    @own_settings()
    def generate(
        self,
        requests: Sequence[Request],
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[Made]:
        """The music of every request, in their order; each is what it would be alone.

        Args:
            progress: called with the steps done and the steps in all.
            cancel: asked before each step and between the requests while they are prepared; True stops everything.

        Raises:
            InvalidRequest: a request asks for what this model cannot do; nothing has been made then.
            Cancelled: ``cancel`` said so.
        """
        heard: dict[Any, Int[Tensor, "_ pitches"]] = {}
        reader = TextReader(self.model)
        pieces = []
        for request in requests:
            _check_cancel(cancel)
            pieces.append(self.piece(self.settle(request, heard, reader)))
        total = sum(piece.num_steps(window) for piece in pieces for window in piece.windows)
        done = 0
        for batch in self._rounds(pieces, cancel):
            lengths = [piece.num_steps(window) for piece, window, _ in batch]
            before = done

            def on_step(step: int, before: int = before, lengths: list[int] = lengths) -> None:
                if progress is not None:
                    progress(before + sum(min(step, length) for length in lengths), total)

            jobs = [job for _, _, job in batch]
            made = decode(self.runtime, self.model.config.pattern, jobs, on_step, cancel)
            for (piece, window, _), codes in zip(batch, made, strict=True):
                piece.write(codes, window)
            done += sum(lengths)
        return [self._sound(piece, tuple(reader.unknown_words(piece.request))) for piece in pieces]

    @own_settings()
    def stream(self, request: Request, *, chunk_s: float = 0.5) -> MusicStream:
        """The music of one request, piece by piece while it is made: the same codes as ``generate`` gives.

        Args:
            chunk_s: how much music is given at a time, at least.

        Raises:
            InvalidRequest: as ``generate``; or a loop is asked for, which is cut from the whole.
        """
        if request.loop_bars is not None:
            raise InvalidRequest("loop_bars: a loop is cut from the whole and cannot be streamed; use generate")
        settled = self.settle(request)
        return MusicStream(self.runtime, self.piece(settled), self._span(settled).length, chunk_s)

    def settle(
        self,
        request: Request,
        heard: dict[Any, Int[Tensor, "_ pitches"]] | None = None,
        reader: TextReader | None = None,
    ) -> Request:
        """The request with nothing left open: as this model hears its conditions, and with its own defaults.

        Args:
            heard: melodies that were heard already, for requests that share one; what is heard is added.
            reader: of texts, for requests that share some.

        Raises:
            InvalidRequest: it asks for what this model cannot do.
        """
        request = (reader or TextReader(self.model)).settled(request)
        if request.loop_bars is not None:
            request = replace(request, duration_s=duration_of(request))
        guidance = request.guidance or self.default_guidance
        settled_style = self._style_codes(request)
        if guidance.text_scale is not None and (settled_style is None or readable_text(request.text) is None):
            raise InvalidRequest(
                f"text_scale={guidance.text_scale:g} of guidance weighs a text against a style: give both, or None"
            )
        melody = self._melody(request, {} if heard is None else heard)
        if guidance.melody_scale is not None and melody is None:
            raise InvalidRequest(
                f"melody_scale={guidance.melody_scale:g} of guidance pushes a melody: give one, or leave it out"
            )
        if guidance.melody_scale is None and melody is not None:
            guidance = replace(guidance, melody_scale=self.model.config.defaults.melody_guidance)
        seed = secrets.randbits(31) if request.seed is None else request.seed
        prompt = request.prompt
        if prompt is not None:
            prompt = prompt.resample(self.model.codec.sample_rate_hz).to_channels(self.model.codec.num_channels)
            prompt = replace(prompt, samples=prompt.samples.cpu())
        return replace(
            request,
            prompt=prompt,
            melody=None,
            melody_chroma=melody,
            style=None,
            style_codes=settled_style,
            seed=seed,
            sampling=request.sampling or self.default_sampling,
            guidance=guidance,
        )

    def piece(self, request: Request) -> Piece:
        """A settled request, ready to be made."""
        span = self._span(request)
        num_frames = self.model.codec.num_frames(span.num_samples)
        lead_in_s = span.lead_in / self.model.codec.sample_rate_hz
        return Piece(self.model, request, num_frames, self._prompt_codes(request, num_frames), lead_in_s)

    def _span(self, request: Request) -> Span:
        rate_hz = self.model.codec.sample_rate_hz
        if request.loop_bars is None:
            return Span(0, max(1, round(request.duration_s * rate_hz)))
        bar_s = bar_of(request)
        return Span(round(bar_s * rate_hz), round(request.loop_bars * bar_s * rate_hz))

    def _melody(self, request: Request, heard: dict[Any, Int[Tensor, "_ pitches"]]) -> Int[Tensor, "T pitches"] | None:
        """What the model hears of the request's melody."""
        if request.melody is None and request.melody_chroma is None:
            return None
        config = self.model.config.melody
        if config is None:
            raise InvalidRequest("melody: this model takes no melody; leave it out, or use a melody model")
        if request.melody is not None:
            told_s = max(request.duration_s, config.num_frames / config.frame_rate_hz)
            check_melody(request.melody, config, "mix")
            separation = request.melody_part or config.part
            key = (id(request.melody), separation, told_s)
            if key not in heard:
                clip = beginning(request.melody, told_s + config.window_samples / config.sample_rate_hz)
                part, how = melodic_part(clip, separation)
                check_melody(part, config, how)
                heard[key] = extract_melody(part, config, told_s)
            return heard[key]
        assert request.melody_chroma is not None
        return checked_melody(request.melody_chroma, config)

    def _style_codes(self, request: Request) -> Int[Tensor, "K L"] | None:
        """What the model hears of the request's style."""
        if request.style is not None:
            return self.model.style_codes(request.style)
        if request.style_codes is None:
            return None
        if self.model.config.style is None:
            raise InvalidRequest("style_codes: this model takes no style; leave them out, or use a style model")
        return checked_style(request.style_codes, self.model.config.style)

    def _prompt_codes(self, request: Request, num_frames: int) -> Int[Tensor, "K T"]:
        codec = self.model.codec
        if request.prompt is None and request.prompt_codes is None:
            return torch.zeros(codec.num_codebooks, 0, dtype=torch.long, device=self.model.device)
        if request.prompt_codes is not None:
            codes = request.prompt_codes.to(self.model.device, torch.long)
            low, high = int(codes.min()), int(codes.max())
            if len(codes) != codec.num_codebooks or not 0 <= low <= high < codec.codebook_size:
                raise InvalidRequest(
                    f"prompt_codes: {len(codes)} codebooks with codes from {low} to {high}; this model's codec has "
                    f"{codec.num_codebooks} with codes from 0 to {codec.codebook_size - 1}: give the prompt as audio"
                )
        else:
            assert request.prompt is not None
            given = request.prompt.samples
            # Whole frames only: the codec fills up the last one with silence, and a gap would be heard there.
            whole = given.shape[-1] // codec.hop_samples * codec.hop_samples
            if whole == 0:
                raise InvalidRequest(
                    f"prompt: {request.prompt.duration_s:g} s is less than one frame; give a longer one"
                )
            codes = codec.encode_in_pieces(given[None, :, :whole].to(self.model.device))[0]
        if codes.shape[-1] >= num_frames:
            raise InvalidRequest(
                f"duration_s={request.duration_s:g}: the prompt fills {codes.shape[-1]} of {num_frames} frames; "
                "ask for more, or give a shorter prompt"
            )
        return codes

    def _rounds(
        self, pieces: list[Piece], cancel: Callable[[], bool] | None
    ) -> Iterator[list[tuple[Piece, Window, DecodeJob]]]:
        """Batches of windows, the first window of every piece before the second of any."""
        for number in range(max(len(piece.windows) for piece in pieces)):
            waiting = []
            for piece in pieces:
                if number < len(piece.windows):
                    _check_cancel(cancel)
                    waiting.append((piece, piece.windows[number], piece.draft(piece.windows[number])))
            yield from self._batches(waiting)

    def _batches(
        self, waiting: list[tuple[Piece, Window, DecodeJob]]
    ) -> Iterator[list[tuple[Piece, Window, DecodeJob]]]:
        """Windows that can share steps: prompts equally long, conditions equally long."""
        groups: dict[tuple[int, int, int], list[tuple[Piece, Window, DecodeJob]]] = {}
        for piece, window, draft in waiting:
            cross = 0 if draft.inputs.cross is None else draft.inputs.cross.shape[1]
            key = (draft.prompt.shape[-1], cross, draft.inputs.prefix_steps)
            groups.setdefault(key, []).append((piece, window, draft))
        for group in groups.values():
            # Long ones first, so that the members of a batch end at about the same time.
            group.sort(key=lambda member: -member[2].num_frames)
            for start in range(0, len(group), self.max_batch):
                yield group[start : start + self.max_batch]

    def _sound(self, piece: Piece, unknown_words: tuple[str, ...]) -> Made:
        """The wave of a finished piece: decoded, after what was given of it, cut to what was asked for."""
        codec, request, span = self.model.codec, piece.request, self._span(piece.request)
        wave = codec.decode_in_pieces(piece.codes[None])[0, :, : span.num_samples].float().cpu()
        if request.prompt is not None:
            wave = joined(request.prompt.samples, wave, codec.sample_rate_hz)
        if request.loop_bars is not None:
            wave = looped(wave, span.lead_in, span.length, codec.sample_rate_hz)
        return Made(wave, piece.codes.cpu(), piece.num_prompt_frames, request, unknown_words)


def _check_cancel(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("stopped while the next steps were prepared")


def bar_of(request: Request) -> float:
    """Seconds of one bar in the tempo that a loop's text states."""
    bpm = parse_tempo_key(request.text).bpm
    assert bpm is not None, "a request checks this of a loop"
    return request.beats_per_bar * 60 / bpm


def duration_of(request: Request) -> float:
    """Seconds of what comes of a request, which for a loop hang on its bars."""
    return request.duration_s if request.loop_bars is None else request.loop_bars * bar_of(request)
