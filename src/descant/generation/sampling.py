"""Sampling codes from logits: pure functions, one row of settings per row of logits."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.request import Sampling

NOISE_STEPS = 32


@dataclass(frozen=True)
class SamplingRows:
    """The settings of R rows as tensors, so that one call samples for requests with different settings."""

    temperature: Float[Tensor, "R 1 1"]
    top_k: Int[Tensor, "R 1 1"]
    top_p: Float[Tensor, "R 1 1"]
    is_greedy: tuple[bool, ...]

    @staticmethod
    def of(settings: list[Sampling], num_entries: int, device: torch.device) -> "SamplingRows":
        """Settings for codebooks of ``num_entries``; a ``top_k`` above that keeps all."""
        top_k = [min(row.top_k or num_entries, num_entries) for row in settings]
        return SamplingRows(
            temperature=_column([row.temperature for row in settings], device),
            top_k=torch.tensor(top_k, device=device).reshape(-1, 1, 1),
            top_p=_column([row.top_p for row in settings], device),
            is_greedy=tuple(row.greedy for row in settings),
        )


def sample(logits: Float[Tensor, "R K V"], settings: SamplingRows, noise: Float[Tensor, "R K V"]) -> Int[Tensor, "R K"]:
    """One code per row and codebook.

    Drawn as argmax(p / e) with e ~ Exp(1), the same distribution as ``torch.multinomial`` without its host sync; in the
    log domain, since p itself may underflow at low temperatures. A greedy row ignores its noise.

    Args:
        noise: independent draws of Exp(1).
    """
    # Relative to the largest: divided as they are, large logits at a tiny temperature would all become infinite.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)).float() / settings.temperature
    scaled = keep_top_k(scaled, settings.top_k)
    if bool((settings.top_p < 1).any()):
        scaled = keep_top_p(scaled, settings.top_p)
    race = scaled - noise.log()
    if any(settings.is_greedy):
        greedy = torch.tensor(settings.is_greedy, device=logits.device)[:, None, None]
        race = torch.where(greedy, logits.float(), race)
    return race.argmax(dim=-1)


def keep_top_k(logits: Float[Tensor, "R K V"], top_k: Int[Tensor, "R 1 1"]) -> Float[Tensor, "R K V"]:
    """Minus infinity for all but the k largest of each row; entries equal to the k-th largest all stay."""
    largest = int(top_k.max())
    if largest >= logits.shape[-1] and int(top_k.min()) >= logits.shape[-1]:
        return logits
    values = logits.topk(largest, dim=-1).values
    smallest_kept = values.gather(-1, (top_k - 1).expand(-1, logits.shape[1], 1))
    return logits.masked_fill(logits < smallest_kept, -torch.inf)


def keep_top_p(logits: Float[Tensor, "R K V"], top_p: Float[Tensor, "R 1 1"]) -> Float[Tensor, "R K V"]:
    """Minus infinity for all but the fewest likeliest codes whose probability reaches p (arXiv 1904.09751)."""
    # Stable, so that which of equal codes are kept does not depend on the number of rows.
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, (before >= top_p) & (top_p < 1))
    return logits.masked_fill(dropped, -torch.inf)


def _column(values: list[float], device: torch.device) -> Float[Tensor, "R 1 1"]:
    # A value may be too small for float32, and none of them may be zero.
    column = torch.tensor(values, dtype=torch.float32, device=device).clamp(min=torch.finfo(torch.float32).tiny)
    return column.reshape(-1, 1, 1)


class NoiseSource:
    """The random numbers of one request: they depend on its seed alone, never on other requests in the batch.

    Drawn on the CPU whatever the device, so that a seed means the same everywhere.
    """

    def __init__(self, seed: int, num_codebooks: int, num_entries: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._shape = (NOISE_STEPS, num_codebooks, num_entries)
        self._block = torch.empty(0)
        self._used = NOISE_STEPS

    def next(self) -> Float[Tensor, "K V"]:
        """Exp(1) noise for one step. Drawn in blocks: a call for each step would cost more than drawing the numbers."""
        if self._used == NOISE_STEPS:
            self._block = torch.empty(self._shape).exponential_(generator=self._generator)
            self._used = 0
        self._used += 1
        return self._block[self._used - 1]
