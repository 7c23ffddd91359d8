"""Constants that keep the codes of a request the same alone and in any batch."""

CONDITION_STEPS = 64
"""Text conditions are padded to a multiple of this, so that requests with short texts can share a batch and a row's
attention sums over the same number of positions in any company."""
