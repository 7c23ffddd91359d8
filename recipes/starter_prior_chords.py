"""The part of the starter's prior that chooses chords, fitted by ``recipes/starter_prior.py``."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.conditioning.chord_prior import NUM_FEATURES, ChordPrior, features_of
from descant.conditioning.chords import ChordTrack, parse_chords
from descant.conditioning.song_form import bars_of, period_of, transposed
from descant.data.manifest import ClipRecord
from descant.tempo_key import beats_per_bar, parse_key

Minimise = Callable[[Callable[..., Tensor], Sequence[tuple[int, ...]], float], list[Tensor]]

PHRASE_BARS = (4, 8, 12)
MIN_PIECES = 4
"""A phrase of fewer pieces is left out."""
PHRASE_RIDGE, CHORDS_RIDGE = 10.0, 1.0
UNPITCHED = ("drumming", "percussion", "beatbox", "drumbeat", "noise", "drone", "rain", "wind", "birdsong", "applause")
"""Words that the corpus hardly has, for sounds without chords."""
UNPITCHED_WEIGHT = -6.0
DRUM_PATTERNS = {"beat"}
"""In the captions of the corpus it is said of drums alone, in prompts of whole backings."""
DIGITS = 2


@dataclass(frozen=True)
class PhraseExamples:
    """One row for each caption of a piece and each phrase of its form.

    Args:
        phrases: indices into the table of major and then of minor phrases.
    """

    words: Float[Tensor, "N words"]
    phrases: Int[Tensor, " N"]
    is_minor: Bool[Tensor, " N"]


def fit_chords(
    records: Sequence[ClipRecord],
    words: Sequence[str],
    rows_of: Callable[[Sequence[str]], Float[Tensor, "N words"]],
    minimise: Minimise,
) -> ChordPrior:
    """The prior over chords that fits the captions of these clips best.

    Args:
        words: those that get weights.
        rows_of: which of the words each caption has.
    """
    found = [(record, phrases_of(record)) for record in records]
    counts = Counter((is_minor, phrase) for _, phrases in found for phrase, is_minor in phrases)
    table = sorted(key for key, count in counts.items() if count >= MIN_PIECES)
    examples = _examples(found, {phrase: index for index, phrase in enumerate(table)}, rows_of)
    features = torch.tensor([features_of(phrase) for _, phrase in table])
    in_minor = torch.tensor([is_minor for is_minor, _ in table])

    def phrase_loss(base: Tensor, of_words: Tensor) -> Tensor:
        logits = base + examples.words @ of_words @ features.T
        return F.cross_entropy(logits.masked_fill(examples.is_minor[:, None] != in_minor, -math.inf), examples.phrases)

    captions = rows_of([caption for record in records for caption in record.captions])
    has_chords = torch.tensor([float("chords" in record.tags) for record in records for _ in record.captions])

    def chords_loss(base: Tensor, of_words: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits((base + captions @ of_words)[:, 0], has_chords)

    shapes = [(len(table),), (len(words), NUM_FEATURES)]
    base, of_features = minimise(phrase_loss, shapes, PHRASE_RIDGE / len(examples.phrases))
    chords, of_chords = minimise(chords_loss, [(1,), (len(words), 1)], CHORDS_RIDGE / len(has_chords))
    weights = torch.cat([of_features, of_chords], dim=1).tolist()
    by_phrase = {key: round(weight, DIGITS) for key, weight in zip(table, base.tolist(), strict=True)}
    return ChordPrior(
        major={phrase: weight for (is_minor, phrase), weight in by_phrase.items() if not is_minor},
        minor={phrase: weight for (is_minor, phrase), weight in by_phrase.items() if is_minor},
        chords_weight=round(chords.item(), DIGITS),
        words={word: [round(value, DIGITS) for value in row] for word, row in zip(words, weights, strict=True)},
    )


def chords_surprise(prior: ChordPrior, text: str, record: ClipRecord) -> float:
    """The surprise in nats at whether a clip has chords."""
    share = prior.chords_probability(text)
    return -math.log(share if "chords" in record.tags else 1 - share)


def phrase_surprises(prior: ChordPrior, text: str, record: ClipRecord) -> list[float]:
    """The surprise in nats at each phrase of a clip that the prior knows."""
    found = []
    for phrase, is_minor in phrases_of(record):
        table = prior.minor if is_minor else prior.major
        if phrase in table:
            shares = prior.phrase_distribution(text, list(table), list(table.values()), bar_s=0.0)
            found.append(-math.log(shares[list(table).index(phrase)]))
    return found


def phrases_of(record: ClipRecord) -> list[tuple[str, bool]]:
    """The phrase of each section letter of a clip, in C, and whether its mode is minor; phrases of one chord and others
    that the prior does not have are left out."""
    tags = record.tags
    key = None if tags.get("key") is None else parse_key(tags["key"])
    if key is None or "chords" not in tags or "sections" not in tags:
        return []
    bar_s = beats_per_bar(tags["metre"]) * 60 / tags["bpm"]
    starts = [word.rpartition(":") for word in tags["sections"].split()]
    bounds = [round((float(second) - tags["first_bar_s"]) / bar_s) for _, _, second in starts]
    num_bars = round((record.duration_s - tags["first_bar_s"]) / bar_s)
    bars = _bars(parse_chords(tags["chords"]), tags["first_bar_s"], bar_s, num_bars, key)
    lengths = [end - begin for begin, end in pairwise(bounds)] or [_loop_bars(bars)]
    by_letter: dict[str, str] = {}
    for (letter, _, _), begin in zip(starts, bounds, strict=True):
        phrase = "|".join(bars[begin : begin + lengths[0]])
        if lengths[0] in PHRASE_BARS and begin + lengths[0] <= len(bars) and _is_usable(phrase):
            by_letter.setdefault(letter, phrase)
    return [(phrase, key >= 12) for phrase in by_letter.values()]


def _bars(track: ChordTrack, first_bar_s: float, bar_s: float, num_bars: int, key: int) -> list[str]:
    """The chords of each bar in C; the second chord of a bar is the one at three quarters of it."""
    found = []
    for number in range(num_bars):
        moments = [first_bar_s + (number + share) * bar_s for share in (0.05, 0.75)]
        chords = [[chord.symbol for chord in track if chord.start_s <= moment] or ["N"] for moment in moments]
        symbols = dict.fromkeys(transposed(names[-1], -key % 12) if names[-1] != "N" else "N" for names in chords)
        found.append(" ".join(symbols))
    return found


def _loop_bars(bars: Sequence[str]) -> int:
    """The bars of a piece of one section that are a phrase: what it repeats, four of them at least."""
    period = next((length for length in (1, 2, 4, 8) if list(bars[length:-1]) == list(bars[: -length - 1])), 12)
    return max(period, PHRASE_BARS[0])


def _is_usable(phrase: str) -> bool:
    return "N" not in phrase and period_of(bars_of(phrase)) > 1


def _examples(
    found: Sequence[tuple[ClipRecord, list[tuple[str, bool]]]],
    index: dict[tuple[bool, str], int],
    rows_of: Callable[[Sequence[str]], Float[Tensor, "N words"]],
) -> PhraseExamples:
    rows = [
        (caption, index[is_minor, phrase], is_minor)
        for record, phrases in found
        for phrase, is_minor in phrases
        if (is_minor, phrase) in index
        for caption in record.captions
    ]
    captions, phrases, modes = zip(*rows, strict=True)
    return PhraseExamples(rows_of(captions), torch.tensor(phrases), torch.tensor(modes))
