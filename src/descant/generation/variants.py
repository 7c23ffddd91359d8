"""The model as requests want it: alone, or with adapters."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

from descant.adapters import Adapter, stacked
from descant.adapters.layers import adapted
from descant.generation.runtimes import Runtime
from descant.model import MusicGenModel

MAX_KEPT = 8
"""Mixtures of adapters that are kept, those used last; the packed weights of one take as much memory as its files."""

Mixture: TypeAlias = tuple[tuple[Adapter, float], ...]


@dataclass(frozen=True, eq=False)
class Variant:
    """A model, perhaps with adapters, and what executes its steps."""

    model: MusicGenModel
    runtime: Runtime


class Variants:
    """A model and what adapters make of it; weights are shared. Threads may share it."""

    def __init__(self, model: MusicGenModel, runtime: Runtime) -> None:
        self._plain = Variant(model, runtime)
        self._kept: OrderedDict[Mixture, Variant] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def runtime(self) -> Runtime:
        """That of the model alone."""
        return self._plain.runtime

    def of(self, adapters: Mixture) -> Variant:
        """The model with these adapters at their strengths.

        Raises:
            InvalidRequest: one was made for a model of another shape.
        """
        mixture = tuple((adapter, strength) for adapter, strength in adapters if strength != 0)
        if not mixture:
            return self._plain
        with self._lock:
            variant = self._kept.pop(mixture) if mixture in self._kept else self._made(mixture)
            self._kept[mixture] = variant
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return variant

    def _made(self, mixture: Mixture) -> Variant:
        model = adapted(self._plain.model, stacked(mixture))
        return Variant(model, self._plain.runtime.adapted(model.lm))
