"""What a user asks for: frozen dataclasses, checked on construction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jaxtyping import Int
from torch import Tensor

from descant.adapters import Adapter
from descant.audio import Clip
from descant.conditioning.chords import parse_chords
from descant.conditioning.stems import Separation
from descant.errors import InvalidRequest
from descant.generation.checks import (
    as_integer_matrix,
    as_pairs,
    check_choice,
    check_integer,
    check_number,
    check_rising,
    check_string,
    check_tempo_key,
    with_strengths,
)
from descant.plain import make_plain
from descant.seeds import MAX_SEED
from descant.tempo_key import OPEN, TempoKey, stated_tempo_key

MAX_TEXT_CHARACTERS = 4_096
MAX_CUT_CHARACTERS = 100_000
"""With ``long_prompt="cut"``, of which only the beginning is used."""
MAX_GUIDANCE = 100.0
MAX_HOLD_PENALTY = 100.0
MAX_DURATION_S = 3_600.0
MAX_SECTIONS = 1_000
END_TOLERANCE_S = 1e-3
"""How far times may lie after the end: those of chords that were chosen are rounded in the tags."""
MAX_LOOP_BARS, MAX_BEATS_PER_BAR = 256, 32


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one code is drawn from the logits; the rules apply in the order of the fields.

    Args:
        temperature: above 0; 1 leaves the model's distribution unchanged.
        top_k: only the k likeliest codes can be drawn; 0 keeps all.
        top_p: only the likeliest codes that together have this probability can be drawn; 1 keeps all.
        greedy: always the likeliest code; the other fields and the seed then have no effect.
        hold_penalty: how many nats a code of the first codebook loses that was drawn throughout the last half second,
            and proportionally less if it was drawn less often, so that held notes end. 0 leaves all as they are.
    """

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    greedy: bool = False
    hold_penalty: float = 0.0

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("temperature", self.temperature)
        if not 0 < self.temperature <= 1e6:
            raise InvalidRequest(
                f"temperature={self.temperature:g}: must be above 0 and at most 1000000; "
                "for the likeliest code at every step use greedy=True"
            )
        check_integer("top_k", self.top_k)
        if self.top_k < 0:
            raise InvalidRequest(f"top_k={self.top_k}: must be 1 or more, or 0 to keep every code")
        check_number("top_p", self.top_p)
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p={self.top_p:g}: must be above 0 and at most 1, where 1 keeps every code")
        if not isinstance(self.greedy, bool):
            raise InvalidRequest(f"greedy={self.greedy!r}: must be True or False")
        check_number("hold_penalty", self.hold_penalty)
        if not 0 <= self.hold_penalty <= MAX_HOLD_PENALTY:
            raise InvalidRequest(
                f"hold_penalty={self.hold_penalty:g}: must be from 0, which is none, to {MAX_HOLD_PENALTY:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How strongly the music is pushed towards its conditions (classifier-free guidance, arXiv 2207.12598).

    Args:
        scale: 0 ignores the conditions, 1 is plain sampling, larger values follow them more closely and vary less. The
            default is MusicGen's; a model may have another, which only a request without any guidance uses.
        text_scale: how much further the text is pushed than the style, which would otherwise drown it out
            (arXiv 2407.12563, section 4.3); 5 is a good start. None pushes both alike.
        melody_scale: how much further the melody is pushed than the text; 1 pushes both alike. None uses the model's
            default.
        schedule: points (second, scale) in rising order. The scale starts at ``scale``, moves linearly from point to
            point and stays at the last one. Empty: ``scale`` throughout.
    """

    scale: float = 3.0
    text_scale: float | None = None
    melody_scale: float | None = None
    schedule: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        make_plain(self)
        _check_scale("guidance.scale", self.scale)
        points = as_pairs("guidance.schedule", self.schedule)
        for second, scale in points:
            check_number("guidance.schedule: second", second)
            check_number("guidance.schedule: scale", scale)
            if not 0 <= scale <= MAX_GUIDANCE:
                raise InvalidRequest(
                    f"guidance.schedule: scale {scale:g} at second {second:g} must lie between 0 and {MAX_GUIDANCE:g}"
                )
        check_rising("guidance.schedule", [second for second, _ in points])
        object.__setattr__(self, "schedule", points)
        for name in ("text_scale", "melody_scale"):
            if getattr(self, name) is not None:
                _check_scale(f"guidance.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One piece of music to generate.

    Numbers and texts may be NumPy's or tensors without dimensions; they are stored as Python's own.

    Args:
        text: a description of the music; None or blank leaves it open.
        timeline: prompts that follow ``text``, as (second, text) in rising order. Each applies from the first frame
            that begins at or after its second.
        negative_text: a text that guidance pushes away from; None pushes away from the null condition. It has no effect
            where the guidance scale is 1.
        long_prompt: what happens to a text longer than the model reads: ``error`` refuses it, ``cut`` keeps its
            beginning up to the end of a word. The result's ``info`` has the text that was used.
        prompt: audio to continue; it becomes the beginning of the result.
        melody: a tune to follow, for melody models; a long one is cut to the length of the result, a short one repeats.
        melody_chroma: the strength of each pitch class, C first, from 0 to 255 in every frame [frames, pitch classes],
            instead of ``melody``.
        melody_part: the part of ``melody`` that has the tune: its ``stems`` without drums and bass, its ``harmonic``
            part, the whole ``mix``, or ``auto``, the first of these that is installed. None uses the part that the
            model was trained on. It has no effect without ``melody``.
        style: audio whose style is imitated, for style models; a few seconds from its middle are used.
        tempo: beats per minute, from 30 to 300, where ``text`` states none. ``auto`` lets a model with tempo as a
            condition choose one that suits the text, with the seed, and on whose beats given chords change, if there is
            such a tempo; ``none`` leaves it open. Nothing is chosen beside a prompt, a melody or a style, which have a
            tempo and a key themselves. ``info`` has what was chosen.
        key: such as ``"F# minor"`` or ``"Bb major"``, where ``text`` states none; else as ``tempo``, but none is chosen
            for given chords.
        chords: chord symbols with the second at which each begins, such as ``"C:0 G:2 Am:4 F:6"``, for models that were
            trained with chords (``conditioning/chords.py`` has the symbols). The last one lasts until the end. ``auto``
            lets such a model choose phrases of chords that return, in the tempo and the key that apply, where it could
            choose these too; ``none``, or None, leaves chords open.
        style_codes: the style as codes [K, L] of this model, instead of ``style``.
        prompt_codes: the prompt as codes [K, T] of this model's codec, instead of ``prompt``. With both, the model
            continues the codes, and the result begins with the audio of ``prompt``: both must be equally long, apart
            from a last frame that the audio does not fill.
        duration_s: length of the result, prompt included. Music longer than the clips that the model was trained on is
            generated in overlapping windows.
        stride_s: how far a window moves on; None is three fifths of its length. A smaller stride keeps more context.
        loop_bars: makes a loop with this number of bars in the tempo that ``text`` or ``tempo`` states, instead
            of ``duration_s``.
        beats_per_bar: of a loop.
        adapters: low-rank adapters (``MusicGen.load_adapter``) that are added to the model for this request, each alone
            or with a strength: ``(adapter, 0.5)``; 1 is what it was trained at.
        seed: the same seed gives the same music; None draws one, which the result's ``info`` records.
        sampling, guidance: None uses the model's defaults.
    """

    text: str | None = None
    timeline: tuple[tuple[float, str], ...] = ()
    negative_text: str | None = None
    long_prompt: Literal["error", "cut"] = "error"
    melody: Clip | None = None
    melody_chroma: Int[Tensor, "frames P"] | None = None
    melody_part: Separation | None = None
    style: Clip | None = None
    style_codes: Int[Tensor, "levels L"] | None = None
    tempo: float | Literal["auto", "none"] = "auto"
    key: str = "auto"
    chords: str | None = "auto"
    prompt: Clip | None = None
    prompt_codes: Int[Tensor, "K T"] | None = None
    duration_s: float = 10.0
    stride_s: float | None = None
    loop_bars: int | None = None
    beats_per_bar: int = 4
    adapters: Adapter | Sequence[Adapter | tuple[Adapter, float]] = ()
    seed: int | None = None
    sampling: Sampling | None = None
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_choice("long_prompt", self.long_prompt, ("error", "cut"))
        self._check_text("text", self.text)
        self._check_text("negative_text", self.negative_text)
        check_tempo_key(self.text, self.tempo, self.key)
        check_number("duration_s", self.duration_s)
        if not 0 < self.duration_s <= MAX_DURATION_S:
            raise InvalidRequest(
                f"duration_s={self.duration_s:g}: must be above 0 and at most {MAX_DURATION_S:g} seconds"
            )
        self._check_timeline()
        self._check_loop()
        if self.stride_s is not None:
            check_number("stride_s", self.stride_s)
            if self.stride_s <= 0:
                raise InvalidRequest(f"stride_s={self.stride_s:g}: must be above 0 seconds")
        if self.seed is not None:
            check_integer("seed", self.seed, 0, MAX_SEED)
        with_strengths(self.adapters)
        self._check_types()
        self._check_times()
        self._check_conditions()
        if self.prompt is not None and self.prompt.duration_s >= self.duration_s:
            raise InvalidRequest(
                f"duration_s={self.duration_s:g}: the prompt alone is {self.prompt.duration_s:g} s long; "
                "ask for more than that, or give a shorter prompt"
            )

    @property
    def stated(self) -> TempoKey:
        """The tempo and the key that ``text``, ``tempo`` and ``key`` state."""
        return stated_tempo_key(self.text, self.tempo, self.key)

    @property
    def given_chords(self) -> str | None:
        """``chords``, unless these are left open."""
        return None if self.chords in OPEN else self.chords

    @property
    def bar_s(self) -> float:
        """Seconds of one bar in the tempo that ``text`` or ``tempo`` states.

        Raises:
            InvalidRequest: neither does, which a loop needs.
        """
        bpm = self.stated.bpm
        if bpm is None:
            raise InvalidRequest(
                f'loop_bars={self.loop_bars}: the text states no tempo; add one, such as "120 bpm", or give tempo=120'
            )
        return self.beats_per_bar * 60 / bpm

    @property
    def result_s(self) -> float:
        """Seconds of the result: ``duration_s``, or the length of the loop's bars."""
        return self.duration_s if self.loop_bars is None else self.loop_bars * self.bar_s

    @property
    def mixture(self) -> tuple[tuple[Adapter, float], ...]:
        """The adapters with their strengths."""
        return with_strengths(self.adapters)

    def _check_text(self, name: str, text: Any) -> None:
        check_string(name, text)
        limit = MAX_CUT_CHARACTERS if self.long_prompt == "cut" else MAX_TEXT_CHARACTERS
        if text is not None and len(text) > limit:
            hint = "" if self.long_prompt == "cut" else "; long_prompt='cut' uses its beginning"
            raise InvalidRequest(f"{name}: {len(text)} characters; at most {limit} are allowed{hint}")

    def _check_timeline(self) -> None:
        sections = as_pairs("timeline", self.timeline)
        if len(sections) > MAX_SECTIONS:
            raise InvalidRequest(f"timeline: {len(sections)} prompts; at most {MAX_SECTIONS} are allowed")
        for second, text in sections:
            check_number("timeline: second", second)
            self._check_text("timeline", text)
        check_rising("timeline", [second for second, _ in sections])
        if sections and sections[-1][0] >= self.duration_s:
            raise InvalidRequest(
                f"timeline: a prompt at second {sections[-1][0]:g}, and the music ends at {self.duration_s:g}; "
                "ask for longer music, or leave the prompt out"
            )
        object.__setattr__(self, "timeline", sections)

    def _check_times(self) -> None:
        """Refuses chords and points of guidance that lie after the end."""
        if self.given_chords is not None:
            self._check_time("chords", parse_chords(self.given_chords)[-1].start_s, "leave out what comes after")
        if self.guidance is not None and self.guidance.schedule:
            self._check_time("guidance.schedule", self.guidance.schedule[-1][0], "give the scale that it ends with")

    def _check_time(self, name: str, second: float, instead: str) -> None:
        if second > self.result_s + END_TOLERANCE_S:
            raise InvalidRequest(
                f"{name}: second {second:g} is after the end of the music, which is {self.result_s:g} s long; "
                f"ask for longer music, or {instead}"
            )

    def _check_loop(self) -> None:
        check_integer("beats_per_bar", self.beats_per_bar, 1, MAX_BEATS_PER_BAR)
        if self.loop_bars is None:
            return
        check_integer("loop_bars", self.loop_bars, 1, MAX_LOOP_BARS)
        if self.timeline or self.prompt is not None or self.prompt_codes is not None:
            raise InvalidRequest("loop_bars: a loop has one text and no prompt; leave out prompts and the timeline")
        if self.result_s > MAX_DURATION_S:
            raise InvalidRequest(
                f"loop_bars={self.loop_bars}: in this tempo that is {self.result_s:g} s; "
                f"at most {MAX_DURATION_S:g} s are possible"
            )

    def _check_types(self) -> None:
        kinds = {"melody": Clip, "style": Clip, "prompt": Clip, "sampling": Sampling, "guidance": Guidance}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                hint = "; Clip.read(...) reads one from a file, Clip(samples, rate) makes one" if kind is Clip else ""
                raise InvalidRequest(f"{name}={value!r:.60}: expected a {kind.__name__} or None{hint}")
        for name, shape in (("prompt_codes", "[K, T]"), ("melody_chroma", "[T, P]"), ("style_codes", "[K, L]")):
            object.__setattr__(self, name, as_integer_matrix(name, getattr(self, name), shape))

    def _check_conditions(self) -> None:
        if self.melody_part is not None:
            check_choice("melody_part", self.melody_part, get_args(Separation))
        for name, instead in (("melody", "melody_chroma"), ("style", "style_codes")):
            if getattr(self, name) is not None and getattr(self, instead) is not None:
                raise InvalidRequest(f"{name}: {instead} is given too, which has the same meaning; give one of them")


def _check_scale(name: str, value: float) -> None:
    check_number(name, value)
    if not 0 <= value <= MAX_GUIDANCE:
        raise InvalidRequest(f"{name}={value:g}: must lie between 0 and {MAX_GUIDANCE:g}")
