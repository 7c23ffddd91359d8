import random
from collections import Counter
from pathlib import Path

import pytest

from descant.data.captions import CaptionConfig, caption, plain_caption, tag_text
from descant.data.manifest import ClipRecord
from descant.errors import ConfigError

TAGS = {"key": "C major", "bpm": 120.0, "genre": "Lo-Fi", "moods": ["calm", "warm"], "source": "never used"}


def record(*captions: str, **tags) -> ClipRecord:
    return ClipRecord(
        path=Path("a.wav"), duration_s=1.0, sample_rate_hz=8000, num_channels=1, captions=captions, tags=tags
    )


def draws(clip: ClipRecord, count: int = 400, **settings) -> list[str | None]:
    config = CaptionConfig(**settings)
    return [caption(clip, config, random.Random(seed)) for seed in range(count)]


def test_without_augmentation_a_description_is_used_verbatim():
    """audiocraft puts a full stop behind every description as soon as merging is possible at all."""
    assert set(draws(record("A  piano; slow"), merge_probability=0.0, word_dropout=0.0)) == {"A  piano; slow"}
    never_merged = draws(record("A piano", **TAGS), keep_field_probability=0.0, merge_probability=1.0, word_dropout=0.0)
    assert set(never_merged) == {"A piano"}


def test_a_clip_without_captions_and_tags_has_the_null_condition():
    assert set(draws(record())) == {None}
    assert set(draws(record(" ", "\n"))) == {None}
    assert set(draws(record(source="a disc"), merge_probability=1.0)) == {None}


def test_a_clip_with_tags_alone_is_described_by_them_every_time():
    """The tags in the files of a folder of songs were drawn for a quarter of the crops; the others had no words."""
    tagged = record(**TAGS)
    texts = draws(tagged, word_dropout=0.0, keep_field_probability=1.0)
    assert all(text is not None and len(text.split(". ")) == 4 for text in texts)
    some = draws(tagged, word_dropout=0.0)
    assert sum(text is None for text in some) / len(some) == pytest.approx(1 / 16, abs=0.04)


def test_a_plain_caption_is_the_first_description_or_all_tags():
    config = CaptionConfig()
    assert plain_caption(record(" ", "A piano", "A flute", **TAGS), config) == "A piano"
    assert plain_caption(record(**TAGS), config) == "key: C major. bpm: 120. genre: lo-fi. moods: calm, warm"
    assert plain_caption(record(source="a disc"), config) is None


def test_all_captions_are_used():
    counts = Counter(draws(record("one", "two", "three"), merge_probability=0.0, word_dropout=0.0))
    assert set(counts) == {"one", "two", "three"}
    assert min(counts.values()) > 90


def test_the_probabilities_are_what_they_are_called():
    texts = draws(record("A piano.", **TAGS), count=4000, word_dropout=0.0, keep_field_probability=0.5)
    merged = [text for text in texts if text != "A piano."]
    # A quarter is merged, of which one in 16 has no tag left.
    assert len(merged) / len(texts) == pytest.approx(0.25 * 15 / 16, abs=0.02)
    assert sum("piano" in text for text in merged) / len(merged) == pytest.approx(0.5, abs=0.05)
    assert sum("bpm: 120" in text for text in merged) / len(merged) == pytest.approx(8 / 15, abs=0.05)


def test_tags_follow_the_description_in_any_order():
    texts = draws(
        record("A piano.", **TAGS),
        merge_probability=1.0,
        keep_field_probability=1.0,
        drop_description_probability=0.0,
        word_dropout=0.0,
    )
    assert len(set(texts)) == 24
    fields = {"key: C major", "bpm: 120", "genre: lo-fi", "moods: calm, warm"}
    assert all(set(text.removeprefix("A piano. ").split(". ")) == fields for text in texts)


def test_an_uncertain_key_and_empty_tags_are_left_out():
    config = CaptionConfig(keep_field_probability=1.0)
    tags = {"key": "C major, A minor", "bpm": None, "moods": [], "instrument": "Flute"}
    assert tag_text(tags, config, random.Random(0)) == "instrument: flute"


def test_words_are_dropped_but_never_all():
    words = " ".join(str(number) for number in range(1000))
    (text,) = draws(record(words), count=1, merge_probability=0.0)
    assert len(text.split()) == pytest.approx(700, abs=50)
    assert set(draws(record("a b"), word_dropout=1.0, merge_probability=0.0)) == {"a", "b"}


def test_a_caption_is_a_function_of_its_generator():
    clip = record("one two three four", "five six seven", **TAGS)
    assert draws(clip) == draws(clip)


def test_a_probability_beyond_one_is_refused():
    with pytest.raises(ConfigError, match="word_dropout"):
        CaptionConfig(word_dropout=30.0)
