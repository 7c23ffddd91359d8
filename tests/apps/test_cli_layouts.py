"""Models of other layouts on the command line: shown, checked, converted, and making the same music."""

import json

import torch

from descant.checkpoints.codes import load_codes


def test_a_transformers_folder_is_a_model_like_any_other(run, folder, transformers_model):
    theirs = transformers_model("stereo").folder
    shown = json.loads(run("models", "show", theirs, "--json").out)
    assert (shown["num_codebooks"], shown["codebook_size"], shown["text_encoder"]) == (8, 16, "T5Text")
    assert json.loads(run("models", "check", theirs, "--json").out)["problems"] == []
    outcome = run("models", "convert", theirs, "ours", "--to", "native", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["layout"] == "native"
    assert run("models", "convert", "ours", "again", "--to", "huggingface").code == 0
    codes = []
    for name in (theirs, "ours", "again"):
        outcome = run(
            *("generate", "warm slow piano", "--model", name, "-d", "0.02", "--greedy", "--device", "cpu"),
            *("-o", "a.wav", "--save-codes", "a.safetensors", "--loudness", "off"),
        )
        assert outcome.code == 0, outcome.err
        codes.append(load_codes(folder / "a.safetensors")[0])
    assert codes[0].shape == (8, 20)
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])


def test_convert_writes_over_nothing_and_tells_what_has_no_place(refused, folder, tiny_folder, transformers_model):
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")
    theirs = transformers_model("odd").folder
    for layout in ("native", "huggingface"):
        assert "choose another folder" in refused(3, "models", "convert", theirs, "mine", "--to", layout)
    assert "T5" in refused(3, "models", "convert", tiny_folder, "new", "--to", "huggingface")
    refused(2, "models", "convert", theirs, "new", "--to", "onnx")
    refused(2, "models", "convert", "tiny", "new", "--to", "native")
