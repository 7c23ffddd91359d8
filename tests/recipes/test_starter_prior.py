"""The prior's fit on captions whose tempo, key and metre follow from a word."""

import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType

import pytest

from descant.checkpoints.prior_file import read_prior


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    file = Path(__file__).parents[2] / "recipes" / "starter_prior.py"
    spec = importlib.util.spec_from_file_location("starter_prior", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clips(count: int, split: str) -> list[dict[str, object]]:
    """Slow clips at about 60 bpm and fast ones at 150; sad ones are minor, jigs in 6/8; some have no key."""
    made, rng = [], random.Random(split)
    for index in range(count):
        is_slow, is_sad, is_jig = (rng.random() < 0.5 for _ in range(3))
        words = ["slow" if is_slow else "fast", "sad" if is_sad else "happy", "jig" if is_jig else "song"]
        rng.shuffle(words)
        bpm = rng.gauss(60, 3) if is_slow else rng.gauss(150, 6)
        made.append(
            {
                "path": f"{split}{index}.wav",
                "duration_s": 20.0,
                "sample_rate_hz": 32_000,
                "num_channels": 1,
                "split": split,
                "captions": [f"{' '.join(words)}, 90 bpm in E minor"],
                "tags": {
                    "bpm": bpm,
                    "key": None if index % 7 == 0 else f"{rng.choice('CDEFGAB')} {'minor' if is_sad else 'major'}",
                    "metre": "6/8" if is_jig else "4/4",
                },
            }
        )
    return made


def test_the_fit_recovers_what_words_say_and_is_written_where_models_read_it(recipe, tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in [*clips(300, "train"), *clips(40, "valid")]))
    recipe.main(manifest, tmp_path)
    prior = read_prior(tmp_path)
    assert prior is not None
    slow, fast = ([prior.draw(f"{word} song", seed)[0].bpm for seed in range(200)] for word in ("slow", "fast"))
    assert sum(52 <= bpm <= 68 for bpm in slow) > 180
    assert sum(135 <= bpm <= 167 for bpm in fast) > 180
    # A tempo and a key that captions state are no words: all of these state E minor.
    assert prior.minor_probability("a sad song") > 0.9 > 0.1 > prior.minor_probability("a happy song")
    assert prior.metre_distribution("jig")[prior.metres.index("6/8")] > 0.8
    assert prior.metre_distribution("song")[prior.metres.index("4/4")] > 0.8
    # Words of few clips are left out; words that mean the same as one of the corpus get its weights.
    assert prior.words["lento"] == prior.words["slow"]
    assert "calming" not in prior.words
    with_words, without = capsys.readouterr().out.splitlines()[1:]
    assert float(with_words.split()[3].strip(",")) < float(without.split()[2].strip(",")) - 0.5


def test_clips_that_are_held_out_change_nothing(recipe, tmp_path):
    manifest, fits = tmp_path / "manifest.jsonl", []
    for count in (3, 30):
        rows = [*clips(60, "train"), *clips(count, "valid")]
        manifest.write_text("".join(json.dumps(clip) + "\n" for clip in rows))
        recipe.main(manifest, tmp_path)
        fits.append(read_prior(tmp_path))
    assert fits[0] == fits[1]
