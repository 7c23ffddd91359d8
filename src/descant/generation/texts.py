"""The texts of a request as a model reads them: unknown words are reported, long texts are cut or refused.

A text encoder has one token for all words outside its vocabulary, so prompts of only such words would be the same.
"""

import logging
import unicodedata
from dataclasses import replace

from descant.conditioning.base import readable_text
from descant.conditioning.long_texts import longest_beginning
from descant.errors import InvalidRequest
from descant.generation.request import MAX_TEXT_CHARACTERS, Request
from descant.model import MusicGenModel

MAX_NAMED = 8
"""Unknown words that a message names; of the others it gives the number."""

_log = logging.getLogger(__name__)


class TextReader:
    """Reads texts for one model and one call: each word and each text once, and without repeating a message."""

    def __init__(self, model: MusicGenModel) -> None:
        self._model = model
        self._tokens: dict[str, list[str | None]] = {}
        self._read: dict[tuple[str, str], str] = {}
        self._logged: set[str] = set()

    def read(self, request: Request) -> Request:
        """The request with texts that the model reads to their end. Cut texts and unknown words are logged.

        Raises:
            InvalidRequest: a text is too long and must not be cut, or the model knows none of its words.
        """
        read = replace(
            request,
            text=self._text("text", request.text, request.long_prompt),
            negative_text=self._text("negative_text", request.negative_text, request.long_prompt),
            timeline=tuple(
                (second, self._text("timeline", text, request.long_prompt) or "") for second, text in request.timeline
            ),
        )
        unknown = self.unknown_words(read)
        if unknown:
            self._warn(f"this model's text encoder reads English and does not know {_named(unknown)}")
        return read

    def unknown_words(self, request: Request) -> list[str]:
        """The words of all texts of a request for which the text encoder has no token, in their order."""
        texts = [request.text, *(text for _, text in request.timeline), request.negative_text]
        words = [word for text in texts if text is not None for word in words_of(text)]
        return [word for word in dict.fromkeys(words) if None in self._tokens_of(word)]

    def _text(self, name: str, text: str | None, long_prompt: str) -> str | None:
        if text is None or readable_text(text) is None:
            return text
        key = (text, long_prompt)
        if key not in self._read:
            kept = self._cut(name, text) if long_prompt == "cut" else self._whole(name, text)
            self._check_words(name, kept)
            self._read[key] = kept
        return self._read[key]

    def _whole(self, name: str, text: str) -> str:
        for limit, count in self._model.text_limits():
            if count(text) > limit:
                raise InvalidRequest(
                    f"{name}: {count(text)} tokens, and this model reads up to {limit}; shorten it, or use only its "
                    "beginning: long_prompt='cut'"
                )
        return text

    def _cut(self, name: str, text: str) -> str:
        """The longest beginning of whole words that the model reads; where one word is too long, a part of it."""
        # What is kept must be a prompt in its own right, for that is what a file's tags hold.
        kept = longest_beginning(text, [(MAX_TEXT_CHARACTERS, len), *self._model.text_limits()])
        if kept != text:
            end = " ".join(kept.split()[-4:])[-60:]
            self._warn(f"{name}: of {len(text)} characters this model reads {len(kept)}, up to {end!r}")
        return kept

    def _check_words(self, name: str, text: str) -> None:
        words = words_of(text)
        if words and not any(_has_word(token) for word in words for token in self._tokens_of(word)):
            raise InvalidRequest(
                f"{name}={text!r:.60}: this model's text encoder knows none of these words, so they would all sound "
                'the same; write it in English, or give "" for any music'
            )
        if self._model.text.encoder_text(text) is None:
            raise InvalidRequest(
                f"{name}={text!r:.60}: this model leaves out such words, and there are no others; "
                'say what it should sound like, or give "" for any music'
            )

    def _tokens_of(self, word: str) -> list[str | None]:
        if word not in self._tokens:
            read = self._model.text.encoder_text(word)
            # A word that normalisation leaves out is a filler if it has letters, and unknown if not, as an emoji.
            left_out: list[str | None] = [word if any(map(str.isalnum, word)) else None]
            self._tokens[word] = left_out if read is None else self._model.text.encoder.tokens(read)
        return self._tokens[word]

    def _warn(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            _log.warning(message)


def words_of(text: str) -> list[str]:
    """The parts between spaces, without the punctuation around them."""
    words = (_without_punctuation(word) for word in text.split())
    return [word for word in words if readable_text(word) is not None]


def _without_punctuation(word: str) -> str:
    inner = [index for index, character in enumerate(word) if not _is_punctuation(character)]
    return word[inner[0] : inner[-1] + 1] if inner else ""


def _has_word(token: str | None) -> bool:
    return token is not None and not all(map(_is_punctuation, token))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _named(words: list[str]) -> str:
    shown = ", ".join(f"{word!r:.40}" for word in words[:MAX_NAMED])
    return shown if len(words) <= MAX_NAMED else f"{shown} and {len(words) - MAX_NAMED} more words"
