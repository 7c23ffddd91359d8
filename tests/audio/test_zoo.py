"""The law of reading: what a player plays is read, to the sample and the same by every way in, or it is refused.

``zoo.py`` makes the files, and the ffmpeg command is the reference.
"""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from descant.audio import Clip, audio_header, read_in_blocks, read_samples
from descant.errors import AudioError
from tests.audio import zoo

MISSING = zoo.missing_programs()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

READ = [entry for entry in zoo.ENTRIES if entry.says is None]
REFUSED = [entry for entry in zoo.ENTRIES if entry.says is not None]


@pytest.fixture(scope="session")
def animals(tmp_path_factory):
    return zoo.make_zoo(tmp_path_factory.mktemp("zoo"))


def named(entry) -> str:
    return entry.name


def test_the_zoo_is_large_and_every_name_is_there_once():
    names = [entry.name for entry in zoo.ENTRIES]
    assert len(names) == len(set(names)) >= 150


@pytest.mark.parametrize("entry", READ, ids=named)
def test_a_file_that_plays_is_read_to_the_sample(animals, entry):
    samples = Clip.read(animals.paths[entry.name]).samples.numpy().T
    expected, rate_hz = zoo.reference(animals, entry)
    assert audio_header(animals.paths[entry.name]).sample_rate_hz == rate_hz
    assert samples.shape[1] == expected.shape[1]
    assert abs(len(samples) - len(expected)) <= entry.slack
    shared = min(len(samples), len(expected))
    assert np.abs(samples[:shared] - expected[:shared]).max() <= entry.tolerance


@pytest.mark.parametrize("entry", READ, ids=named)
def test_length_whole_excerpts_and_blocks_agree_to_the_bit(animals, entry):
    path = animals.paths[entry.name]
    whole = Clip.read(path)
    check_excerpts(path, whole, salvage=False)
    assert torch.equal(torch.cat([block for block, _ in read_in_blocks(path)], dim=1), whole.samples)
    if whole.duration_s > 0.5:
        part = Clip.read(path, offset_s=0.3, duration_s=0.1)
        start, count = (round(s * whole.sample_rate_hz) for s in (0.3, 0.1))
        assert torch.equal(part.samples, whole.samples[:, start : start + count])


def check_excerpts(path: Path, whole: Clip, salvage: bool) -> None:
    num_samples = whole.samples.shape[1]
    assert tuple(audio_header(path, salvage=salvage)) == (num_samples, whole.sample_rate_hz, len(whole.samples))
    generator = random.Random(path.name)
    for _ in range(6):
        offset = generator.randrange(num_samples)
        count = generator.randint(1, num_samples - offset)
        excerpt = read_samples(path, offset, count, salvage=salvage)
        assert torch.equal(excerpt, whole.samples[:, offset : offset + count])


@pytest.mark.parametrize("entry", REFUSED, ids=named)
def test_any_other_file_is_refused_in_one_true_sentence_by_all(animals, entry):
    path = animals.paths[entry.name]
    for read in (
        Clip.read,
        audio_header,
        lambda path: read_samples(path, 0, 1),
        lambda path: list(read_in_blocks(path)),
    ):
        if read is not Clip.read and entry.name in DAMAGED_WITHIN:
            continue
        with pytest.raises(AudioError) as raised:
            read(path)
        message = str(raised.value)
        assert message.startswith(repr(str(path)))
        assert "\n" not in message
        assert re.search(entry.says, message)


DAMAGED_WITHIN = {"flac noise in the middle", "flac hole"}
"""What the header and the last sample do not show: other excerpts are read, but not the whole and this one."""


@pytest.mark.parametrize("entry", [entry for entry in REFUSED if entry.salvages], ids=named)
def test_what_a_damaged_file_still_holds_is_salvaged_and_said(animals, entry, caplog):
    path = animals.paths[entry.name]
    with pytest.raises(AudioError) as raised:
        Clip.read(path)
    clip = Clip.read(path, salvage=True)
    assert f"{clip.duration_s:.2f} s can be read" in str(raised.value)
    assert f"salvaged {clip.duration_s:.2f} s" in caplog.text
    check_excerpts(path, clip, salvage=True)


def test_bytes_that_were_passed_over_are_said_once(animals, tmp_path, caplog):
    path = tmp_path / "a.mp3"
    path.write_bytes(animals.paths["mp3 noise between"].read_bytes())
    for _ in range(2):
        Clip.read(path)
        assert len(re.findall(r"1500 bytes at 0\.5\d s are not audio and were skipped", caplog.text)) == 1


@pytest.mark.parametrize(
    "entry", [entry for entry in READ if entry.name in ("wav s16", "mp3 vbr 4", "opus")], ids=named
)
def test_an_open_file_holds_what_the_file_of_that_name_holds(animals, entry):
    path = animals.paths[entry.name]
    with path.open("rb") as file:
        assert torch.equal(Clip.read(file).samples, Clip.read(path).samples)


def test_the_page_on_formats_has_the_tables_of_today(animals):
    """To write them anew: ``python -m tests.audio.zoo FOLDER docs/formats.md``."""
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert zoo.with_tables(page, zoo.tables(animals)) == page
