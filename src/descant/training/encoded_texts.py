"""Texts encoded away from the training thread, in batches, and kept: the same vectors as if each were encoded alone."""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from descant.checkpoints.fingerprint import part_of
from descant.conditioning.base import TextEncoder
from descant.model import MusicGenModel
from descant.nn.settings import one_thread_executor
from descant.training.text_store import TextStore
from descant.user_files import cache_folder

STORE_NAME = "texts.sqlite"
RECENT_BYTES = 2**26
"""Of vectors in memory; a batch of 192 captions for T5-base takes 2**24."""

MAX_SEEN = 1_000_000
"""Keys of texts that came once; then they are forgotten, and a text must come twice again to be stored."""


class EncodedTexts(TextEncoder):
    """An encoder that gives the vectors of another one, and encodes few texts twice.

    Everything runs in one thread with one core, whoever asks: so vectors never depend on who did. Texts that come again
    are stored on disk; with words dropped at random most captions come once, and storing them would only wear the disk.

    Args:
        encoder: whose ``content`` is known.
        max_bytes: on disk; 0 for none. Without a home folder nothing is stored either.
    """

    def __init__(self, encoder: TextEncoder, max_bytes: int) -> None:
        self._encoder = encoder
        self._thread = one_thread_executor("descant-texts")
        self._recent: OrderedDict[bytes, Tensor] = OrderedDict()
        self._recent_bytes = 0
        self._is_stored: dict[bytes, bool] = {}
        folder = cache_folder() if max_bytes else None
        self._identity = _identity(encoder)
        self._store = (
            None if folder is None else self._thread.submit(TextStore, folder / STORE_NAME, max_bytes).result()
        )

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def device(self) -> torch.device:
        return self._encoder.device

    @property
    def max_tokens(self) -> int | None:
        return self._encoder.max_tokens

    def to(self, device: torch.device | str) -> TextEncoder:
        return self if torch.device(device) == self.device else self._encoder.to(device)

    def tokens(self, text: str) -> list[str | None]:
        return self._encoder.tokens(text)

    def states(self, text: str) -> Float[Tensor, "L D"]:
        return self.states_of([text])[0]

    def states_of(self, texts: Sequence[str]) -> list[Float[Tensor, "_ D"]]:
        return self._thread.submit(self._states_of, texts).result()

    def close(self) -> None:
        """Ends the thread."""
        if self._store is not None:
            self._thread.submit(self._store.close).result()
        self._thread.shutdown()

    def _states_of(self, texts: Sequence[str]) -> list[Tensor]:
        keys = [hashlib.sha256(self._identity + text.encode()).digest() for text in texts]
        by_key = dict(zip(keys, texts, strict=True))
        known = {key: self._recent[key] for key in by_key if key in self._recent}
        stored = {} if self._store is None else self._store.read([key for key in by_key if key not in known], self.dim)
        known |= {key: vectors.to(self.device) for key, vectors in stored.items()}
        missing = [key for key in by_key if key not in known]
        new = self._encoder.states_together([by_key[key] for key in missing])
        known |= dict(zip(missing, new, strict=True))
        again = [key for key in by_key if self._is_stored.get(key) is False and key not in stored]
        if self._store is not None:
            self._store.write({key: known[key] for key in again})
        self._remember(known, {*stored, *again})
        return [known[key] for key in keys]

    def _remember(self, known: dict[bytes, Tensor], stored: Collection[bytes]) -> None:
        if len(self._is_stored) > MAX_SEEN:
            self._is_stored.clear()
        self._is_stored |= {key: key in stored or self._is_stored.get(key, False) for key in known}
        for key, vectors in known.items():
            if key not in self._recent:
                self._recent_bytes += vectors.nbytes
            self._recent[key] = vectors
            self._recent.move_to_end(key)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > len(known):
            self._recent_bytes -= self._recent.popitem(last=False)[1].nbytes


@contextmanager
def encoding_texts(model: MusicGenModel, max_bytes: int) -> Iterator[None]:
    """Within the block the model's texts go through ``EncodedTexts``, if what its encoder depends on is known."""
    encoder = model.text.encoder
    if encoder.content() is None:
        yield
        return
    model.text.encoder = encoded = EncodedTexts(encoder, max_bytes)
    try:
        yield
    finally:
        model.text.encoder = encoder
        encoded.close()


def _identity(encoder: TextEncoder) -> bytes:
    """A hash of all that the bits of an encoder's vectors depend on, besides the text."""
    content = encoder.content()
    assert content is not None, "checked by the caller"
    description, tensors = content
    machine = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {encoder.device.type}"
    digest = hashlib.sha256(f"{type(encoder).__name__} {machine} {description}".encode())
    for name in sorted(tensors):
        digest.update(part_of(name, tensors[name]))
    return digest.digest()
