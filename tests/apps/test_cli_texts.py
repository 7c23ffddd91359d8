"""What the command line says of texts that the model does not read to the last word."""

import pytest

TINY = ("--model", "tiny", "--seed", "3", "-d", "0.1")
SONG = "warm piano with soft strings, " * 60


def test_words_that_the_model_does_not_know_are_a_note(run):
    outcome = run("generate", "warm пиано", *TINY, "--negative", "noise 🥁", "-o", "a.wav")
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("note: ")]
    assert len(lines) == 1
    assert "reads English and does not know" in lines[0]


@pytest.mark.parametrize("words", [("спокойно",), ("x", "--negative", "громко"), ("x", "--then", "0.05 барабаны")])
def test_a_text_without_a_known_word_is_code_2(run, folder, words):
    outcome = run("generate", *words, *TINY, "-o", "a.wav")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "write it in English" in outcome.err
    assert not any(folder.iterdir())


def test_a_long_prompt_is_refused_and_the_option_that_reads_its_beginning_named(run):
    outcome = run("generate", SONG, *TINY, "-o", "a.wav")
    assert outcome.code == 2
    assert "--long-prompt cut" in outcome.err


def test_a_long_prompt_that_was_cut_is_made_again_from_what_was_read(run, folder):
    made = ("generate", SONG, *TINY, "--long-prompt", "cut", "-o", "a.wav", "--save-codes", "a.safetensors")
    outcome = run(*made)
    assert outcome.code == 0, outcome.err
    assert f"note: text: of {len(SONG)} characters" in outcome.err
    assert run("regenerate", "a.wav", "-o", "b.wav", "--save-codes", "b.safetensors").code == 0
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()
