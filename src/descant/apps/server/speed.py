"""How fast this machine makes music, from what it has made."""

from collections.abc import Iterable

from descant.apps.server.open_jobs import Making
from descant.apps.server.parts import Part

WEIGHT = 0.3
"""Of the newest clip in the running means."""


class Speed:
    """Running means; None until something was made."""

    def __init__(self) -> None:
        self.real_time_factor: float | None = None
        """Seconds taken for a second of audio, by all clips together."""
        self.first_audio_s: float | None = None
        self._taken_s: float | None = None
        self._audio_s: float | None = None
        self._sample_rate_hz = 1

    def note(self, part: Part, seconds: float, num_places: int) -> None:
        """A clip has taken so long, while so many places were taken, its own among them.

        Each candidate of a clip is music, whether it is chosen or not.
        """
        self._sample_rate_hz = part.sample_rate_hz
        # Means of both, not of their quotient: that of a few milliseconds of audio says nothing about a second of it.
        self._taken_s = _mean(self._taken_s, seconds / max(1, num_places))
        self._audio_s = _mean(self._audio_s, max(part.num_samples / part.sample_rate_hz, 1e-3))
        self.real_time_factor = self._taken_s / self._audio_s

    def note_first(self, seconds: float) -> None:
        """The first audio of a clip came so long after it was sent to the engine."""
        self.first_audio_s = _mean(self.first_audio_s, seconds)

    def seconds_until(self, live: Iterable[Making], ahead_s: float) -> float | None:
        """Seconds until what is in the engine is made, and so many seconds of audio after that, of all candidates."""
        if self.real_time_factor is None:
            return None
        left = sum(self._left_s(clip) * clip.num_places for clip in live)
        return max(0.0, left + ahead_s) * self.real_time_factor

    def seconds_to_a_place(self, live: Iterable[Making]) -> float:
        """Seconds until the engine has room again; a guess while nothing is known."""
        clips = list(live)
        if self.real_time_factor is None or not clips:
            return 5.0
        num_places = sum(clip.num_places for clip in clips)
        return max(1.0, min(map(self._left_s, clips)) * num_places * self.real_time_factor)

    def _left_s(self, clip: Making) -> float:
        return (clip.num_samples or 0) / self._sample_rate_hz - clip.made_s


def _mean(mean: float | None, new: float) -> float:
    return new if mean is None else (1 - WEIGHT) * mean + WEIGHT * new
