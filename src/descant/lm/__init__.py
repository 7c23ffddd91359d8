"""The language model: from codes to the next codes."""

from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import LMConfig, MusicLM

__all__ = ["LMConfig", "MusicLM", "pattern_cross_entropy"]
