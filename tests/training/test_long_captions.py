import pytest
import torch

from descant.conditioning.base import Embedding
from descant.data.captions import CaptionConfig
from descant.data.shards import TokenizedClip
from descant.errors import InvalidRequest
from descant.training.long_captions import MAX_NOTES, CaptionReader


class ThreeHundredLetters:
    """Stands for a model whose encoder reads 300 letters, and no NUL."""

    def __init__(self):
        self.seen = []

    def read(self, texts):
        for text in texts:
            if text is not None and (len(text) > 300 or "\0" in text):
                raise InvalidRequest(f"text has {len(text)} tokens: this encoder reads up to 300; shorten it")
        self.seen = list(texts)
        return Embedding(torch.zeros(len(texts), 1, 2), torch.zeros(len(texts), 1, dtype=torch.bool))


def clip(name, *captions, **tags):
    return TokenizedClip(id=name, start_frame=0, num_frames=1, split="train", captions=captions, tags=tags)


def read(texts):
    model, notes = ThreeHundredLetters(), []
    CaptionReader(model.read, notes.append).read(texts, [clip(f"{number}.wav") for number in range(len(texts))])
    return model.seen, notes


def test_captions_that_fit_are_read_as_they_are():
    texts = ["a drum", None, "x" * 300]
    assert read(texts) == (texts, [])


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("drum " * 200, ("drum " * 60).strip()),
        ("z" * 5_000, "z" * 300),
        ("a drum \0 roll", "a drum"),
        ("\0", None),
    ],
)
def test_of_a_longer_one_the_words_that_fit_are_read_and_its_clip_is_named(text, beginning):
    seen, notes = read(["a flute", text, "x" * 250])
    assert seen == ["a flute", beginning, "x" * 250]
    assert len(notes) == 1
    assert notes[0].startswith("clip '1.wav': text has")


def test_a_note_is_given_of_the_first_clips_only_and_once():
    model, notes = ThreeHundredLetters(), []
    reader = CaptionReader(model.read, notes.append)
    clips = [clip(f"{number}.wav") for number in range(9)]
    for _ in range(2):
        reader.read(["y" * 400] * 9, clips)
    assert len(notes) == MAX_NOTES


def test_long_captions_are_named_before_the_run():
    clips = [
        clip("short.wav", "a drum", bpm=120),
        clip("long.wav", "a drum", "drum " * 100),
        clip("tags.wav", "d" * 280, genre="folk" * 6),
        *(clip(f"{number}.wav", "x" * 301) for number in range(6)),
    ]
    notes = []
    reader = CaptionReader(ThreeHundredLetters().read, notes.append)
    assert reader.name_long_ones(clips, CaptionConfig()) == 8
    assert [note.split(":")[0] for note in notes[:3]] == ["clip 'long.wav'", "clip 'tags.wav'", "clip '0.wav'"]
    assert notes[-1] == "and so it is with 3 more of the 9 clips"
    assert reader.name_long_ones(clips, CaptionConfig(merge_probability=0.0)) == 7
