"""The vectors of the texts that were read last, so that a prompt that comes again costs nothing."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

MAX_BYTES = 2**23
"""Of the vectors of one encoder; a text of twenty tokens takes 2**16 with T5-base."""

Vectors: TypeAlias = Float[Tensor, "_ D"]


class RecentTexts:
    """Vectors by text, for each encoder; those used least recently are forgotten first.

    Encoders are frozen, so what was read once stays true. Threads may share it. The vectors are for reading only.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[object, OrderedDict[str, Vectors]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def states_of(
        self, encoder: object, texts: Sequence[str], read: Callable[[Sequence[str]], list[Vectors]]
    ) -> list[Vectors]:
        """The vectors of each text; ``read`` gives those of the texts that are not kept."""
        with self._lock:
            kept = self._kept.setdefault(encoder, OrderedDict())
            found = {text: kept[text] for text in texts if text in kept}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        found |= dict(zip(missing, read(missing), strict=True)) if missing else {}
        with self._lock:
            for text in texts:
                kept[text] = found[text]
                kept.move_to_end(text)
            num_bytes = sum(vectors.nbytes for vectors in kept.values())
            while num_bytes > MAX_BYTES:
                num_bytes -= kept.popitem(last=False)[1].nbytes
        return [found[text] for text in texts]


recent_texts = RecentTexts()
