"""Tempo and key of prompts that state none, with the starter, which has a prior for them."""

import json

import pytest

from descant.apps.cli.main import main
from descant.audio import read_info
from descant.tempo_key import unused_tempo_key

STARTER = ("--model", "starter", "--device", "cpu", "-d", "0.3", "--seed", "4")


def test_a_choice_is_shown_recorded_and_made_again(run, folder):
    made = run("generate", "slow sad piano", *STARTER, "-o", "sad.wav", "--save-codes", "a.safetensors")
    assert made.code == 0, made.err
    info = read_info("sad.wav")
    assert f"tempo {info['tempo']:g} BPM (chosen), key {info['key']} (chosen), chords " in made.err
    assert info["chords"].startswith(f"{info['key'].split()[0]}m")
    assert info["tempo"] < 90
    again = run("regenerate", "sad.wav", "--device", "cpu", "--save-codes", "b.safetensors")
    assert again.code == 0, again.err
    assert "chosen" not in again.err
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_of_several_results_each_says_its_own(run):
    options = (*STARTER, "--chords", "none", "-o", "out/")
    prompts = ("lively jig, 115 bpm", "church organ in Am", "waltz")
    outcome = run("generate", *prompts, *options, "--json")
    result = json.loads(outcome.out)
    assert result["tempos"][0] == 115.0
    assert result["keys"][1] == "A minor"
    shown = run("generate", *prompts, *options).err.splitlines()
    chosen = [line.partition(": ")[2] for line in shown if "(chosen)" in line]
    assert chosen == [
        f"key {result['keys'][0]} (chosen)",
        f"tempo {result['tempos'][1]:g} BPM (chosen)",
        f"tempo {result['tempos'][2]:g} BPM (chosen), key {result['keys'][2]} (chosen)",
    ]


def test_given_or_none_nothing_is_chosen(run):
    outcome = run(
        "generate", "piano", *STARTER, "--tempo", "72", "--key", "f# minor", "--chords", "none", "-o", "given.wav"
    )
    assert outcome.code == 0, outcome.err
    assert "chosen" not in outcome.err
    assert (read_info("given.wav")["tempo"], read_info("given.wav")["key"]) == (72.0, "F# minor")
    assert run("generate", "piano", *STARTER, "--tempo", "none", "--key", "none", "-o", "none.wav").code == 0
    assert (read_info("none.wav")["tempo"], read_info("none.wav")["key"]) == (None, None)


@pytest.mark.parametrize(("option", "value"), [("--tempo", "90"), ("--key", "Am")])
def test_a_model_without_the_condition_refuses_before_it_is_loaded(run, option, value):
    outcome = run("generate", "piano", "--model", "tiny", option, value, "-o", "a.wav")
    assert outcome.code == 2
    assert f"{option}: model 'tiny' reads a {option[2:]} in PROMPT only" in outcome.err


UNUSED = {
    "piano 1000 bpm": ["1000 bpm is outside 30 to 300 and is not used"],
    "piano 0 bpm": ["0 bpm is outside 30 to 300 and is not used"],
    "piano in H minor": ["'H minor' is not a key and is not used"],
    "60 bpm, 180 bpm, in C major, in F# minor": [
        "2 tempos are stated; 60 bpm is used",
        "2 keys are stated; C major is used",
    ],
    "piano, 90 bpm, in C minor, tempo: 90": [],
    "lively jig in D": [],
}


@pytest.mark.parametrize(("text", "notes"), UNUSED.items())
def test_what_a_prompt_states_and_is_not_used_has_a_sentence(text, notes):
    """A tempo of 1000 was dropped in silence and another one chosen."""
    assert unused_tempo_key(text) == notes


def test_an_unused_tempo_is_noted_where_the_music_is_made(run):
    outcome = run("generate", "piano 1000 bpm", *STARTER, "--chords", "none", "-o", "a.wav")
    assert outcome.code == 0, outcome.err
    assert "'piano 1000 bpm': 1000 bpm is outside 30 to 300 and is not used" in outcome.err


def test_an_unused_tempo_is_noted_beside_a_stream(capfdbinary):
    assert main(["generate", "piano 1000 bpm", *STARTER, "--chords", "none", "--stream", "-"]) == 0
    assert b"'piano 1000 bpm': 1000 bpm is outside 30 to 300 and is not used" in capfdbinary.readouterr().err
