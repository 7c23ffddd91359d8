"""Fits the starter's prior over tempo, key, metre and chords: ``python recipes/starter_prior.py MANIFEST [TARGET]``.

MANIFEST is that of a corpus whose clips have captions and tags for tempo, key, metre and perhaps chords and sections:
of ``python -m starter_corpus render`` or, without audio, of ``python -m starter_corpus captions``. TARGET is the
model's folder, by default that of the package. The clips of the split ``valid`` are left out, and the fit is reported
on them.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from starter_prior_chords import (
    DRUM_PATTERNS,
    UNPITCHED,
    UNPITCHED_WEIGHT,
    chords_surprise,
    fit_chords,
    phrase_surprises,
)
from torch import Tensor
from torch.nn import functional as F

from descant.checkpoints.native import starter_folder
from descant.checkpoints.prior_file import PRIOR, write_prior
from descant.conditioning.chord_prior import NUM_FEATURES
from descant.conditioning.prior import Prior
from descant.conditioning.tempo_key_prior import TempoKeyPrior, tempo_features, words_of
from descant.data.manifest import ClipRecord, Split, read_manifest
from descant.tempo_key import NUM_KEYS, parse_key

FRAMES_PER_MINUTE = 3_000
TEMPI_BPM = tuple(sorted({float(round(FRAMES_PER_MINUTE / frames)) for frames in range(16, 68)}))
"""Those whose beat is a whole number of frames of 20 ms, rounded as captions state them: the corpus has them most."""
MIN_CAPTIONS = 12
"""A word of fewer captions says more about those clips than about the word."""
FUNCTION_WORDS = {
    *("a", "an", "and", "around", "at", "by", "featuring", "for", "in", "instruments", "is", "it", "its", "of", "on"),
    *("played", "playing", "tempo", "the", "time", "to", "with"),
}
"""They belong to the form of a caption and say nothing of the music."""
TEMPO_RIDGE, METRE_RIDGE, MINOR_RIDGE = 0.3, 10.0, 1.0
"""The precision of the weights' normal prior, in captions."""
SMOOTHNESS = 1.0
SMOOTHED_TONIC = 50.0
DIGITS = 2

SYNONYMS = {
    "slow": "slowly lento adagio sluggish languid unhurried lazy",
    "fast": "faster quick quickly rapid brisk frantic frenetic hectic allegro presto vivace racing speedy",
    "mid-tempo": "midtempo andante",
    "moderate": "moderately moderato",
    "up-tempo": "uptempo",
    "energetic": "energy powerful intense",
    "lively": "bouncy animated",
    "calm": "calming quiet tranquil serene meditative",
    "relaxed": "relaxing chill chilled mellow",
    "gentle": "soft gently softly",
    "sad": "sadly sorrowful mournful tragic somber sombre tearful heartbroken lonely",
    "melancholic": "melancholy nostalgic bittersweet",
    "brooding": "gloomy ominous sinister eerie scary tense haunting mysterious",
    "happy": "happily joyful joyous merry glad",
    "cheerful": "cheery uplifting carefree optimistic",
    "solemn": "mourning funeral",
    "soothing": "sleep bedtime",
    "violin": "fiddle",
    "metal": "thrash",
}
"""Words that the corpus hardly has, by the word of the corpus whose weights they get."""


@dataclass(frozen=True)
class Examples:
    """One row for each caption.

    Args:
        keys: as in ``TempoKey``; -1 where the clip has none.
    """

    words: Float[Tensor, "N words"]
    tempi: Int[Tensor, " N"]
    metres: Int[Tensor, " N"]
    keys: Int[Tensor, " N"]


def fit(records: Sequence[ClipRecord]) -> Prior:
    """The prior that fits the captions of these clips best, with its weights drawn towards 0."""
    counts = Counter(word for record in records for caption in record.captions for word in words_of(caption))
    words = [word for word in sorted(counts.keys() - FUNCTION_WORDS) if counts[word] >= MIN_CAPTIONS]
    for_chords = [word for word in words if word not in DRUM_PATTERNS]
    chords = fit_chords(records, for_chords, lambda captions: word_rows(captions, for_chords), minimise)
    synonyms = {word: chords.words[known] for word, known in same_words(chords.words).items()}
    unpitched = {word: [*[0.0] * NUM_FEATURES, UNPITCHED_WEIGHT] for word in UNPITCHED}
    chords = replace(chords, words=dict(sorted({**synonyms, **chords.words, **unpitched}.items())))
    return Prior(tempo_key=fit_tempo_key(records, words), chords=chords)


def same_words(known: Collection[str]) -> dict[str, str]:
    """For each synonym of a known word that word."""
    return {name: word for word, names in SYNONYMS.items() if word in known for name in names.split()}


def fit_tempo_key(records: Sequence[ClipRecord], words: Sequence[str]) -> TempoKeyPrior:
    """The prior over tempo, key and metre, with weights for these words."""
    metres = [metre for metre, _ in Counter(record.tags["metre"] for record in records).most_common()]
    examples = examples_of(records, words, metres)
    features = torch.from_numpy(tempo_features(TEMPI_BPM)).float()

    def tempo_loss(base: Tensor, of_words: Tensor, of_metres: Tensor) -> Tensor:
        logits = base + (examples.words @ of_words + of_metres[examples.metres]) @ features.T
        return F.cross_entropy(logits, examples.tempi) + SMOOTHNESS * base.diff(n=2).square().mean()

    def metre_loss(base: Tensor, of_words: Tensor) -> Tensor:
        return F.cross_entropy(base + examples.words @ of_words, examples.metres)

    has_key = examples.keys >= 0
    is_minor = (examples.keys[has_key] >= 12).float()

    def minor_loss(base: Tensor, of_words: Tensor) -> Tensor:
        logits = base + examples.words[has_key] @ of_words
        return F.binary_cross_entropy_with_logits(logits[:, 0], is_minor)

    num_words, num_metres, num_examples = len(words), len(metres), len(examples.words)
    tempo, of_tempo, metre_tempo = minimise(
        tempo_loss, [(len(TEMPI_BPM),), (num_words, 2), (num_metres, 2)], TEMPO_RIDGE / num_examples
    )
    metre, of_metre = minimise(metre_loss, [(num_metres,), (num_words, num_metres)], METRE_RIDGE / num_examples)
    minor, of_minor = minimise(minor_loss, [(1,), (num_words, 1)], MINOR_RIDGE / num_examples)
    table = torch.cat([of_tempo, of_minor, of_metre], dim=1).tolist()
    weights = {word: _rounded(row) for word, row in zip(words, table, strict=True)}
    synonyms = {name: weights[word] for name, word in same_words(weights).items()}
    return TempoKeyPrior(
        tempi_bpm=TEMPI_BPM,
        tempo_weights=tuple(_rounded(tempo.tolist())),
        metres=tuple(metres),
        metre_weights=tuple(_rounded(metre.tolist())),
        metre_tempo_weights=tuple((round(a, DIGITS), round(b, DIGITS)) for a, b in metre_tempo.tolist()),
        minor_weight=round(minor.item(), DIGITS),
        key_weights=tuple(_key_weights(examples.keys[has_key])),
        words=dict(sorted({**synonyms, **weights}.items())),
    )


def examples_of(records: Sequence[ClipRecord], words: Sequence[str], metres: Sequence[str]) -> Examples:
    """The captions of these clips as rows; metres that are not among ``metres`` are left out."""
    clips = [record for record in records if record.tags["metre"] in metres]
    captions = [(record.tags, caption) for record in clips for caption in record.captions]
    log_tempi = torch.tensor(TEMPI_BPM).log()
    return Examples(
        words=word_rows([caption for _, caption in captions], words),
        tempi=torch.tensor([int((log_tempi - math.log(tags["bpm"])).abs().argmin()) for tags, _ in captions]),
        metres=torch.tensor([metres.index(tags["metre"]) for tags, _ in captions]),
        keys=torch.tensor([-1 if tags["key"] is None else _key(tags["key"]) for tags, _ in captions]),
    )


def word_rows(captions: Sequence[str], words: Sequence[str]) -> Float[Tensor, "N words"]:
    """Ones where a caption has a word, zeros elsewhere."""
    column = {word: index for index, word in enumerate(words)}
    rows = torch.zeros(len(captions), len(words))
    for row, caption in zip(rows, captions, strict=True):
        row[[column[word] for word in words_of(caption) if word in column]] = 1
    return rows


def minimise(loss: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]], ridge: float) -> list[Tensor]:
    """The tensors with the least loss; all but the first are drawn towards 0."""
    tensors = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    optimizer = torch.optim.LBFGS(tensors, max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        size = torch.stack([tensor.square().sum() for tensor in tensors[1:]]).sum()
        total = loss(*tensors) + ridge * size
        total.backward()
        return total

    optimizer.step(closure)
    return [tensor.detach() for tensor in tensors]


def report(prior: Prior, records: Sequence[ClipRecord]) -> str:
    """The prior's mean surprise in nats at what clips have, and without any words."""
    assert prior.chords is not None
    tempo_key, lines = prior.tempo_key, []
    for name, with_words in (("with words", True), ("without", False)):
        surprise: dict[str, list[float]] = {"tempo": [], "metre": [], "mode": [], "chords": [], "phrase": []}
        for record in records:
            for caption in record.captions:
                text, metre = caption if with_words else "", record.tags["metre"]
                nearest = min(range(len(TEMPI_BPM)), key=lambda i: abs(math.log(TEMPI_BPM[i] / record.tags["bpm"])))
                surprise["tempo"].append(-math.log(tempo_key.tempo_distribution(text, metre)[nearest]))
                if metre in tempo_key.metres:
                    share = tempo_key.metre_distribution(text)[tempo_key.metres.index(metre)]
                    surprise["metre"].append(-math.log(share))
                if record.tags["key"] is not None:
                    minor = tempo_key.minor_probability(text)
                    surprise["mode"].append(-math.log(minor if _key(record.tags["key"]) >= 12 else 1 - minor))
                surprise["chords"].append(chords_surprise(prior.chords, text, record))
                surprise["phrase"] += phrase_surprises(prior.chords, text, record)
        means = ", ".join(f"{of} {sum(values) / len(values):.3f}" for of, values in surprise.items() if values)
        lines.append(f"{name}: {means}")
    return "\n".join(lines)


def _key_weights(keys: Int[Tensor, " N"]) -> list[float]:
    """Log-frequencies, drawn towards equal ones: the tonics of the corpus are nearly so."""
    return _rounded((torch.bincount(keys, minlength=NUM_KEYS) + SMOOTHED_TONIC).log().tolist())


def _key(name: str) -> int:
    key = parse_key(name)
    assert key is not None, name
    return key


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, DIGITS) for value in values]


def main(manifest: Path, target: Path) -> None:
    """Fits the prior, writes it into a model's folder, and reports on the clips held out."""

    def described(split: Split) -> list[ClipRecord]:
        return [record for record in read_manifest(manifest, split) if {"bpm", "key", "metre"} <= set(record.tags)]

    prior = fit(described("train"))
    write_prior(prior, target)
    print(f"{target / PRIOR}: {len(prior.tempo_key.words)} words\n{report(prior, described('valid'))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else starter_folder())
