import dataclasses
from pathlib import Path

import pytest
import torch

from descant.audio import Clip, read_info
from descant.data.manifest import ClipRecord
from descant.errors import DataError
from starter_corpus.reports import prompts
from starter_corpus.reports.prompts import (
    choose_prompts,
    choose_tempo_prompts,
    claim_folder,
    draw_crops,
    generate_missing,
)

TAGS = {"bpm": 120.0, "has_drums": True, "instrument": ["piano", "drums", "flute"]}


def record(name, duration_s=15.0, captions=("Piano and flute at 120 bpm",), **tags):
    return ClipRecord(
        path=Path(f"/music/{name}.wav"), duration_s=duration_s, sample_rate_hz=32_000, num_channels=1,
        split="valid", captions=captions, tags=TAGS | {"source": name} | tags,
    )  # fmt: skip


@pytest.fixture
def records():
    return [record(f"tune-{index}") for index in range(20)]


class Echo:
    """A model whose clips carry their request's seed, and which records its requests."""

    def __init__(self):
        self.requests = []

    def generate(self, requests):
        self.requests += requests
        return [
            Clip(samples=torch.zeros(1, 320), sample_rate_hz=32_000, info={"seed": request.seed})
            for request in requests
        ]


def test_the_same_seed_chooses_the_same_prompts(records):
    assert choose_prompts(records, 8, seed=1) == choose_prompts(records, 8, seed=1)
    assert choose_prompts(records, 8, seed=1) != choose_prompts(records, 8, seed=2)


def test_no_source_gives_two_prompts(records):
    doubled = records + [dataclasses.replace(one, path=one.path.with_suffix(".flac")) for one in records]
    chosen = choose_prompts(doubled, 20, seed=0)
    assert len({prompt.reference.stem for prompt in chosen}) == 20


def test_tempo_prompts_are_of_other_clips_and_sources_alternate(records):
    many = [record(f"groove-{index}", source="one") for index in range(5)]
    silent = [
        record("silent", has_drums=False),
        record("wordless", captions=("Drums",)),
        record("short", duration_s=9.0),
    ]
    chosen = choose_prompts(records, 8, seed=1)
    more = choose_tempo_prompts([*records, *many, *silent], 100, 1, chosen)
    taken = {prompt.reference for prompt in chosen}
    assert len(more) == len(records) - 8 + len(many)
    assert not taken & {prompt.reference for prompt in more}
    assert all(prompt.bpm and prompt.has_drums for prompt in more)
    few = choose_tempo_prompts([*records, *many], 13, 1, chosen)
    assert sum("groove" in prompt.reference.stem for prompt in few) == 1


def test_clips_that_are_short_or_have_no_caption_are_not_chosen(records):
    with pytest.raises(DataError, match="20 sources"):
        choose_prompts([*records, record("short", duration_s=9.0), record("mute", captions=())], 21, seed=0)


def test_the_families_of_a_prompt_are_named_and_play():
    (prompt,) = choose_prompts([record("tune", captions=("A flute over trumpets, slow",))], 1, seed=0)
    assert prompt.families == ("flute",)
    assert prompt.bpm is None
    assert 0 <= prompt.offset_s <= 5


def test_a_stated_tempo_is_the_clips_own():
    (prompt,) = choose_prompts([record("tune", captions=("Drums, 107 BPM",), bpm=107.1)], 1, seed=0)
    assert prompt.bpm == 107.1
    assert prompt.families == ("drums",)


def test_where_there_are_drums_the_caption_states_the_tempo():
    captions = ("Piano", "Piano, fast", "Piano, 120 bpm", "A piano")
    assert choose_prompts([record("tune", captions=captions)], 1, seed=0)[0].text == "Piano, 120 bpm"
    texts = {
        choose_prompts([record("tune", captions=captions, has_drums=False)], 1, seed=seed)[0].text for seed in range(40)
    }
    assert texts == set(captions)


def test_only_missing_clips_are_generated(records, tmp_path):
    requests = [prompt.request() for prompt in choose_prompts(records, 10, seed=0)]
    files = generate_missing(Echo().generate, requests, tmp_path, progress=print)
    files[3].unlink()
    again = Echo()
    assert generate_missing(again.generate, requests, tmp_path, progress=print) == files
    assert [request.seed for request in again.requests] == [requests[3].seed]
    assert [read_info(file)["seed"] for file in files] == [request.seed for request in requests]


def test_a_folder_of_other_weights_or_prompts_is_refused(records, tmp_path):
    chosen = choose_prompts(records, 2, seed=0)
    claim_folder(tmp_path, "weights", chosen)
    claim_folder(tmp_path, "weights", chosen)
    with pytest.raises(DataError, match="other weights"):
        claim_folder(tmp_path, "other weights", chosen)
    with pytest.raises(DataError, match="other weights"):
        claim_folder(tmp_path, "weights", chosen[:1])


def test_crops_lie_inside_their_clips(records):
    crops = draw_crops([*records, record("short", duration_s=9.0)], 30, seed=0)
    assert len(crops) == len({clip.path for clip, _ in crops}) == 20
    assert all(0 <= offset_s <= clip.duration_s - prompts.DURATION_S for clip, offset_s in crops)
