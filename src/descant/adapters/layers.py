"""Models with adapters: the same weights in the same memory, with changes computed beside them or merged into them."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.adapters.lora import Adapter, LowRank, num_maps
from descant.errors import InvalidRequest
from descant.model import MusicGenModel


class AdaptedLinear(nn.Module):
    """A linear layer and the changes of its maps: ``W x + scale * up (down x)`` for each.

    Args:
        layer: its weights are shared, not copied, and are not trained.
        changes: one for each map that the matrix holds, from top to bottom; None for one without a change.
        dropout: what the inputs of the changes go through; layers may share it.
    """

    def __init__(self, layer: nn.Linear, changes: Sequence[LowRank | None], dropout: nn.Dropout | None = None) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias
        self.dropout = dropout or nn.Dropout(0.0)
        self.changes = tuple(changes)

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        return F.linear(x, self.weight, self.bias) + self._change(x, self.changes)

    def part(self, x: Float[Tensor, "*batch I"], first: int, last: int | None = None) -> Float[Tensor, "*batch part"]:
        """As ``FusedLinear.part``; ``first`` and ``last`` lie between two maps."""
        size = len(self.weight) // len(self.changes)
        changes = self.changes[first // size : None if last is None else last // size]
        return F.linear(x, self.weight[first:last]) + self._change(x, changes)

    def _change(self, x: Float[Tensor, "*batch I"], changes: Sequence[LowRank | None]) -> Float[Tensor, "*batch part"]:
        size = len(self.weight) // len(self.changes)
        x = self.dropout(x)
        parts = [
            x.new_zeros(*x.shape[:-1], size)
            if change is None
            else F.linear(F.linear(x, change.down.to(x.dtype)), change.up.to(x.dtype)) * change.scale
            for change in changes
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def adapted(model: MusicGenModel, adapter: Adapter, dropout: nn.Dropout | None = None) -> MusicGenModel:
    """A model that computes with these changes beside its own weights. It shares all memory with ``model``, which stays
    as it is; only embeddings, which are tables, are changed copies.

    Args:
        dropout: for training, as in ``AdaptedLinear``.

    Raises:
        InvalidRequest: the adapter changes a matrix that the model does not have, or that has another shape there.
    """
    check_fits(model, adapter)
    result = _shallow_copy(model)
    for name, changes in adapter.changes.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        if isinstance(layer, nn.Linear):
            _replace(result, name, AdaptedLinear(layer, changes, dropout))
        else:
            _replace(result, name, _merged(layer, changes))
    return result


def merged(model: MusicGenModel, adapter: Adapter) -> MusicGenModel:
    """A model whose changed matrices are copies with the changes added. Everything else is shared with ``model``.

    Raises:
        InvalidRequest: as ``adapted``; or the model keeps only rounded weights, to which nothing can be added.
    """
    check_fits(model, adapter)
    result = _shallow_copy(model)
    for name, changes in adapter.changes.items():
        _replace(result, name, _merged(model.get_submodule(name.removesuffix(".weight")), changes))
    return result


def check_fits(model: MusicGenModel, adapter: Adapter) -> None:
    """Raises an error if an adapter was made for another shape of model.

    Raises:
        InvalidRequest: it changes a matrix that the model does not have, or that has another shape there.
    """
    parameters = dict(model.named_parameters())
    for name, changes in adapter.changes.items():
        if name not in parameters:
            raise InvalidRequest(f"adapter: it changes {name}, which this model does not have")
        num_outputs, num_inputs = parameters[name].shape
        needed = (num_outputs // num_maps(name), num_inputs)
        for change in changes:
            if change is not None and (change.up.shape[0], change.down.shape[1]) != needed:
                found = (change.up.shape[0], change.down.shape[1])
                raise InvalidRequest(f"adapter: it changes {name} as {found}, this model has {needed}")


def _merged(layer: nn.Module, changes: Sequence[LowRank | None]) -> nn.Module:
    weight = layer.get_parameter("weight")
    if weight.is_meta:
        raise InvalidRequest("adapter: a model with rounded weights cannot take it in; load it in fp32, bf16 or fp16")
    parts = weight.detach().float().clone().chunk(len(changes))
    for part, change in zip(parts, changes, strict=True):
        if change is not None:
            part += change.dense().detach()
    result = copy.copy(layer)
    result._parameters = {**layer._parameters}
    result.register_parameter("weight", nn.Parameter(torch.cat(parts).to(weight.dtype), weight.requires_grad))
    return result


def _replace(model: MusicGenModel, name: str, layer: nn.Module) -> None:
    """Puts a layer where the one with this weight is."""
    *path, last, _ = name.split(".")
    model.get_submodule(".".join(path)).register_module(last, layer)


def _shallow_copy(model: MusicGenModel) -> MusicGenModel:
    """A model of new modules around the same tensors. The codec and all frozen encoders are the same objects."""
    result = copy.copy(model)
    result._modules = {**model._modules}
    for name in ("lm", "text", "melody"):
        if model._modules.get(name) is not None:
            result._modules[name] = _same_tensors(model.get_submodule(name))
    return result


def _same_tensors(module: nn.Module) -> nn.Module:
    result = copy.copy(module)
    result._parameters, result._buffers = {**module._parameters}, {**module._buffers}
    result._modules = {name: child and _same_tensors(child) for name, child in module._modules.items()}
    return result
