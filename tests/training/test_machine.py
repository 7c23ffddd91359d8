"""What a run says of the machine that it is on."""

import pytest
import torch

from descant.training.machine import slow_precision


@pytest.mark.parametrize(
    ("precision", "device", "has_instructions", "is_slow"),
    [
        ("bf16", "cpu", False, True),
        ("bf16", "cpu", True, False),
        ("fp32", "cpu", False, False),
        ("bf16", "cuda", False, False),
    ],
)
def test_bfloat16_without_instructions_for_it_is_said_to_be_slow(
    monkeypatch, precision, device, has_instructions, is_slow
):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_instructions)
    said = slow_precision(precision, torch.device(device))
    assert (said is not None) == is_slow
    if said is not None:
        assert said.startswith("trainer.precision=bf16")
