"""What ``generate`` and ``regenerate`` write, name and print."""

import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from descant.apps.cli import outputs, results
from descant.audio import Clip, read_info
from descant.audio.loudness import integrated_loudness
from descant.checkpoints.codes import load_codes
from descant.codec import spec

KEYS = {
    *("files", "codes_files", "seeds", "prompts", "duration_s", "sample_rate_hz", "seconds_taken"),
    *("real_time_factor", "model", "device", "precision", "version"),
}
TINY = ("--model", "tiny", "-d", "0.2")
ODD_PROMPTS = (
    *(
        "",
        " ",
        "\n",
        "x",
        "../../etc/passwd",
        "/etc/passwd",
        "<script>alert(1)</script>",
        "drums 🥁👩‍🎤",
        "piano موسيقى هادئة",
    ),
    *(
        "piano 穏やかなピアノ",
        "e\u0301tude a\u0300 la carte",
        "bell\a and \x1b[31mescape",
        "-",
        "piano " + "a" * 200,
        "NUL\\0.wav\nnew line",
    ),
)


def read(path):
    return soundfile.read(path, dtype="int16")[0]


def test_json_is_one_object_with_the_promised_keys(run):
    outcome = run(
        "generate", "a drum", *TINY, "--seed", "3", "--count", "2", "-o", "out/", "--save-codes", "codes/", "--json"
    )
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    result = json.loads(outcome.out)
    assert set(result) >= KEYS
    assert result["seeds"] == [3, 4]
    assert result["prompts"] == ["a drum"] * 2
    assert result["files"] == ["out/0001-seed3-a-drum.wav", "out/0002-seed4-a-drum.wav"]
    assert all(os.path.isfile(path) for path in result["files"] + result["codes_files"])
    assert result["duration_s"] == 0.2
    assert result["real_time_factor"] == pytest.approx(result["seconds_taken"] / 0.4)
    assert outcome.err == ""


def test_text_output_is_the_files_and_nothing_else_on_stdout(run):
    outcome = run("generate", "a drum", *TINY, "-o", "drum.flac", "--save-codes", "drum.safetensors")
    assert outcome.out == "drum.flac\ndrum.safetensors\n"
    assert "real time" in outcome.err
    assert "precision" not in outcome.err


def test_a_precision_that_is_not_the_default_is_named_with_what_runs_it(run):
    outcome = run("generate", "a drum", *TINY, "-o", "drum.flac", "--precision", "int8")
    assert outcome.code == 0
    assert "precision int8: " in outcome.err
    assert "weights in w8a8 rounded" in outcome.err


def test_any_text_is_a_prompt_and_none_escapes_the_folder(run, folder):
    outcome = run("generate", *TINY, "-o", "out/", "--json", "--seed", "0", "--", *ODD_PROMPTS)
    assert outcome.code == 0, outcome.err
    files = json.loads(outcome.out)["files"]
    assert os.listdir(folder) == ["out"]
    assert sorted(os.listdir("out")) == [os.path.basename(file) for file in files]
    assert len(files) == len(set(files)) == len(ODD_PROMPTS)
    assert all(unicodedata.category(c)[0] in "LMN" or c in "-./" for file in files for c in file)
    assert all(len(os.path.basename(file)) <= 60 for file in files)


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "mp3"])
def test_what_generate_writes_regenerate_makes_again(run, format):
    first = run(
        *("generate", "strings", "--model", "tiny", "-d", "0.5", "--seed", "5", "--guidance", "2", "--top-k", "7"),
        *("--negative", "drums", "--temperature", "1.5", "--loudness", "-20", "-o", f"a.{format}"),
    )
    assert first.code == 0, first.err
    again = run("regenerate", f"a.{format}")
    assert again.code == 0, again.err
    assert again.out == f"a-again.{format}\n"
    with open(f"a.{format}", "rb") as a, open(f"a-again.{format}", "rb") as b:
        assert a.read() == b.read()


def test_a_continued_piece_is_made_again_without_its_prompt(run, made):
    assert run("generate", "x", "--model", "tiny", "-d", "1", "--continue", made / "made.wav", "-o", "a.wav").code == 0
    outcome = run("regenerate", "a.wav", "-o", "b.wav")
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(read("a.wav"), read("b.wav"))


def test_regenerate_refuses_another_model_of_that_name_unless_it_is_named(run, tiny_folder, folder):
    assert run("models", "init", "tiny", "m", "--seed", "1").code == 0
    assert run("generate", "x", "--model", "m", "-d", "0.2", "-o", "a.wav").code == 0
    (folder / "m").rename(folder / "old")
    (folder / "m").symlink_to(tiny_folder)
    outcome = run("regenerate", "a.wav")
    assert outcome.code == 2
    assert "not opened or fetched on a file's word; if you trust it, add --model m" in outcome.err
    named = run("regenerate", "a.wav", "--model", "m")
    assert named.code == 0
    assert "other weights" in named.err
    assert run("regenerate", "a.wav", "--model", "old", "-o", "c.wav").code == 0
    np.testing.assert_array_equal(read("a.wav"), read("c.wav"))


def test_options_change_the_music(run):
    settings = (
        *((), ("--seed", "2"), ("--temperature", "3"), ("--top-k", "2"), ("--top-p", "0.3"), ("--greedy",)),
        *(("--guidance", "0"), ("--negative", "drums")),
    )
    codes = set()
    for number, words in enumerate(settings):
        path = f"{number}.safetensors"
        seed = () if "--seed" in words else ("--seed", "1")
        outcome = run("generate", "a drum", *TINY, *seed, "-o", "a.wav", "--save-codes", path, *words)
        assert outcome.code == 0, outcome.err
        codes.add(load_codes(Path(path))[0].numpy().tobytes())
    assert len(codes) == len(settings)


def test_only_what_was_asked_for_differs_from_the_models_own_sampling(run):
    assert run("generate", "x", *TINY, "--top-k", "3", "-o", "a.wav").code == 0
    info = read_info("a.wav")
    assert info["sampling"] == {"temperature": 1.0, "top_k": 3, "top_p": 1.0, "greedy": False, "hold_penalty": 0.0}
    assert info["guidance"] == {"scale": 3.0, "text_scale": None, "melody_scale": None, "schedule": []}


def test_variations_are_what_each_seed_gives_alone(run):
    assert run("generate", "x", *TINY, "--seed", "4", "--count", "2", "-o", "out/").code == 0
    assert run("generate", "x", *TINY, "--seed", "5", "-o", "alone.wav").code == 0
    np.testing.assert_array_equal(read("out/0002-seed5-x.wav"), read("alone.wav"))


def test_an_existing_file_is_replaced_and_a_failure_leaves_it(run, folder, monkeypatch):
    (folder / "a.wav").write_text("old")
    monkeypatch.setattr(results, "part_of", interrupting)
    assert run("generate", "x", *TINY, "-o", "a.wav").code == 130
    assert (folder / "a.wav").read_text() == "old"
    monkeypatch.undo()
    os.chdir(folder)
    assert run("generate", "x", *TINY, "-o", "a.wav").code == 0
    assert len(read("a.wav")) == 6_400


def interrupting(*_):
    def report(done, whole):
        if done > whole / 2:
            raise KeyboardInterrupt

    return report


def test_an_interrupted_command_leaves_nothing(run, folder, monkeypatch):
    monkeypatch.setattr(results, "part_of", interrupting)
    outcome = run("generate", "x", *TINY, "-o", "out/", "--save-codes", "codes/")
    assert outcome.code == 130
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("descant: error: interrupted")
    assert os.listdir(folder) == []


def test_our_fault_is_code_1_and_says_how_to_get_the_traceback(run, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("descant.api.load", broken)
    outcome = run("generate", "x", *TINY, "-o", "a.wav")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "--debug" in outcome.err
    outcome = run("generate", "x", *TINY, "-o", "a.wav", "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("descant: error: ZeroDivisionError: oh")


def test_out_of_memory_says_to_ask_for_less(run, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("descant.api.load", full)
    outcome = run("generate", "x", *TINY, "-o", "a.wav")
    assert outcome.code == 2
    assert "less" in outcome.err


def test_loudness_is_that_asked_for(run):
    for words in (("--loudness", "-30"), ("--loudness", "off"), ()):
        assert run("generate", "x", *TINY, "--seed", "1", "-o", f"a{len(words)}{words[-1:]}.wav", *words).code == 0
    levels = [np.abs(read(name).astype(float)).mean() for name in sorted(os.listdir("."))]
    assert len(set(levels)) == 3


def test_a_loudness_that_the_peaks_forbid_is_said(run):
    """The samples of random weights peak far above their mean: none of them can be as loud as 0 LUFS."""
    outcome = run("generate", "x", *TINY, "--loudness", "0", "--count", "2", "-o", "loud")
    assert re.search(r"^2 of 2 files: down to -\d+\.\d LUFS instead of 0: peaks allow no more$", outcome.err, re.M)
    (quiet,) = json.loads(run("generate", "x", *TINY, "--loudness", "-30", "-o", "a.wav", "--json").out)[
        "loudness_lufs"
    ]
    clip = Clip.read("a.wav")
    assert quiet == pytest.approx(integrated_loudness(clip.samples, clip.sample_rate_hz), abs=0.01)
    assert quiet == pytest.approx(-30, abs=0.01)
    assert "LUFS" not in run("generate", "x", *TINY, "--loudness", "-30", "-o", "b.wav").err


SLUGS = {
    "Warm lo-fi piano, slow!": "warm-lo-fi-piano-slow",
    "../../etc/passwd": "etc-passwd",
    "Ünïcödé 穏やか": "ünïcödé-穏やか",
    "穏やかなピアノ": "穏やかなピアノ",
    "Тёплое ПИАНИНО": "тёплое-пианино",
    "موسيقى هادئة": "موسيقى-هادئة",
    "शांत संगीत": "शांत-संगीत",
    "e\u0301tude a\u0300 la carte": "\xe9tude-\xe0-la-carte",
    "\u0645\u06cc\u200c\u062e": "\u0645\u06cc\u062e",  # a joiner within a Persian word
    "drums 🥁👩\u200d🎤 1": "drums-1",
    "\u0301\u0301 accents alone": "accents-alone",
    "a\u202egnp.wav": "agnp-wav",
    "🥁": "music",
    "": "music",
    "CON": "con",
    "a\ud800b": "ab",
}


@pytest.mark.parametrize(("text", "name"), SLUGS.items(), ids=ascii)
def test_slugs_keep_the_letters_of_every_script(text, name):
    assert outputs.slug(text) == name


def test_slugs_are_short_in_characters_and_in_bytes():
    assert outputs.slug(None) == "music"
    for text in ("a b " * 100, "穏やか" * 100, "शांत संगीत " * 100, "\U00020000" * 100, "a" + "\u0300" * 500):
        slug = outputs.slug(text)
        assert len(slug) <= 40
        assert len(slug.encode()) <= 90
        assert text == unicodedata.normalize("NFC", text) or slug == "music"
    # Never a letter without the marks that follow it.
    assert unicodedata.category(outputs.slug("x" * 39 + "शां")[-1]) == "Ll"


def test_printed_text_stays_on_its_line_and_obeys_no_escape():
    assert outputs.printable("a\nb\x1b[31m\ud800") == "a b\\x1b[31m\\ud800"


def test_the_codecs_fingerprint_is_computed_once_for_all_files(run, monkeypatch):
    """It reads all weights."""
    found, codec_spec = [], spec.codec_spec
    monkeypatch.setattr(spec, "codec_spec", lambda codec: (found.append(codec), codec_spec(codec))[1])
    outcome = run("generate", "x", *TINY, "--count", "3", "-o", "out/", "--save-codes", "codes/", "--json")
    assert len(found) == 1
    headers = [load_codes(Path(path))[1] for path in json.loads(outcome.out)["codes_files"]]
    assert {header.codec_fingerprint for header in headers} == {codec_spec(found[0]).fingerprint}
    assert [header.num_samples for header in headers] == [6_400] * 3
