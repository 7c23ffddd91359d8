"""The first seconds of music, which are judged while the rest is made: what fails is ended early."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from descant.codec.base import AudioCodec
from descant.generation.resolve import ResolvedRequest
from descant.nn.settings import in_one_thread

AUDITION_S = 2.0


@dataclass(frozen=True)
class Audition:
    """What judges the beginning of a piece of music, and whether the music is to end.

    Args:
        hear: called once by the thread that draws, with a function that decodes the first two seconds of new audio, and
            with its sample rate. Decoding takes a while, and may be done in another thread. Music that is shorter than
            twice as long is not judged.
        is_over: called by the thread that draws after steps.
    """

    hear: Callable[[Callable[[], Float[Tensor, "C N"]], int], None]
    is_over: Callable[[], bool]


class Listener:
    """Gives the beginning of a request's music to its audition, as soon as the codes are known."""

    def __init__(self, audition: Audition | None, codec: AudioCodec, request: ResolvedRequest) -> None:
        self._audition, self._codec = audition, codec
        self._num_given = request.num_prompt_frames
        num_judged = math.ceil(AUDITION_S * codec.frame_rate_hz)
        self._end = self._num_given + num_judged
        self._is_waiting = audition is not None and request.num_frames >= self._end + num_judged

    @property
    def is_over(self) -> bool:
        """Whether the music is to end."""
        return self._audition is not None and self._audition.is_over()

    def listen(self, num_known: int, codes: Callable[[], Int[Tensor, "K T"]]) -> None:
        """Looks whether the beginning is known.

        Args:
            num_known: frames of the music that are known.
            codes: gives their codes.
        """
        if self._audition is None or not self._is_waiting or num_known < self._end:
            return
        self._is_waiting = False
        beginning = codes()[:, : self._end].clone()
        self._audition.hear(lambda: self._decoded(beginning), self._codec.sample_rate_hz)

    @in_one_thread
    def _decoded(self, codes: Int[Tensor, "K T"]) -> Float[Tensor, "C N"]:
        """The new audio of these codes, as if the music ended with them: the same bits however it is made."""
        wave = self._codec.decode_all([codes])[0][:, self._num_given * self._codec.hop_samples :].float().cpu()
        return wave[:, : round(AUDITION_S * self._codec.sample_rate_hz)]
