import pytest

from descant.data.captions import CaptionConfig
from descant.data.shards import TokenizedClip
from descant.training.long_captions import MAX_NOTES, CaptionCutter

LIMITS = [(300, len)]
"""As if of an encoder that reads 300 letters."""


def clip(name, *captions, **tags):
    return TokenizedClip(id=name, start_frame=0, num_frames=1, split="train", captions=captions, tags=tags)


def cut(texts):
    notes = []
    cutter = CaptionCutter(LIMITS, notes.append)
    return cutter.cut(texts, [clip(f"{number}.wav") for number in range(len(texts))]), notes


def test_captions_that_fit_are_unchanged():
    texts = ["a drum", None, "x" * 300]
    assert cut(texts) == (texts, [])


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("drum " * 200, ("drum " * 60).strip()),
        ("z" * 5_000, "z" * 300),
        ("a drum \0 roll", "a drum"),
        ("\0", None),
    ],
)
def test_a_long_caption_is_cut_to_the_words_that_fit_and_its_clip_is_named(text, beginning):
    captions, notes = cut(["a flute", text, "x" * 250])
    assert captions == ["a flute", beginning, "x" * 250]
    assert len(notes) == 1
    assert notes[0].startswith("clip '1.wav': text has")


def test_there_is_one_note_for_each_of_the_first_clips_only():
    notes = []
    cutter = CaptionCutter(LIMITS, notes.append)
    clips = [clip(f"{number}.wav") for number in range(9)]
    for _ in range(2):
        cutter.cut(["y" * 400] * 9, clips)
    assert len(notes) == MAX_NOTES


def test_long_captions_are_named_before_the_run():
    clips = [
        clip("short.wav", "a drum", bpm=120),
        clip("long.wav", "a drum", "drum " * 100),
        clip("tags.wav", "d" * 280, genre="folk" * 6),
        *(clip(f"{number}.wav", "x" * 301) for number in range(6)),
    ]
    notes = []
    cutter = CaptionCutter(LIMITS, notes.append)
    assert cutter.name_long_ones(clips, CaptionConfig()) == 8
    assert [note.split(":")[0] for note in notes[:3]] == ["clip 'long.wav'", "clip 'tags.wav'", "clip '0.wav'"]
    assert notes[-1] == "the same applies to 3 more of the 9 clips"
    assert cutter.name_long_ones(clips, CaptionConfig(merge_probability=0.0)) == 7
