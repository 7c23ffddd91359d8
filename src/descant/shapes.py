"""The legend of dimension letters, the same in every signature, and the three tensors everyone passes around.

B batch, K codebooks (Q when stereo doubles them), T frames, S steps of the interleaved sequence, V entries of a
codebook, D width, H heads, E width of a head, L positions of a cross condition, P prefix positions, C channels,
N samples. In generation R requests that are being decoded; I and O inputs and outputs of a linear layer.
"""

from typing import TypeAlias

from jaxtyping import Float, Int
from torch import Tensor

Codes: TypeAlias = Int[Tensor, "B K T"]
"""Codebook indices in frame order."""

Sequence: TypeAlias = Int[Tensor, "B K S"]
"""Codebook indices in the order a pattern gives them; empty cells hold the special code V."""

Wave: TypeAlias = Float[Tensor, "B C N"]
"""Audio samples in [-1, 1]."""

Logits: TypeAlias = Float[Tensor, "B K S V"]
"""Unnormalised log-probabilities of every code at every step."""
