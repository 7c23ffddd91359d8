"""The script that measures rounding: the logits of random weights, at toy size."""

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_precision_has_an_error_and_fewer_bits_a_larger_one(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = importlib.import_module("rounding")
    monkeypatch.setattr(script, "NUM_FRAMES", 6)
    lines = list(script.logit_errors("tiny"))
    assert [line["precision"] for line in lines] == list(script.PRECISIONS)
    fp16, bf16, int8, int4 = (line["error"] for line in lines)
    assert 0 < fp16 < bf16 < int8 < int4 < 1
    assert all(0 < line["divergence"] < 0.1 for line in lines)
    assert {line["what"] for line in lines} == {"rounding, logits"}
