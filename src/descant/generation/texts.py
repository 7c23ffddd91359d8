"""The texts of a request as a model reads them: words it does not know are reported, long texts cut or refused.

A text encoder has one token for everything it does not know, so all prompts made of such words would be one prompt.
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
"""Unknown words that a message names; of a longer list it says how many there are."""

_log = logging.getLogger(__name__)


class TextReader:
    """Reads texts for one model and one call: each word and each text once, and no message twice."""

    def __init__(self, model: MusicGenModel) -> None:
        self._model = model
        self._tokens: dict[str, list[str | None]] = {}
        self._settled: dict[tuple[str, str], str] = {}
        self._said: set[str] = set()

    def settled(self, request: Request) -> Request:
        """The request with texts that the model reads to their end. Cut texts and unknown words are logged.

        Raises:
            InvalidRequest: a text is too long and must not be cut, or the model knows none of its words.
        """
        settled = replace(
            request,
            text=self._text("text", request.text, request.long_prompt),
            negative_text=self._text("negative_text", request.negative_text, request.long_prompt),
            timeline=tuple(
                (second, self._text("timeline", text, request.long_prompt) or "") for second, text in request.timeline
            ),
        )
        unknown = self.unknown_words(settled)
        if unknown:
            self._say(f"this model's text encoder reads English and does not know {_named(unknown)}")
        return settled

    def unknown_words(self, request: Request) -> list[str]:
        """The words of all texts of a request for which the model lacks a token, in their order."""
        texts = [request.text, *(text for _, text in request.timeline), request.negative_text]
        words = [word for text in texts if text is not None for word in words_of(text)]
        return [word for word in dict.fromkeys(words) if None in self._tokens_of(word)]

    def _text(self, name: str, text: str | None, long_prompt: str) -> str | None:
        if text is None or readable_text(text) is None:
            return text
        key = (text, long_prompt)
        if key not in self._settled:
            kept = self._cut(name, text) if long_prompt == "cut" else self._whole(name, text)
            self._check_words(name, kept)
            self._settled[key] = kept
        return self._settled[key]

    def _whole(self, name: str, text: str) -> str:
        for limit, count in self._model.text_limits():
            if count(text) > limit:
                raise InvalidRequest(
                    f"{name}: {count(text)} tokens, and this model reads up to {limit}; shorten it, or have only its "
                    "beginning read: long_prompt='cut'"
                )
        return text

    def _cut(self, name: str, text: str) -> str:
        """The longest beginning of whole words that the model reads; where one word is too long, a part of it."""
        # What is kept must be a prompt in its own right, for that is what a file's tags hold.
        kept = longest_beginning(text, [(MAX_TEXT_CHARACTERS, len), *self._model.text_limits()])
        if kept != text:
            end = " ".join(kept.split()[-4:])[-60:]
            self._say(f"{name}: of {len(text)} characters this model reads {len(kept)}, up to {end!r}")
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
                f"{name}={text!r:.60}: this model leaves out such words, and nothing else is there; "
                'say what it should sound like, or give "" for any music'
            )

    def _tokens_of(self, word: str) -> list[str | None]:
        if word not in self._tokens:
            read = self._model.text.encoder_text(word)
            # What normalisation leaves out is unknown where it has no letters, as an emoji, and else a filler.
            left_out: list[str | None] = [word if any(map(str.isalnum, word)) else None]
            self._tokens[word] = left_out if read is None else self._model.text.encoder.tokens(read)
        return self._tokens[word]

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _log.warning(message)


def words_of(text: str) -> list[str]:
    """What stands between spaces, without the punctuation around it."""
    words = (_stripped(chunk) for chunk in text.split())
    return [word for word in words if readable_text(word) is not None]


def _stripped(chunk: str) -> str:
    inner = [index for index, character in enumerate(chunk) if not _is_punctuation(character)]
    return chunk[inner[0] : inner[-1] + 1] if inner else ""


def _has_word(token: str | None) -> bool:
    return token is not None and not all(map(_is_punctuation, token))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _named(words: list[str]) -> str:
    shown = ", ".join(f"{word!r:.40}" for word in words[:MAX_NAMED])
    return shown if len(words) <= MAX_NAMED else f"{shown} and {len(words) - MAX_NAMED} more words"
