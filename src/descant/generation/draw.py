"""From the logits of a step to its codes: guidance and sampling as one function, which a GPU records in a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.guidance import apply_term
from descant.generation.runtimes.cuda_graphs import GraphedFunction
from descant.generation.sampling import SamplingRows, TopK, sample

Drawn: TypeAlias = tuple[Int[Tensor, "jobs K"], Float[Tensor, "jobs K"]]


@dataclass(frozen=True)
class Term:
    """One guidance term at a step: the row of the logits where its negative conditions begin, and the scale of each job
    that has it."""

    first_row: int
    scales: Float[Tensor, "R 1 1"]


Draw: TypeAlias = Callable[[Tensor, Sequence[Term], SamplingRows, Tensor], Drawn]
"""Draws the codes of a step, as `draw` does."""


def draw(
    logits: Float[Tensor, "B K V"],
    terms: Sequence[Term],
    settings: SamplingRows,
    log_noise: Float[Tensor, "jobs K V"],
) -> Drawn:
    """One code per job and codebook, and the values with which they won, as from ``sample``.

    Args:
        logits: each job's own rows come first.
        terms: applied in their order.
    """
    logits = logits.float()
    guided = logits[: len(log_noise)]
    for term in terms:
        guided = apply_term(guided, logits, term.first_row, term.scales)
    return sample(guided, settings, log_noise)


class GraphedDraw:
    """``draw``, recorded in a CUDA graph for each arrangement of jobs; plain on other devices."""

    def __init__(self, device: torch.device, is_captured: bool = True) -> None:
        self._function = GraphedFunction(_draw_tensors, device, is_captured)

    def __call__(
        self,
        logits: Float[Tensor, "B K V"],
        terms: Sequence[Term],
        settings: SamplingRows,
        log_noise: Float[Tensor, "jobs K V"],
    ) -> Drawn:
        top_k = settings.top_k
        optional = {
            "temperature": settings.temperature,
            "top_k": None if top_k is None else top_k.column,
            "top_p": settings.top_p,
            "is_greedy": settings.is_greedy,
        }
        given = {name: tensor for name, tensor in optional.items() if tensor is not None}
        codes, values = self._function(
            new=(logits, log_noise),
            constant=(*(term.scales for term in terms), *given.values()),
            first_rows=tuple(term.first_row for term in terms),
            names=tuple(given),
            counts=None if top_k is None else top_k.counts,
        )
        return codes, values


def draw_for(device: torch.device) -> Draw:
    """The way to draw on a device. A graph has static memory, so each thread needs its own."""
    return GraphedDraw(device) if device.type == "cuda" else draw


def copy_without_waiting(values: Float[Tensor, "*shape"], device: torch.device) -> Float[Tensor, "*shape"]:
    """The values on a device. A GPU reads page-locked memory by itself, while this thread goes on; to copy from any
    other, the thread would wait until the GPU has done all the steps before."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def _draw_tensors(
    logits: Tensor,
    log_noise: Tensor,
    *constant: Tensor,
    first_rows: tuple[int, ...],
    names: tuple[str, ...],
    counts: tuple[int, ...] | None,
) -> Drawn:
    terms = [Term(first_row, scales) for first_row, scales in zip(first_rows, constant, strict=False)]
    given = dict(zip(names, constant[len(terms) :], strict=True))
    settings = SamplingRows(
        temperature=given.get("temperature"),
        top_k=None if counts is None else TopK(counts, given.get("top_k")),
        top_p=given.get("top_p"),
        is_greedy=given.get("is_greedy"),
    )
    return draw(logits, terms, settings, log_noise)
