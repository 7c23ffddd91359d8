"""The tensors of models in our own layout: how they are stored, and checked before they are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from descant.checkpoints.keeping import EVERYTHING, Keeping
from descant.checkpoints.tensor_files import MappedFile
from descant.errors import CheckpointError
from descant.nn.finite import is_finite
from descant.nn.quantize import dequantize_rows, quantize_rows

SCALE = ".scale"
Storage: TypeAlias = Literal["exact", "fp16", "int8"]


def stored_tensors(module: nn.Module, storage: Storage) -> dict[str, Tensor]:
    """A module's tensors as they are written to a file; buffers, in particular codebooks, stay unchanged.

    Raises:
        CheckpointError: a weight is too large for fp16, or was not kept.
    """
    parameters = {name for name, _ in module.named_parameters()}
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors_of(module).items():
        if storage == "exact" or name not in parameters:
            stored[name] = tensor.contiguous()
        elif storage == "int8" and tensor.ndim == 2:
            stored[name], stored[name + SCALE] = quantize_rows(tensor.contiguous())
        else:
            stored[name] = tensor.to(torch.float16).contiguous()
            if not bool(torch.isfinite(stored[name]).all()):
                raise CheckpointError(f"{name} has values that fp16 cannot hold: store the model as exact")
    return stored


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors, to be written to a file.

    Raises:
        CheckpointError: only rounded copies of some were kept, for decoding.
    """
    tensors: dict[str, Tensor] = module.state_dict()
    if any(tensor.is_meta or tensor.dtype == torch.int8 for tensor in tensors.values()):
        raise CheckpointError(
            "the model was loaded in a precision that keeps only rounded weights: load it in fp32 to store it"
        )
    return tensors


def read_tensors(file: Path, expected: Mapping[str, Tensor], keeping: Keeping = EVERYTHING) -> dict[str, Tensor]:
    """The tensors of a file, after names and shapes have been compared: no size in the file is trusted before.

    Raises:
        CheckpointError: the file is missing or broken, or its tensors are not the expected ones.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model folder needs it")
    stored = MappedFile(file)
    names = set(stored.shapes)
    scales = {name + SCALE for name, tensor in expected.items() if tensor.ndim == 2} & names
    for problem, odd in (("unknown", names - scales - set(expected)), ("missing", set(expected) - names)):
        if odd:
            raise CheckpointError(f"{file}: {len(odd)} {problem} tensors, first {sorted(odd)[0]}")
    for name, tensor in expected.items():
        _check_shape(file, name, stored, tuple(tensor.shape))
        if name + SCALE in scales:
            _check_shape(file, name + SCALE, stored, tuple(tensor.shape[:1]))
    return {name: keeping.keep(name, _value(stored, name, tensor.dtype)) for name, tensor in expected.items()}


def _value(stored: MappedFile, name: str, dtype: torch.dtype) -> Tensor:
    """One tensor in the precision it is used in, from what is stored under its name and perhaps a scale."""
    file, tensor = stored.path, stored.read(name)
    scale = stored.read(name + SCALE) if name + SCALE in stored.shapes else None
    wanted = torch.int8 if scale is not None else dtype
    if tensor.dtype != wanted and not (tensor.is_floating_point() and wanted.is_floating_point):
        raise CheckpointError(f"{file}: {name} is stored as {tensor.dtype}, which cannot be read as {wanted}")
    value = (tensor if scale is None else dequantize_rows(tensor, scale.float())).to(dtype, copy=scale is None)
    if not is_finite(value):
        raise CheckpointError(f"{file}: {name} holds values that are not finite")
    return value


def _check_shape(file: Path, name: str, stored: MappedFile, expected: tuple[int, ...]) -> None:
    shape = stored.shapes[name]
    if shape != expected:
        raise CheckpointError(f"{file}: {name} is {shape}, its config makes it {expected}")
