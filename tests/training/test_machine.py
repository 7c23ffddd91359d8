"""What a run says of the machine that it is on, and the precision that suits it."""

import platform

import pytest
import torch

from descant.training.machine import resolved_precision, slow_precision


@pytest.fixture
def processor(monkeypatch):
    def of(name: str, *, has_fast_enough: bool, has_instructions: bool) -> None:
        """A processor, what oneDNN says of it, and whether it has AVX-512's instructions for bfloat16."""
        monkeypatch.setattr(platform, "machine", lambda: name)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_fast_enough)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)

    return of


PROCESSORS = {
    "AVX2": ("x86_64", False, False, "fp32"),
    "AVX-512 alone": ("x86_64", True, False, "fp32"),
    "AVX-512 with bfloat16": ("x86_64", True, True, "bf16"),
    "the same on Windows": ("AMD64", True, True, "bf16"),
    "ARM with bfloat16": ("aarch64", True, False, "bf16"),
    "ARM without": ("aarch64", False, False, "fp32"),
}


@pytest.mark.parametrize(("name", "fast_enough", "instructions", "suits"), PROCESSORS.values(), ids=PROCESSORS.keys())
def test_bfloat16_is_used_where_there_are_instructions_for_it(processor, name, fast_enough, instructions, suits):
    """With them, updates of the starter take less than half of float32's time."""
    processor(name, has_fast_enough=fast_enough, has_instructions=instructions)
    cpu = torch.device("cpu")
    assert resolved_precision("auto", cpu) == suits
    said = slow_precision("bf16", cpu)
    assert (said is None) == (suits == "bf16")
    if said is not None:
        assert said.startswith("trainer.precision=bf16")
    assert slow_precision("fp32", cpu) is None
    assert slow_precision("bf16", torch.device("cuda")) is None


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_named_is_used(processor, precision):
    processor("x86_64", has_fast_enough=False, has_instructions=False)
    assert resolved_precision(precision, torch.device("cpu")) == precision


@pytest.mark.parametrize("has_it", [True, False])
def test_a_gpu_says_itself_whether_it_computes_in_bfloat16(monkeypatch, has_it):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_it)
    assert resolved_precision("auto", torch.device("cuda")) == ("bf16" if has_it else "fp32")
    assert resolved_precision("auto", torch.device("mps")) == "fp32"
