"""What every condition shares: its embedding, the frames it is embedded for, and the interface of a conditioner.

A condition of a request ("text", "melody", ...) becomes an input of the language model in two steps, in generation and
in training alike. ``prepare`` runs what is expensive and does not depend on time (text encoders, parsing): once per
section in generation, once per batch in training. ``forward`` runs the trained layers for one window of frames. What is
extracted from audio (chromagram, stems, style) is extracted before: by ``generation/conditions.py`` for a request, by
``data/`` for training clips.

To add a condition:

1. Write its config and a ``Conditioner`` in a file of this folder.
2. Give ``MusicGenConfig`` its config, last, and create the conditioner in ``MusicGenModel``, last.
3. Give ``ConditionDropout`` its probability, last.
4. For training, add where clips have it to ``data/clip_conditions.py``.
5. For generation, add a field to ``Request``, a reader to ``generation/conditions.py``, how it is recorded to
   ``provenance.CONDITIONS``, and an option to the CLI.

The fuser, the training task and checkpoints need no change.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.recent_texts import recent_texts
from descant.errors import InvalidRequest
from descant.nn.settings import in_one_thread, own_settings

Conditions: TypeAlias = Mapping[str, Any]
"""The conditions of one row by name, e.g. ``{"text": "warm piano", "melody": levels}``. Absent or None is null."""

Fusion: TypeAlias = Literal["cross", "prefix", "sum", "output"]
"""How a condition enters the language model: attended to (cross), put before the codes (prefix), added to the embedded
steps (sum), or added to the input of the output heads (output; of length 1)."""

TextLimit: TypeAlias = tuple[int, Callable[[str], int]]
"""The length of the longest text that an encoder reads, and how it measures length."""

_NOT_TEXT = re.compile("[\\0\\ud800-\\udfff]")

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors for B rows of up to L positions; values are zero wherever the mask is False.

    A row whose mask is False everywhere is the null condition.
    """

    values: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Embedding":
        """The same embedding on another device and, if given, in another precision."""
        return Embedding(self.values.to(device, dtype), self.mask.to(device))

    @classmethod
    def masked(
        cls, values: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], drop: Bool[Tensor, " B"] | None = None
    ) -> "Embedding":
        """The values where the mask is True, zeros elsewhere; the rows in ``drop`` become the null condition."""
        if drop is not None:
            mask = mask & ~drop.to(mask.device)[:, None]
        # Selected, not multiplied: zero even where the value was infinite.
        return cls(torch.where(mask[:, :, None], values, values.new_zeros(())), mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSpan:
    """The codec frames of one window or training crop, in which the conditions are embedded.

    Args:
        input_frames: for each input step of the language model the frame that it predicts (``MusicGenModel.span``).
        first_s: time of frame 0 in the music; a melody is read from there on.
        first_beats: for each row the number of beats before frame 0, NaN where it is unknown. None starts on a beat.
    """

    num_frames: int
    frame_rate_hz: float
    input_frames: Float[Tensor, " S"]
    first_s: float = 0.0
    first_beats: Float[Tensor, " B"] | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.frame_rate_hz


class Conditioner(nn.Module, ABC, Generic[Prepared]):
    """The path of one condition into the language model, with its frozen encoder, fusion method and null condition.

    Attributes:
        name: of the conditioner, in the model and in ``MusicGenConfig``.
        condition: the entry of ``Conditions`` that it reads, and with which it is dropped in training.
        also_reads: other entries that it reads where they are present.
        is_trainable: whether it is trained together with the language model.
        is_before_text: whether its prefix goes before that of the text.
        float32_parts: submodules that stay in float32 whatever the precision of the language model.
    """

    name: ClassVar[str]
    condition: ClassVar[str]
    also_reads: ClassVar[frozenset[str]] = frozenset()
    is_trainable: ClassVar[bool] = True
    is_before_text: ClassVar[bool] = False
    float32_parts: ClassVar[frozenset[str]] = frozenset()
    config: Any

    @property
    def reads(self) -> frozenset[str]:
        """The entries of ``Conditions`` that it reads."""
        return self.also_reads | {self.condition}

    @abstractmethod
    def prepare(self, rows: Sequence[Conditions]) -> Prepared:
        """What is computed once a request, however long the music gets.

        Raises:
            InvalidRequest: the condition of a row is not one that this conditioner takes.
        """

    @abstractmethod
    def forward(
        self, prepared: Prepared, span: FrameSpan, drop: Bool[Tensor, " B"] | None = None
    ) -> dict[Fusion, Embedding]:
        """The embedded condition, by the place where it enters the language model.

        Args:
            drop: rows that lose this condition (``ConditionDropout``); they are embedded as rows without one.
        """

    def text_limits(self) -> list[TextLimit]:
        """The limits of the encoders that read the text, if there are any."""
        return []

    def to_precision(self, dtype: torch.dtype) -> None:
        """Brings the conditioner to the language model's precision, but for its ``float32_parts``."""
        for name, part in self.named_children():
            if name not in self.float32_parts:
                part.to(dtype)

    def move_encoder(self, device: torch.device) -> None:
        """Moves the frozen encoder, which ``nn.Module.to`` does not reach; without one, nothing happens."""


class TextEncoder(ABC):
    """A frozen encoder of texts. It is not an ``nn.Module``, so a model's ``state_dict`` holds only what is trained.

    A row of a batch never depends on the other rows: a text gives the same vectors alone and in any batch, bit for bit.
    """

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

    def states_of(self, texts: Sequence[str]) -> list[Float[Tensor, "_ D"]]:
        """``states`` of each text, in ``encode``."""
        return [self.states(text) for text in texts]

    def states_together(self, texts: Sequence[str]) -> list[Float[Tensor, "_ D"]]:
        """``states`` of each text with the same bits, in less time where the encoder can share work between texts."""
        return [self.states(text) for text in texts]

    def content(self) -> tuple[str, Mapping[str, Tensor]] | None:
        """All that its vectors depend on, as a description and tensors; None where that is not known."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """The longest text it reads, in ``tokens``; None where there is no limit."""
        return None

    def tokens(self, text: str) -> list[str | None]:
        """The tokens of the text as strings: None for what the encoder has no token for, an empty string for special
        tokens. By default, for an encoder that knows every word, the words.
        """
        return [*text.split()]

    def encode(self, texts: Sequence[str | None]) -> Embedding:
        """Vectors for every text; ``None`` and texts without a visible character give the null condition.

        Every distinct text is encoded alone, without padding. Padding would be masked, but the length of a matrix
        product may change its last bits, and with them the codes that are sampled: a song would depend on its batch.

        Raises:
            InvalidRequest: a text is too long or holds NUL or a lone surrogate, or ``texts`` is a bare string.
        """
        if isinstance(texts, str):
            raise InvalidRequest(
                f"texts={texts[:40]!r}: expected a list of texts; a bare string would be read letter by letter"
            )
        readable = [readable_text(text) for text in texts]
        distinct = [text for text in dict.fromkeys(readable) if text is not None]
        # What is kept must not depend on who asked first, in autocast or with several threads.
        read = in_one_thread(own_settings()(self.states_of))
        states = dict(zip(distinct, recent_texts.states_of(self, distinct, read), strict=True))
        length = max((len(vectors) for vectors in states.values()), default=1)
        values = torch.zeros(len(readable), length, self.dim, device=self.device)
        mask = torch.zeros(len(readable), length, dtype=torch.bool, device=self.device)
        for row, text in enumerate(readable):
            if text is not None:
                values[row, : len(states[text])] = states[text]
                mask[row, : len(states[text])] = True
        return Embedding(values, mask)


def readable_text(text: str | None) -> str | None:
    """The text unchanged, or None where there is nothing to read: ``None``, spaces, control and format characters.

    Raises:
        InvalidRequest: it holds NUL or a lone surrogate, which no tokenizer and no file tag can store.
    """
    if text is None:
        return None
    invalid = _NOT_TEXT.search(text)
    if invalid is not None:
        raise InvalidRequest(
            f"text has U+{ord(invalid[0]):04X} at character {invalid.start()}: "
            f"NUL and lone surrogates are not text; remove it"
        )
    return text if any(_is_visible(character) for character in text) else None


def valid_beginning(text: str) -> str:
    """The text up to its first NUL or lone surrogate."""
    return _NOT_TEXT.split(text, maxsplit=1)[0]


def _is_visible(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")
