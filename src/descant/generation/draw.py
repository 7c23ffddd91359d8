"""From the logits of a step to its codes: guidance and sampling as one function, which a GPU records in a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.compiled.code import LANES
from descant.generation.guidance import apply_term
from descant.generation.runtimes.cuda_graphs import GraphedFunction
from descant.generation.runtimes.native import is_supported
from descant.generation.runtimes.native.drawing import DrawSettings, draw_codes
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


class CompiledDraw:
    """``draw``, compiled for the CPU; plain where a job has ``top_p``, and for codebooks of no multiple of 32 entries.

    It keeps the last settings in the form that the compiled function reads.
    """

    def __init__(self) -> None:
        self._settings: SamplingRows | None = None
        self._of_jobs: DrawSettings

    def __call__(
        self,
        logits: Float[Tensor, "B K V"],
        terms: Sequence[Term],
        settings: SamplingRows,
        log_noise: Float[Tensor, "jobs K V"],
    ) -> Drawn:
        num_jobs, _, num_entries = log_noise.shape
        of_jobs = self.settings_of(settings, num_jobs, num_entries)
        if of_jobs is None:
            return draw(logits, terms, settings, log_noise)
        logits = logits.float()
        return draw_codes(
            logits if logits.stride(-1) == 1 else logits.contiguous(),
            [(term.first_row, term.scales) for term in terms],
            of_jobs,
            log_noise.contiguous(),
        )

    def settings_of(self, settings: SamplingRows, num_jobs: int, num_entries: int) -> DrawSettings | None:
        """The settings as the compiled function reads them; None where it cannot draw."""
        if settings.top_p is not None or num_entries % LANES:
            return None
        if settings is not self._settings:
            self._settings, self._of_jobs = settings, _draw_settings(settings, num_jobs, num_entries)
        return self._of_jobs


def draw_for(device: torch.device) -> Draw:
    """The way to draw on a device, for one thread."""
    if device.type == "cpu" and is_supported():
        return CompiledDraw()
    return GraphedDraw(device) if device.type == "cuda" else draw


def copy_without_waiting(values: Float[Tensor, "*shape"], device: torch.device) -> Float[Tensor, "*shape"]:
    """The values on a device. A GPU reads page-locked memory by itself, while this thread goes on; to copy from any
    other, the thread would wait until the GPU has done all the steps before."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def _draw_settings(settings: SamplingRows, num_jobs: int, num_entries: int) -> DrawSettings:
    temperatures, top_ks = np.ones(num_jobs, np.float32), np.full(num_jobs, num_entries, np.int64)
    are_greedy = np.zeros(num_jobs, np.int64)
    if settings.temperature is not None:
        temperatures[:] = settings.temperature.flatten().numpy()
    if settings.top_k is not None:
        top_ks[:] = settings.top_k.counts
    if settings.is_greedy is not None:
        are_greedy[:] = settings.is_greedy.flatten().numpy()
    return DrawSettings(temperatures, top_ks, are_greedy)


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
