"""Devices and precisions by name."""

import pytest
import torch

from descant.devices import PRECISIONS, Precision, select_device, select_precision
from descant.errors import InvalidRequest


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_cpu_calculates_in_float32_whatever_the_weights_are_rounded_to(name):
    selected = select_precision(name, torch.device("cpu"))
    assert (selected.name, selected.dtype) == (name, torch.float32)
    assert selected.weight_format == (None if name == "fp32" else name)


def test_a_gpu_holds_its_parameters_in_the_precision():
    cuda = torch.device("cuda")
    assert select_precision("auto", cuda) == Precision("fp16", torch.float16)
    assert select_precision("bf16", cuda) == Precision("bf16", torch.bfloat16)
    assert select_precision("int8", cuda) == Precision("int8", torch.float16, "int8")
    for name, device in (("int4", "cuda"), ("int8", "mps"), ("int4", "mps")):
        with pytest.raises(InvalidRequest, match=f"{name}.*{device}"):
            select_precision(name, torch.device(device))


def test_a_precision_may_be_a_dtype_of_torch():
    assert select_precision(torch.bfloat16, torch.device("cpu")).name == "bf16"
    with pytest.raises(InvalidRequest, match="float64"):
        select_precision(torch.float64, torch.device("cpu"))


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert select_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "cuda:99", "cuda:x", ""):
        with pytest.raises(InvalidRequest, match="this machine has cpu"):
            select_device(name)
