"""Residual vector quantisation: each level codes the residual of the one before it (arXiv 2107.03312, section III-C).

Codebooks are not learned by gradient. They start as the k-means centres of the first batch and then follow the running
mean of the vectors assigned to them (arXiv 2210.13438, section 3.2). Random draws come from torch's global generator,
as for dropout; the trainer seeds it. Processes that train together learn one set of codebooks from the vectors of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant import processes
from descant.errors import ConfigError
from descant.shapes import Codes

MAX_CODEBOOKS = 256
"""More are an invalid config: codebooks take time to create even on the meta device."""


@dataclass(frozen=True, kw_only=True)
class RVQConfig:
    """The defaults are MusicGen's 32 kHz codec.

    Args:
        codebook_dim: width of the codebook entries; where it differs from ``dim`` each level projects in and out.
        decay: decay of the running means that codebooks are, per batch.
        dead_code_threshold: an entry whose running count falls below it is restarted at a random vector of the batch.
        dead_code_relative: the threshold is a fraction of the mean count, so that it does not depend on batch size.
        unquantized_batches: number of first training batches whose latents pass unquantised. The commitment loss would
            make an untrained encoder collapse to one point, from which it never recovers.
    """

    dim: int = 128
    num_codebooks: int = 4
    codebook_size: int = 2_048
    codebook_dim: int = 128
    decay: float = 0.99
    kmeans_iterations: int = 50
    dead_code_threshold: float = 2.0
    dead_code_relative: bool = False
    unquantized_batches: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "num_codebooks", "codebook_size", "codebook_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: at least 1 is needed")
        if self.num_codebooks > MAX_CODEBOOKS:
            raise ConfigError(f"num_codebooks={self.num_codebooks}: at most {MAX_CODEBOOKS}")
        if not 0 < self.decay < 1:
            raise ConfigError(f"decay={self.decay}: a running mean needs a value between 0 and 1")


@dataclass(frozen=True)
class Quantized:
    """Latents rounded to codebook entries, the entries' indices, and the commitment loss."""

    latents: Float[Tensor, "B D T"]
    codes: Codes
    commitment_loss: Float[Tensor, ""]


class ResidualVectorQuantizer(nn.Module):
    """K codebooks, each quantising the residual of the one before."""

    batches_seen: Tensor

    def __init__(self, config: RVQConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(VectorQuantizer(config) for _ in range(config.num_codebooks))
        self.projects = config.codebook_dim != config.dim
        self.is_frozen = False
        self.register_buffer("batches_seen", torch.zeros(1, dtype=torch.long))

    def forward(self, latents: Float[Tensor, "B D T"], num_levels: int | None = None) -> Quantized:
        """The quantised latents; in training mode the codebooks learn from them unless ``is_frozen``.

        The gradient passes straight through to ``latents``. Runs in float32 even under autocast: distances in
        half precision pick wrong neighbours.

        Args:
            num_levels: only the first levels quantise and learn; None is all.
        """
        learn = self.training and not self.is_frozen
        if learn:
            self.batches_seen += 1
            if self.batches_seen <= self.config.unquantized_batches:
                return self._unquantized(latents)
        with torch.autocast(latents.device.type, enabled=False):
            vectors = rearrange(latents.float(), "B D T -> B T D")
            residual, total = vectors, torch.zeros_like(vectors)
            codes, losses = [], []
            for number, level in enumerate(self.levels):
                if num_levels is not None and number >= num_levels:
                    if learn and processes.count() > 1:
                        # Another process may use this level, and all have to take part in what it learns.
                        level(residual[:0], learn)
                    continue
                chosen, quantized, loss = level(residual, learn)
                residual = residual - quantized.detach()
                total = total + quantized
                codes.append(chosen)
                losses.append(loss)
            if not self.projects:
                total = vectors + (total - vectors).detach()
            return Quantized(
                latents=rearrange(total, "B T D -> B D T").to(latents.dtype),
                codes=torch.stack(codes, dim=1),
                commitment_loss=torch.stack(losses).mean(),
            )

    def _unquantized(self, latents: Float[Tensor, "B D T"]) -> Quantized:
        codes = torch.zeros(len(latents), len(self.levels), latents.shape[-1], dtype=torch.long, device=latents.device)
        return Quantized(latents=latents, codes=codes, commitment_loss=latents.new_zeros(()))

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def encode(self, latents: Float[Tensor, "B D T"]) -> Codes:
        """The nearest entry of every level, without learning."""
        residual = rearrange(latents.float(), "B D T -> B T D")
        codes = []
        for level in self._quantizers():
            chosen = nearest(level.project_in(residual), level.codebook)
            residual = residual - level.look_up(chosen)
            codes.append(chosen)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Codes) -> Float[Tensor, "B D T"]:
        """The sum of the entries that the codes index."""
        looked_up = [level.look_up(chosen) for level, chosen in zip(self._quantizers(), codes.unbind(1), strict=True)]
        return rearrange(torch.stack(looked_up).sum(dim=0), "B T D -> B D T")

    def _quantizers(self) -> list["VectorQuantizer"]:
        return [level for level in self.levels if isinstance(level, VectorQuantizer)]


class VectorQuantizer(nn.Module):
    """One level: a codebook whose entries are running means of the vectors nearest to them."""

    codebook: Tensor
    codebook_sum: Tensor
    usage: Tensor
    is_initialized: Tensor

    def __init__(self, config: RVQConfig) -> None:
        super().__init__()
        self.config = config
        self.projects = config.codebook_dim != config.dim
        self.project_in = nn.Linear(config.dim, config.codebook_dim, bias=False) if self.projects else nn.Identity()
        self.project_out = nn.Linear(config.codebook_dim, config.dim, bias=False) if self.projects else nn.Identity()
        self.register_buffer("codebook", torch.zeros(config.codebook_size, config.codebook_dim))
        self.register_buffer("codebook_sum", torch.zeros(config.codebook_size, config.codebook_dim))
        self.register_buffer("usage", torch.zeros(config.codebook_size))
        self.register_buffer("is_initialized", torch.zeros(1))

    def forward(
        self, residual: Float[Tensor, "B T D"], learn: bool
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B T D"], Float[Tensor, ""]]:
        """Codes, quantised vectors (their gradient reaches the projections only) and the commitment loss."""
        vectors = self.project_in(residual)
        rows = rearrange(vectors.detach(), "B T E -> (B T) E")
        # Processes may have different numbers of rows, and some of them none.
        counts = processes.row_counts(rows) if learn else []
        if any(counts) and not self.is_initialized:
            self._start(rows)
        codes = nearest(vectors, self.codebook)
        quantized = F.embedding(codes, self.codebook)
        loss = F.mse_loss(vectors, quantized)
        if any(counts):
            self._follow(rows, codes.flatten(), counts)
        if self.projects:
            quantized = self.project_out(vectors + (quantized - vectors).detach())
        return codes, quantized, loss

    def look_up(self, codes: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows D"]:
        """The entries that codes index, in the width of the latents."""
        return self.project_out(F.embedding(codes, self.codebook))

    @torch.no_grad()
    def _start(self, vectors: Float[Tensor, "rows E"]) -> None:
        centres = kmeans(vectors, self.config.codebook_size, self.config.kmeans_iterations)
        members = nearest(vectors, centres)
        counts = processes.sum_of_all(torch.bincount(members, minlength=len(centres)).to(vectors.dtype))
        self.codebook.copy_(centres)
        self.usage.copy_(counts)
        self.codebook_sum.copy_(centres * counts[:, None])
        self.is_initialized.fill_(1)

    @torch.no_grad()
    def _follow(self, vectors: Float[Tensor, "rows E"], codes: Int[Tensor, " rows"], row_counts: Sequence[int]) -> None:
        weight = 1 - self.config.decay
        counts = torch.bincount(codes, minlength=self.config.codebook_size).to(vectors.dtype)
        sums = torch.zeros_like(self.codebook).index_add_(0, codes, vectors)
        processes.sum_of_all(counts)
        processes.sum_of_all(sums)
        self.usage.lerp_(counts, weight)
        self.codebook_sum.lerp_(sums, weight)
        self._restart_dead(vectors, row_counts)
        # Laplace smoothing keeps rarely chosen entries from being divided by almost zero.
        total, epsilon = self.usage.sum(), 1e-5
        smoothed = (self.usage + epsilon) / (total + len(self.usage) * epsilon) * total
        self.codebook.copy_(self.codebook_sum / smoothed[:, None])

    def _restart_dead(self, vectors: Float[Tensor, "rows E"], row_counts: Sequence[int]) -> None:
        """Moves unused entries to random vectors of the batch.

        Usage and sum are set too. If only the entry moved, the next running mean would put it straight back
        (facebookresearch/encodec#61).
        """
        mean_usage = self.usage.mean()
        threshold = self.config.dead_code_threshold * (mean_usage if self.config.dead_code_relative else 1.0)
        dead = (self.usage < threshold).nonzero().squeeze(1)
        if len(dead):
            drawn = torch.randint(sum(row_counts), (len(dead),), device=vectors.device)
            picked = processes.rows_of_all(vectors, processes.from_first(drawn), row_counts)
            fresh_usage = torch.maximum(mean_usage, torch.as_tensor(threshold, device=vectors.device))
            self.usage[dead] = fresh_usage
            self.codebook_sum[dead] = picked * fresh_usage


def nearest(vectors: Float[Tensor, "*rows E"], entries: Float[Tensor, "V E"]) -> Int[Tensor, "*rows"]:
    """For every vector the index of the entry at the smallest Euclidean distance."""
    return (2 * vectors @ entries.T - entries.square().sum(dim=-1)).argmax(dim=-1)


def kmeans(vectors: Float[Tensor, "rows E"], num_centres: int, iterations: int) -> Float[Tensor, "V E"]:
    """Centres of ``num_centres`` clusters of the vectors of all processes, by Lloyd's algorithm from a random start.

    A centre that loses all its vectors stays where it was. With fewer vectors than centres some centres coincide.
    """
    row_counts = processes.row_counts(vectors)
    rows = sum(row_counts)
    if rows >= num_centres:
        picked = torch.randperm(rows, device=vectors.device)[:num_centres]
    else:
        picked = torch.randint(rows, (num_centres,), device=vectors.device)
    centres = processes.rows_of_all(vectors, processes.from_first(picked), row_counts).clone()
    for _ in range(iterations):
        members = nearest(vectors, centres)
        counts = processes.sum_of_all(torch.bincount(members, minlength=num_centres))
        sums = processes.sum_of_all(torch.zeros_like(centres).index_add_(0, members, vectors))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres
