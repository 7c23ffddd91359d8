"""One piece of the corpus: from its index to audio and metadata."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from descant.errors import DataError
from starter_corpus.arrangement import Arrangement
from starter_corpus.band import BandPlan, arrange_band, plan_band
from starter_corpus.chorales import ChoralePlan, arrange_chorale, plan_chorale
from starter_corpus.description import PieceDescription, matching_styles
from starter_corpus.folk import FolkPlan, arrange_folk, plan_folk
from starter_corpus.instruments import DRUMS, instrument_of
from starter_corpus.labels import label_tags
from starter_corpus.render import Mix, Synthesizer, mix
from starter_corpus.score import SAMPLE_RATE_HZ
from starter_corpus.sketches import SketchPlan, arrange_sketch, plan_sketch
from starter_corpus.sounds import draw_room, draw_sounds
from starter_corpus.wording import captions

_KIND_SHARES = {"band": 0.6, "tune": 0.17, "sketch": 0.19, "chorale": 0.04}
_MAX_ATTEMPTS = 8
_AUDIBLE_SHARE = 0.8

Plan = BandPlan | FolkPlan | SketchPlan | ChoralePlan


@dataclass(frozen=True, kw_only=True)
class CorpusPiece:
    """A finished piece: mono samples at 32 kHz and its manifest record, path and split included."""

    samples: np.ndarray
    record: dict[str, Any]


def plan_piece(seed: int, index: int, attempt: int = 0) -> Plan:
    """The plan of piece ``index``; another one for each attempt, since some fail (a tune that does not parse)."""
    rng = random.Random(f"descant starter {seed} {index} {attempt}")
    kind = rng.choices(list(_KIND_SHARES), list(_KIND_SHARES.values()))[0]
    planners: dict[str, Callable[[random.Random], Plan]] = {
        "band": plan_band,
        "tune": plan_folk,
        "sketch": plan_sketch,
        "chorale": plan_chorale,
    }
    return planners[kind](rng)


def planned_duration_s(plan: Plan) -> float:
    """The duration of the piece, known before it is made."""
    return plan.num_beats * plan.tempo.samples_per_beat / SAMPLE_RATE_HZ


def _arrange(plan: Plan) -> Arrangement:
    if isinstance(plan, BandPlan):
        return arrange_band(plan)
    if isinstance(plan, FolkPlan):
        return arrange_folk(plan)
    if isinstance(plan, SketchPlan):
        return arrange_sketch(plan)
    return arrange_chorale(plan)


def make_piece(synthesizer: Synthesizer, seed: int, index: int) -> CorpusPiece:
    """Piece ``index`` of the corpus, rendered and described.

    Raises:
        MissingExtra: if a program or package of the recipe is not installed.
        DataError: if eight plans in a row fail.
    """
    failures = []
    for attempt in range(_MAX_ATTEMPTS):
        plan = plan_piece(seed, index, attempt)
        rng = random.Random(f"descant starter mix {seed} {index} {attempt}")
        try:
            arrangement = _arrange(plan)
            score = replace(arrangement.score, parts=draw_sounds(arrangement.score.parts, arrangement.genre, rng))
            offsets = [rng.uniform(-2.5, 1.5) for _ in score.parts]
            room = draw_room(rng, arrangement.genre)
            mixed = mix(score, synthesizer.play(score), offsets, room)
            words = random.Random(f"descant starter words {seed} {index} {attempt}")
            record = _record_of_audio(index, plan, arrangement, mixed, words)
        except DataError as error:
            failures.append(str(error))
            continue
        return CorpusPiece(samples=mixed.samples, record=record)
    raise DataError(f"piece {index} of seed {seed}: {_MAX_ATTEMPTS} plans failed, the last one: {failures[-1]}")


def caption_piece(seed: int, index: int) -> dict[str, Any]:
    """The manifest record of piece ``index`` as if it were rendered, and each of its parts audible throughout.

    Its captions are those of the rendered piece, but for instruments that cannot be heard there.

    Raises:
        MissingExtra, DataError: as ``make_piece``.
    """
    failures = []
    for attempt in range(_MAX_ATTEMPTS):
        plan = plan_piece(seed, index, attempt)
        try:
            arrangement = _arrange(plan)
            piece = describe(arrangement, [1.0] * len(arrangement.score.parts))
            words = random.Random(f"descant starter words {seed} {index} {attempt}")
            return _record(index, plan, arrangement, piece, planned_duration_s(plan), words)
        except DataError as error:
            failures.append(str(error))
    raise DataError(f"piece {index} of seed {seed}: {_MAX_ATTEMPTS} plans failed, the last one: {failures[-1]}")


def _record_of_audio(
    index: int, plan: Plan, arrangement: Arrangement, mixed: Mix, words: random.Random
) -> dict[str, Any]:
    """The manifest record of a rendered piece, from its audible parts."""
    piece = describe(arrangement, mixed.audible_shares)
    if np.abs(mixed.samples[: SAMPLE_RATE_HZ // 2]).max() < 0.01:
        raise DataError(f"{arrangement.source} begins with silence")
    return _record(index, plan, arrangement, piece, len(mixed.samples) / SAMPLE_RATE_HZ, words)


def _record(
    index: int,
    plan: Plan,
    arrangement: Arrangement,
    piece: PieceDescription,
    duration_s: float,
    words: random.Random,
) -> dict[str, Any]:
    """The manifest record of a piece."""
    if not piece.instruments and not piece.has_drums:
        raise DataError(f"no instrument of {arrangement.source} is audible throughout")
    families = [*piece.families, *([DRUMS.family] if piece.has_drums else [])]
    return {
        "path": f"audio/{index // 1000:05d}/{index:06d}.wav",
        "duration_s": duration_s,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "num_channels": 1,
        "split": plan.split,
        "captions": list(captions(piece, words)),
        "tags": {
            "genre": piece.genre,
            "style": matching_styles(piece)[0],
            "instrument": [*piece.instruments, *([DRUMS.name] if piece.has_drums else [])],
            "instrument_family": list(dict.fromkeys(families)),
            "moods": list(piece.moods),
            "bpm": round(piece.bpm, 3),
            "key": piece.key,
            "metre": piece.metre,
            "has_drums": piece.has_drums,
            "beat_locked": arrangement.tempo.is_locked,
            "source": arrangement.source,
            "title": arrangement.title,
            **label_tags(arrangement.labels, arrangement.tempo.samples_per_beat),
        },
    }


_ROLE_ORDER = ("lead", "arpeggio", "chords", "pad", "bass")


def describe(arrangement: Arrangement, audible_shares: Sequence[float]) -> PieceDescription:
    """What captions may say of a piece: its instruments are those audible in at least 80 % of the 10 s crops.

    Args:
        audible_shares: of each part, as ``Mix`` has them.
    """
    parts = arrangement.score.parts
    audible = [part for part, share in zip(parts, audible_shares, strict=True) if share >= _AUDIBLE_SHARE]
    melodic = sorted((part for part in audible if not part.is_drums), key=lambda part: _ROLE_ORDER.index(part.role))
    instruments = [instrument_of(part.program) for part in melodic]
    named = [instrument for instrument in instruments if instrument is not None]
    return PieceDescription(
        genre=arrangement.genre,
        styles=arrangement.styles,
        instruments=tuple(dict.fromkeys(instrument.name for instrument in named)),
        families=tuple(dict.fromkeys(instrument.family for instrument in named)),
        moods=arrangement.moods,
        bpm=arrangement.tempo.bpm,
        key=arrangement.key,
        metre=arrangement.metre,
        has_drums=any(part.is_drums for part in audible),
        is_drumless=not any(part.is_drums for part in parts),
    )
