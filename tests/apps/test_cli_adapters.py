"""Adapters on the command line: ``generate``, ``regenerate`` and ``models merge``."""

import json

import pytest
import torch
from safetensors.torch import load_file

import descant
from descant.adapters import LoraConfig
from descant.audio import read_info
from descant.checkpoints.adapters import save_adapter

TINY = ("--model", "tiny", "--seed", "3", "-d", "0.3")


@pytest.fixture
def adapter(folder, make_adapter):
    model = descant.load("tiny").model
    save_adapter(make_adapter(model), LoraConfig(rank=3, alpha=6.0), folder / "mine")
    save_adapter(make_adapter(model, 5), LoraConfig(rank=3, alpha=6.0), folder / "other")
    return folder / "mine"


def test_music_with_an_adapter_is_made_again_with_it_alone(run, folder, adapter):
    made = run("generate", "piano", *TINY, "--adapter", "mine:0.5", "-o", "a.wav", "--save-codes", "a.safetensors")
    assert made.code == 0, made.err
    assert run("generate", "piano", *TINY, "-o", "plain.wav", "--save-codes", "plain.safetensors").code == 0
    (entry,) = read_info("a.wav")["adapters"]
    assert (entry["name"], entry["strength"]) == ("mine", 0.5)
    again = ("regenerate", "a.wav", "-o", "again.wav", "--save-codes", "again.safetensors")
    missing = run(*again)
    assert missing.code == 2
    assert "was made with the adapter 'mine'; add --adapter" in missing.err
    assert "was not made with 'other'" in run(*again, "--adapter", "mine", "--adapter", "other").err
    assert run(*again, "--adapter", str(adapter)).code == 0
    codes = [(folder / f"{name}.safetensors").read_bytes() for name in ("a", "again", "plain")]
    assert codes[0] == codes[1] != codes[2]


def test_a_merged_model_makes_the_same_music(run, folder, adapter):
    del adapter
    assert run("models", "merge", "tiny", "mine:0.5", "other", "merged").code == 0
    request = ("generate", "piano", "--seed", "3", "-d", "0.3", "--greedy")
    beside = ("--model", "tiny", "--adapter", "mine:0.5", "--adapter", "other", "--save-codes", "a.safetensors")
    assert run(*request, *beside, "-o", "a.wav").code == 0
    assert run(*request, "--model", "merged", "--save-codes", "b.safetensors", "-o", "b.wav").code == 0
    first, second = (load_file(folder / f"{name}.safetensors") for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "--adapter nowhere: no folder with an adapter"),
        ("mine:11", "--adapter: strength 11: allowed are -10 to 10"),
    ],
)
def test_adapters_that_cannot_be_used_are_named(run, adapter, given, message):
    del adapter
    outcome = run("generate", "piano", *TINY, "--adapter", given, "-o", "a.wav")
    assert outcome.code in (2, 3)
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_file_whose_adapters_are_no_record_is_refused(run, folder, adapter):
    del adapter
    assert run("generate", "piano", *TINY, "--adapter", "mine", "-o", "a.flac").code == 0
    import mutagen.flac

    file = mutagen.flac.FLAC(folder / "a.flac")
    for key, values in list(file.tags.as_dict().items()):
        if '"adapters"' in values[0]:
            file[key] = json.dumps({**json.loads(values[0]), "adapters": [{"name": 3}]})
    file.save()
    outcome = run("regenerate", "a.flac", "--adapter", "mine", "-o", "b.flac")
    assert outcome.code == 2
    assert "adapters are" in outcome.err
