"""Codes to the codes that come next."""

from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import LMConfig, MusicLM

__all__ = ["LMConfig", "MusicLM", "pattern_cross_entropy"]
