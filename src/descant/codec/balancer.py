"""Losses balanced by the norms of their gradients instead of by their values."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant import processes
from descant.errors import ConfigError, InvalidRequest
from descant.shapes import Wave


class Balancer(nn.Module):
    """The gradient balancer of EnCodec (arXiv 2210.13438, section 3.4, equation 4).

    The gradient of each loss with respect to the codec's output is scaled to the norm that its weight asks for, so a
    weight is a share of the decoder's gradient. Norms are running means, so that one outlier batch is harmless; they
    are buffers, so a resumed run continues with the same balance.

    Args:
        weights: the share of every loss, by its name.
        total_norm: norm of the sum if all gradients pointed in one direction.
        decay: decay of the running means per step.
    """

    norm_sums: Tensor
    norm_counts: Tensor

    def __init__(self, weights: Mapping[str, float], total_norm: float = 1.0, decay: float = 0.999) -> None:
        super().__init__()
        if not weights or min(weights.values()) <= 0:
            raise ConfigError(f"weights={dict(weights)}: give at least one loss, all above zero; leave out the others")
        if not 0 <= decay < 1:
            raise ConfigError(f"decay={decay:g}: must be in [0, 1)")
        # Sorted, because the buffers are by position and a checkpoint must not depend on the order of a dict.
        self.weights = {name: weights[name] for name in sorted(weights)}
        self.total_norm = total_norm
        self.decay = decay
        self.register_buffer("norm_sums", torch.zeros(len(weights)))
        self.register_buffer("norm_counts", torch.zeros(len(weights)))

    def forward(self, losses: Mapping[str, Float[Tensor, ""]], wave: Wave) -> Float[Tensor, ""]:
        """One loss with a balanced gradient with respect to ``wave``; its value is the sum of the scaled losses.

        Only ``wave`` and what computed it get a gradient: discriminators, through which some of the losses pass, do
        not. A loss may be absent in some steps; the weights of the others are then renormalised.

        Raises:
            InvalidRequest: a loss that no weight was given for.
        """
        unknown = sorted(set(losses) - set(self.weights))
        if unknown or not losses:
            raise InvalidRequest(f"losses {sorted(losses)}: need at least one, all of {', '.join(self.weights)}")
        gradients = {name: torch.autograd.grad(loss, wave, retain_graph=True)[0] for name, loss in losses.items()}
        total_weight = sum(self.weights[name] for name in losses)
        balanced = torch.zeros_like(wave)
        value = torch.zeros((), device=wave.device)
        for index, name in enumerate(self.weights):
            if name in losses:
                norm = self._follow(index, gradients[name])
                scale = self.weights[name] / total_weight * self.total_norm / norm.clamp(min=1e-12)
                balanced += scale * gradients[name]
                value += scale * losses[name].detach()
        # The product has exactly the balanced gradient; its own value means nothing and is subtracted again.
        carrier = (wave * balanced).sum()
        return value + carrier - carrier.detach()

    @torch.no_grad()
    def _follow(self, index: int, gradient: Wave) -> Float[Tensor, ""]:
        """The running mean of a loss's gradient norm, itself the mean over the rows of all processes."""
        norm = processes.sum_of_all(gradient.float().flatten(start_dim=1).norm(dim=1).mean()) / processes.count()
        if self.training:
            self.norm_sums[index].mul_(self.decay).add_(norm)
            self.norm_counts[index].mul_(self.decay).add_(1)
        return self.norm_sums[index] / self.norm_counts[index]
