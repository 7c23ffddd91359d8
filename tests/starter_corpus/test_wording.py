import random
import re

import pytest
from starter_corpus.facts import Facts, fitting_styles, speed_words

from starter_corpus.instruments import PROGRAMS
from starter_corpus.sketches import SKETCHES
from starter_corpus.styles import STYLES
from starter_corpus.wording import captions

NAMES = sorted({instrument.name for instrument in PROGRAMS.values()}, key=len, reverse=True)


def drawn_facts(seed: int) -> Facts:
    rng = random.Random(seed)
    named = rng.choice([*STYLES, *SKETCHES])
    instruments = rng.sample([i for i in PROGRAMS.values() if i.name != "timpani"], rng.randint(0, 4))
    has_drums = not instruments or rng.random() < 0.5
    return Facts(
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


CASES = [drawn_facts(seed) for seed in range(120)]


def without_style(caption: str, facts: Facts) -> str:
    """The caption less the style's own name, which may hold a number or an instrument (60s rock, piano ballad)."""
    for style in sorted([*fitting_styles(facts), facts.genre], key=len, reverse=True):
        caption = re.sub(re.escape(style), "", caption, flags=re.IGNORECASE)
    return caption


def test_there_are_six_different_captions():
    for facts in CASES:
        made = captions(facts, random.Random(1))
        assert len(set(made)) == len(made) >= (6 if facts.instruments else 4)


def test_every_number_in_a_caption_is_the_tempo_or_the_metre():
    for facts in CASES:
        for caption in captions(facts, random.Random(2)):
            said = without_style(caption, facts).replace(facts.metre, "")
            assert set(re.findall(r"\d+", said)) <= {str(round(facts.bpm))}, caption


def test_a_caption_names_only_instruments_that_are_heard():
    for facts in CASES:
        for caption in captions(facts, random.Random(3)):
            said = without_style(caption, facts).lower()
            for name in NAMES:
                if re.search(rf"\b{name}\b", said):
                    assert any(name in instrument for instrument in facts.instruments), caption
                    said = re.sub(rf"\b{name}\b", "", said)


def test_drums_are_promised_or_denied_only_where_that_is_true():
    for facts in CASES:
        for caption in captions(facts, random.Random(4)):
            said = caption.lower()
            if "no drums" in said or "without drums" in said:
                assert facts.is_drumless, caption
            elif "drums" in without_style(said, facts).replace("steel drums", ""):
                assert facts.has_drums, caption


def test_a_key_in_a_caption_is_the_key():
    for facts in CASES:
        for caption in captions(facts, random.Random(5)):
            assert set(re.findall(r"\b[A-G][#b]? (?:major|minor)", caption)) <= {facts.key}, caption


def test_words_for_the_tempo_agree_with_it():
    for facts in CASES:
        for caption in captions(facts, random.Random(6)):
            said = without_style(caption, facts).lower()
            if re.search(r"\bslow\b", said):
                assert "slow" in speed_words(facts.bpm, facts.metre)
            if re.search(r"\bfast\b", said):
                assert facts.bpm * 1.3 >= 130


@pytest.mark.parametrize(
    ("style", "instruments", "is_kept"),
    [
        ("solo piano", ("piano",), True),
        ("solo piano", ("piano", "flute"), False),
        ("accordion waltz", ("violin",), False),
        ("electric piano bossa nova", ("piano",), False),
        ("gentle duo", ("oboe", "harp"), True),
        ("gentle duo", ("harp",), False),
    ],
)
def test_a_style_that_names_players_is_used_only_with_them(style, instruments, is_kept):
    facts = Facts(
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
    assert (fitting_styles(facts) == (style,)) == is_kept


def test_captions_speak_in_different_lengths():
    lengths = {len(caption.split()) for facts in CASES for caption in captions(facts, random.Random(7))}
    assert min(lengths) <= 2
    assert max(lengths) >= 15
