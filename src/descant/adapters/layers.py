"""Models with adapters: the same weights in the same memory, with changes computed beside them or merged into them."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant.adapters.lora import Adapter, LowRank, adaptable, num_maps, shape_of_layer
from descant.errors import InvalidRequest
from descant.model import MusicGenModel
from descant.nn.copies import with_same_tensors


class AdaptedLinear(nn.Module):
    """A linear layer and the changes of its maps: ``W x + scale * up (down x)`` for each.

    Args:
        layer: it is shared, not copied. Any with ``in_features`` and ``out_features``, and ``part`` where parts of it
            are computed.
        changes: one for each map that the matrix holds, from top to bottom; None for one without a change.
        dropout: what the inputs of the changes go through; layers may share it.
    """

    def __init__(self, layer: nn.Module, changes: Sequence[LowRank | None], dropout: nn.Dropout | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.dropout = dropout or nn.Dropout(0.0)
        self.changes = tuple(changes)
        self.map_size = shape_of_layer(layer)[0] // len(self.changes)

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        return self.layer(x) + self._change(x, self.changes)

    def part(self, x: Float[Tensor, "*batch I"], first: int, last: int | None = None) -> Float[Tensor, "*batch part"]:
        """As ``FusedLinear.part``; ``first`` and ``last`` lie between two maps."""
        changes = self.changes[first // self.map_size : None if last is None else last // self.map_size]
        return self.layer.part(x, first, last) + self._change(x, changes)  # type: ignore[operator]

    def _change(self, x: Float[Tensor, "*batch I"], changes: Sequence[LowRank | None]) -> Float[Tensor, "*batch part"]:
        x = self.dropout(x)
        parts = [
            x.new_zeros(*x.shape[:-1], self.map_size)
            if change is None
            else F.linear(F.linear(x, change.down.to(x.dtype)), change.up.to(x.dtype)) * change.scale
            for change in changes
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class AdaptedEmbedding(nn.Module):
    """A table of embeddings, which is shared, and its change, from which each code takes a row."""

    def __init__(self, layer: nn.Embedding, change: LowRank) -> None:
        super().__init__()
        self.layer, self.change = layer, change

    def forward(self, codes: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch D"]:
        rows: Float[Tensor, "*batch D"] = self.layer(codes)
        change = F.embedding(codes, self.change.up) @ self.change.down * self.change.scale
        return rows + change.to(rows.dtype)


def adapted(model: MusicGenModel, adapter: Adapter, dropout: nn.Dropout | None = None) -> MusicGenModel:
    """A model that computes with these changes beside its own weights. It shares all memory with ``model``, which stays
    as it is.

    Args:
        dropout: for training, as in ``AdaptedLinear``.

    Raises:
        InvalidRequest: the adapter changes a matrix that the model does not have, or that has another shape there.
    """
    check_fits(model, adapter)
    result = _shallow_copy(model)
    for name, changes in adapter.changes.items():
        layer = model.get_submodule(name.removesuffix(".weight"))
        if isinstance(layer, nn.Embedding):
            (change,) = changes
            _replace(result, name, layer if change is None else AdaptedEmbedding(layer, change))
        else:
            _replace(result, name, AdaptedLinear(layer, changes, dropout))
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
    shapes = adaptable(model)
    for name, changes in adapter.changes.items():
        if name not in shapes:
            raise InvalidRequest(f"adapter: it changes {name}, which this model does not have")
        num_outputs, num_inputs = shapes[name]
        needed = (num_outputs // num_maps(name), num_inputs)
        for change in changes:
            if change is not None and (change.up.shape[0], change.down.shape[1]) != needed:
                found = (change.up.shape[0], change.down.shape[1])
                raise InvalidRequest(f"adapter: it changes {name} as {found}, this model has {needed}")


def _merged(layer: nn.Module, changes: Sequence[LowRank | None]) -> nn.Module:
    weight = layer._parameters.get("weight")
    if weight is None or weight.is_meta:
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
            result._modules[name] = with_same_tensors(model.get_submodule(name))
    return result
