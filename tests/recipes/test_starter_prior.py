"""The prior's fit on captions whose tempo, key and metre follow from a word."""

import importlib
import json
import random
from pathlib import Path
from types import ModuleType

import pytest

from descant.checkpoints.prior_file import read_prior
from descant.conditioning.song_form import transposed
from descant.data.manifest import ClipRecord
from descant.tempo_key import NOTES


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "recipes"))
        return importlib.import_module("starter_prior")


def clips(count: int, split: str) -> list[dict[str, object]]:
    """Slow clips at about 60 bpm and fast ones at 150; sad ones are minor, jigs in 6/8; some have no key and no chords.

    Slow clips have sevenths, fast ones triads; their second phrases are the same.
    """
    made, rng = [], random.Random(split)
    for index in range(count):
        is_slow, is_sad, is_jig = (rng.random() < 0.5 for _ in range(3))
        words = ["slow" if is_slow else "fast", "sad" if is_sad else "happy", "jig" if is_jig else "song"]
        rng.shuffle(words)
        bpm = rng.gauss(60, 3) if is_slow else rng.gauss(150, 6)
        has_key = index % 7 != 0
        words += [] if has_key else ["drums"]
        tonic, bar_s = rng.choice("CDEFGAB"), (2 if is_jig else 4) * 60 / bpm
        phrases = ["Cmaj7|Am7|Dm7|G7" if is_slow else "C|F|G|C", "F|C|F|C G"]
        if is_sad:
            phrases = ["Cm7|Fm7|Dm7b5|G7" if is_slow else "Cm|Fm|G|Cm", "Fm|Cm|Fm|Cm G"]
        made.append(
            {
                "path": f"{split}{index}.wav",
                "duration_s": 13 * bar_s + 0.5,
                "sample_rate_hz": 32_000,
                "num_channels": 1,
                "split": split,
                "captions": [f"{' '.join(words)}, 90 bpm in E minor"],
                "tags": {
                    "bpm": bpm,
                    "key": None if not has_key else f"{tonic} {'minor' if is_sad else 'major'}",
                    "metre": "6/8" if is_jig else "4/4",
                    **(labels(phrases, tonic, bar_s) if has_key else {}),
                },
            }
        )
    return made


def labels(phrases: list[str], tonic: str, bar_s: float) -> dict[str, object]:
    """The form AAB after an upbeat, and one more bar."""
    semitones, chords = NOTES.index(tonic), []
    bars = [bar for phrase in (phrases[0], phrases[0], phrases[1]) for bar in phrase.split("|")] + ["C"]
    for number, bar in enumerate(bars):
        for place, symbol in enumerate(bar.split()):
            second = round(0.5 + (number + place / 2) * bar_s, 4)
            chords.append(f"{transposed(symbol, semitones)}:{second}")
    sections = f"A:0.5 A:{0.5 + 4 * bar_s} B:{0.5 + 8 * bar_s}"
    return {"first_bar_s": 0.5, "chords": f"N:0.0 {' '.join(chords)}", "sections": sections}


def test_the_fit_recovers_what_words_say_and_is_written_where_models_read_it(recipe, tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in [*clips(300, "train"), *clips(40, "valid")]))
    recipe.main(manifest, tmp_path)
    written = read_prior(tmp_path)
    assert written is not None
    prior = written.tempo_key
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


def test_the_fit_recovers_phrases_and_who_has_chords(recipe, tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in [*clips(300, "train"), *clips(40, "valid")]))
    recipe.main(manifest, tmp_path)
    chords = read_prior(tmp_path).chords
    assert set(chords.major) == {"Cmaj7|Am7|Dm7|G7", "C|F|G|C", "F|C|F|C G"}
    assert set(chords.minor) == {"Cm7|Fm7|Dm7b5|G7", "Cm|Fm|G|Cm", "Fm|Cm|Fm|Cm G"}
    table = list(chords.major)
    weights = list(chords.major.values())
    slow, fast = (
        dict(zip(table, chords.phrase_distribution(text, table, weights, 1.0), strict=True))
        for text in ("slow", "fast")
    )
    assert slow["Cmaj7|Am7|Dm7|G7"] > 2 * slow["C|F|G|C"]
    assert fast["C|F|G|C"] > 2 * fast["Cmaj7|Am7|Dm7|G7"]
    assert chords.chords_probability("slow jig with drums") < 0.5 < 0.9 < chords.chords_probability("slow jig")
    assert chords.words["lento"] == chords.words["slow"]
    assert chords.draw("birdsong", 1, 1.0) is None
    with_words, without = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert float(with_words[-1]) < float(without[-1]) - 0.1


@pytest.mark.usefixtures("recipe")
def test_a_loop_is_the_phrase_that_it_repeats():
    from starter_prior_chords import phrases_of

    def record(chords: str, num_bars: int, sections: str = "A:0") -> ClipRecord:
        tags = {
            "bpm": 60.0,
            "metre": "4/4",
            "key": "D major",
            "first_bar_s": 0.0,
            "sections": sections,
            "chords": chords,
        }
        return ClipRecord(
            path=Path("a.wav"),
            duration_s=4.0 * num_bars,
            sample_rate_hz=8_000,
            num_channels=1,
            split="train",
            captions=(),
            tags=tags,
        )

    loop = " ".join(f"{symbol}:{4 * bar}" for bar, symbol in enumerate(["D", "G"] * 4))
    assert phrases_of(record(loop, 8)) == [("C|F|C|F", False)]
    assert phrases_of(record("D:0 G:4", 5)) == [("C|F|F|F", False)]
    assert phrases_of(record("D:0", 8)) == []
    assert phrases_of(record("N:0 G:4", 8)) == []


def test_clips_that_are_held_out_change_nothing(recipe, tmp_path):
    manifest, fits = tmp_path / "manifest.jsonl", []
    for count in (3, 30):
        rows = [*clips(60, "train"), *clips(count, "valid")]
        manifest.write_text("".join(json.dumps(clip) + "\n" for clip in rows))
        recipe.main(manifest, tmp_path)
        fits.append(read_prior(tmp_path))
    assert fits[0] == fits[1]
