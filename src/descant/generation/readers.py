"""Requests read for one call: what several of them share, such as a melody, is read once."""

from dataclasses import dataclass

from descant.generation.audition import Audition
from descant.generation.prepared import Preparer
from descant.generation.request import Request
from descant.generation.resolve import Resolver
from descant.generation.state import GenerationState
from descant.generation.variants import Variant, Variants


@dataclass(frozen=True, eq=False)
class ReadRequest:
    """A request that can be generated at once, and the model with its adapters."""

    variant: Variant
    state: GenerationState


class Readers:
    """Reads the requests of one call. It belongs to one thread; what it gives may go to another."""

    def __init__(self, variants: Variants) -> None:
        self._variants = variants
        self._of: dict[Variant, tuple[Resolver, Preparer]] = {}

    def read(self, request: Request, audition: Audition | None = None) -> ReadRequest:
        """Resolves a request and prepares its conditions, which takes long where a melody or a prompt is long.

        Raises:
            InvalidRequest: it asks for something that this model cannot do.
        """
        variant = self._variants.of(request.mixture)
        if variant not in self._of:
            self._of[variant] = Resolver(variant.model), Preparer(variant.model)
        resolver, preparer = self._of[variant]
        # Later sections are prepared when the music gets there; the resolver has already checked their texts.
        return ReadRequest(variant, GenerationState(variant.model, resolver.resolve(request), preparer, audition))
