"""What a condition looks like once it is embedded, and what a text encoder promises.

The null condition is a row without any true position in its mask; its values are zeros. A row of a batch never depends
on the other rows: a text gives the same vectors alone and in any company, bit for bit.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descant.errors import InvalidRequest


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors for B rows of up to L positions; values are zero wherever the mask is False."""

    values: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]

    def to(self, device: torch.device) -> "Embedding":
        """The same embedding on another device."""
        return Embedding(self.values.to(device), self.mask.to(device))

    def without(self, rows: Bool[Tensor, " B"]) -> "Embedding":
        """The same embedding with the chosen rows turned into the null condition."""
        kept = self.mask & ~rows[:, None]
        # Selected, not multiplied: a dropped row is exactly zero whatever it held.
        return Embedding(torch.where(kept[:, :, None], self.values, self.values.new_zeros(())), kept)


class TextEncoder(ABC):
    """A frozen reader of texts. It is no ``nn.Module``, so a model's ``state_dict`` holds only what is trained."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the vectors that ``encode`` gives."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the vectors are computed and stay."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "TextEncoder":
        """The same encoder on another device; this one is left as it is."""

    @abstractmethod
    def states(self, text: str) -> Float[Tensor, "L D"]:
        """One float32 vector per token of one text.

        Raises:
            InvalidRequest: the text has more tokens than the encoder reads. Nothing is cut off silently.
        """

    @property
    def max_tokens(self) -> int | None:
        """The longest text it reads, in ``tokens``; None where there is no limit."""
        return None

    def tokens(self, text: str) -> list[str | None]:
        """The text as the encoder sees it: the letters of each token, None for what it has no token for, and an empty
        string for tokens that only frame a text. Here, for an encoder that knows everything, its words.
        """
        return [*text.split()]

    def encode(self, texts: Sequence[str | None]) -> Embedding:
        """Vectors for every text; ``None`` and texts with nothing visible in them give the null condition.

        Every distinct text is read on its own, without padding. Padding would be masked, yet the length of a matrix
        product may change its last bits, and with them the codes that are drawn: a song would depend on its neighbours.

        Raises:
            InvalidRequest: a text is too long, or holds NUL or a lone surrogate; or a bare string came for a list.
        """
        if isinstance(texts, str):
            raise InvalidRequest(
                f"texts={texts[:40]!r}: expected a list of texts; a bare string would be read letter by letter"
            )
        readable = [readable_text(text) for text in texts]
        states = {text: self.states(text) for text in dict.fromkeys(readable) if text is not None}
        length = max((len(vectors) for vectors in states.values()), default=1)
        values = torch.zeros(len(readable), length, self.dim, device=self.device)
        mask = torch.zeros(len(readable), length, dtype=torch.bool, device=self.device)
        for row, text in enumerate(readable):
            if text is not None:
                values[row, : len(states[text])] = states[text]
                mask[row, : len(states[text])] = True
        return Embedding(values, mask)


def readable_text(text: str | None) -> str | None:
    """The text as it came, or None where there is nothing to read: ``None``, spaces, control and format characters.

    Raises:
        InvalidRequest: it holds NUL or a lone surrogate, which no tokenizer and no file tag can carry.
    """
    if text is None:
        return None
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise InvalidRequest(
                f"text has U+{ord(character):04X} at character {position}: "
                f"NUL and lone surrogates are not text; remove it"
            )
    return text if any(_is_visible(character) for character in text) else None


def _is_visible(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")
