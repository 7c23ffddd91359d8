import random
import re

import pytest

from starter_corpus.description import PieceDescription, matching_styles, tempo_words
from starter_corpus.instruments import PROGRAMS
from starter_corpus.sketches import SKETCHES
from starter_corpus.styles import STYLES
from starter_corpus.wording import captions

NAMES = sorted({instrument.name for instrument in PROGRAMS.values()}, key=len, reverse=True)


def random_description(seed: int) -> PieceDescription:
    rng = random.Random(seed)
    named = rng.choice([*STYLES, *SKETCHES])
    instruments = rng.sample([i for i in PROGRAMS.values() if i.name != "timpani"], rng.randint(0, 4))
    has_drums = not instruments or rng.random() < 0.5
    return PieceDescription(
        genre=named.genre,
        styles=named.names,
        instruments=tuple(dict.fromkeys(i.name for i in instruments)),
        families=tuple(dict.fromkeys(i.family for i in instruments)),
        moods=("sad", "melancholic"),
        bpm=rng.uniform(50, 180),
        key=rng.choice([None, "A minor", "F# major"]) if instruments else None,
        metre=rng.choice(["4/4", "3/4", "6/8", "2/2"]),
        has_drums=has_drums,
        is_drumless=not has_drums and rng.random() < 0.8,
    )


CASES = [random_description(seed) for seed in range(120)]


def without_style(caption: str, piece: PieceDescription) -> str:
    """The caption without the style's name, which may contain a number or an instrument (60s rock, piano ballad)."""
    for style in sorted([*matching_styles(piece), piece.genre], key=len, reverse=True):
        caption = re.sub(re.escape(style), "", caption, flags=re.IGNORECASE)
    return caption


def test_there_are_six_different_captions():
    for piece in CASES:
        made = captions(piece, random.Random(1))
        assert len(set(made)) == len(made) >= (6 if piece.instruments else 4)


def test_every_number_in_a_caption_is_the_tempo_or_the_metre():
    for piece in CASES:
        for caption in captions(piece, random.Random(2)):
            words = without_style(caption, piece).replace(piece.metre, "")
            assert set(re.findall(r"\d+", words)) <= {str(round(piece.bpm))}, caption


def test_a_caption_names_only_audible_instruments():
    for piece in CASES:
        for caption in captions(piece, random.Random(3)):
            words = without_style(caption, piece).lower()
            for name in NAMES:
                if re.search(rf"\b{name}\b", words):
                    assert any(name in instrument for instrument in piece.instruments), caption
                    words = re.sub(rf"\b{name}\b", "", words)


def test_drums_are_mentioned_or_denied_only_where_that_is_true():
    for piece in CASES:
        for caption in captions(piece, random.Random(4)):
            words = caption.lower()
            if "no drums" in words or "without drums" in words:
                assert piece.is_drumless, caption
            elif "drums" in without_style(words, piece).replace("steel drums", ""):
                assert piece.has_drums, caption


def test_a_key_in_a_caption_is_the_key():
    for piece in CASES:
        for caption in captions(piece, random.Random(5)):
            assert set(re.findall(r"\b[A-G][#b]? (?:major|minor)", caption)) <= {piece.key}, caption


def test_words_for_the_tempo_agree_with_it():
    for piece in CASES:
        for caption in captions(piece, random.Random(6)):
            words = without_style(caption, piece).lower()
            if re.search(r"\bslow\b", words):
                assert "slow" in tempo_words(piece.bpm, piece.metre)
            if re.search(r"\bfast\b", words):
                assert piece.bpm * 1.3 >= 130


@pytest.mark.parametrize(
    ("style", "instruments", "matches"),
    [
        ("solo piano", ("piano",), True),
        ("solo piano", ("piano", "flute"), False),
        ("accordion waltz", ("violin",), False),
        ("electric piano bossa nova", ("piano",), False),
        ("gentle duo", ("oboe", "harp"), True),
        ("gentle duo", ("harp",), False),
    ],
)
def test_a_style_that_names_instruments_is_used_only_with_them(style, instruments, matches):
    piece = PieceDescription(
        genre="classical",
        styles=(style,),
        instruments=instruments,
        families=(),
        moods=(),
        bpm=100.0,
        key=None,
        metre="4/4",
        has_drums=False,
        is_drumless=True,
    )
    assert (matching_styles(piece) == (style,)) == matches


def test_captions_have_different_lengths():
    lengths = {len(caption.split()) for piece in CASES for caption in captions(piece, random.Random(7))}
    assert min(lengths) <= 2
    assert max(lengths) >= 15
