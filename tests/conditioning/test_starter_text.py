"""The text encoder that ships with the package."""

import json
from importlib import resources
from pathlib import Path

import pytest

from descant.conditioning.encoders.small import SmallTextEncoder

FOLDER = Path(str(resources.files("descant"))) / "starter" / "text"


@pytest.fixture(scope="module")
def encoder() -> SmallTextEncoder:
    return SmallTextEncoder.load(FOLDER)


def test_the_shipped_encoder_is_under_ten_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10_000_000


def test_reading_and_writing_the_shipped_encoder_changes_no_bit(encoder, tmp_path):
    encoder.save(tmp_path)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_pairs_that_were_never_trained_on_rank_as_the_teachers_do():
    measures = json.loads((FOLDER / "measures.json").read_text(encoding="utf-8"))
    assert {
        "music phrases",
        "captions",
        "general phrases",
        "unseen words",
        "phrases with unseen words",
    } <= measures.keys()
    for name, measured in measures.items():
        assert measured["spearman"] >= 0.85, name


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("mournful", "sad", "happy"),
        ("a lively hornpipe on the fiddle", "fast irish folk dance with violin", "slow ambient synth pad"),
        ("klezmer", "jewish folk music", "heavy metal"),
        ("vaporwave", "retro electronic music", "baroque organ"),
        ("desolate", "lonely and sad", "cheerful"),
        ("zydeco", "cajun accordion dance music", "church organ hymn"),
        ("drizzle on a window", "rain", "desert sun"),
        ("120 bpm techno", "fast electronic dance music", "a quiet lullaby for harp"),
    ],
)
def test_a_text_lands_near_its_meaning(encoder, text, near, far):
    text_vector, near_vector, far_vector = encoder.sentence([text, near, far])
    assert text_vector @ near_vector > text_vector @ far_vector
