"""ELU, x where x is positive and exp(x) - 1 elsewhere, in one pass: for inference, without gradients."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I64, LANES, POINTER, Code, Target, is_supported, numbers
from descant.compiled.library import Library, compiled_library
from descant.compiled.workers import Job, Operation

TILE = 2**14
"""Elements that a thread takes at once."""


def elu(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """As `torch.nn.functional.elu`, within 2e-7. On a CPU it takes as long as reading and writing the values."""
    if values.device.type != "cpu" or values.dtype != torch.float32 or not is_supported():
        negative = values.clamp(max=0).exp_().sub_(1)
        return torch.maximum(values, negative, out=negative)
    values = values.contiguous()
    result = torch.empty_like(values)
    num_tiles = -(-values.numel() // TILE)
    words = np.array([values.data_ptr(), result.data_ptr(), values.numel()], np.int64)
    library = _library(Target.host())
    if num_tiles == 1:
        library.function("elu", 3)(words.ctypes.data, 0, 0)
    elif num_tiles:
        operations = [Operation(library.address("elu"), words, num_tiles)]
        Job(operations, np.zeros(1, np.int64), (values, result)).run(0, torch.get_num_threads())
    return result


@cache
def _library(target: Target) -> Library:
    return compiled_library(target, _add_elu)


def _add_elu(module: ir.Module) -> None:
    """``elu(words, state, tile)``, where the words are two addresses and the number of values."""
    code = Code(module, "elu", [POINTER, POINTER, I64])
    words, _, tile = code.function.args
    values, result = code.pointer_at(words, 0), code.pointer_at(words, 1)
    count = code.read(words, I64(2), I64)
    start = code.mul(tile, I64(TILE))
    end = code.add(start, I64(TILE))
    end = code.select(code.icmp_signed("<", end, count), end, count)
    whole = code.sub(end, code.srem(code.sub(end, start), I64(LANES)))
    with code.for_range(start, whole, LANES) as at:
        code.write(_elu(code, code.read(values, at, F32, LANES)), result, at)
    with code.for_range(whole, end) as at:
        code.write(_elu(code, code.read(values, at)), result, at)
    code.ret_void()


def _elu(code: Code, x: ir.Value) -> ir.Value:
    zero, one = numbers(x.type, 0.0), numbers(x.type, 1.0)
    is_positive = code.fcmp_ordered(">", x, zero)
    return code.select(is_positive, x, code.fsub(code.exp(code.select(is_positive, zero, x)), one))
