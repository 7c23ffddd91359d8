"""A clip in the making: its music, or that of several candidates of which the best becomes the clip."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.audio.pcm import pcm16, soft_limited
from descant.best_of import Choice
from descant.generation.progressive import ProgressiveMusic
from descant.generation.resolve import ResolvedRequest
from descant.provenance import chords_of


@dataclass
class Work:
    """A clip in the making.

    Args:
        choice: what judges the candidates.
        musics: one, or the candidates.
        sent: the audio that was sent, as 16-bit integers.
        held: the audio of candidates, none of which is sent before all are finished.
        unfinished: candidates that are not finished.
    """

    choice: Choice
    musics: Sequence[ProgressiveMusic]
    is_measured: bool
    sent: list[bytes] = field(default_factory=list)
    num_samples: int = 0
    held: dict[ProgressiveMusic, list[Float[Tensor, "C _"]]] = field(default_factory=dict)
    unfinished: int = 1

    def __post_init__(self) -> None:
        self.unfinished = len(self.musics)

    @property
    def is_choice(self) -> bool:
        """Whether there are several candidates."""
        return len(self.musics) > 1

    @property
    def known_s(self) -> float:
        """Seconds whose codes are known, on average over candidates; one that was dropped has nothing left to make."""
        known = (music.request.duration_s if music.is_over else music.known_s for music in self.musics)
        return sum(known) / len(self.musics)

    def hold(self, music: ProgressiveMusic, waves: Sequence[Float[Tensor, "C _"]], is_done: bool) -> bool:
        """Keeps audio of a candidate; True once all of them are finished."""
        self.held.setdefault(music, []).extend(waves)
        self.unfinished -= is_done
        return self.unfinished == 0

    def chosen(self, sample_rate_hz: int) -> dict[str, Any]:
        """The ``place`` of the best candidate, and what the record says of the choice. It takes seconds."""
        for place, music in enumerate(self.musics):
            if not self.choice.is_dropped(place):
                self.choice.add(place, Clip(self._joined(music), sample_rate_hz, info={"place": place}))
        return dict(self.choice.best().info)

    def _joined(self, music: ProgressiveMusic) -> Float[Tensor, "C _"]:
        """The audio of a candidate in one piece; what is held becomes parts of it, so that it is in memory once."""
        waves = self.held[music]
        joined = torch.cat(waves, dim=1)
        self.held[music] = list(joined.split([wave.shape[1] for wave in waves], dim=1))
        return joined

    def pcm(self, wave: Float[Tensor, "C _"], music: ProgressiveMusic) -> bytes:
        """The next samples of the clip as 16-bit integers; they count as sent."""
        # What is continued is a clip that was limited when it was made.
        is_given = self.num_samples < music.request.prompt_wave.shape[1]
        content = pcm16(wave if is_given else soft_limited(wave))
        self.sent.append(content)
        self.num_samples += wave.shape[1]
        return content


def shared_choices(requests: Sequence[ResolvedRequest]) -> dict[str, Any]:
    """Tempo, key and chords, given or chosen, as far as all candidates have the same: one of them becomes the clip."""
    of_each = [
        {"tempo_bpm": one.tempo_key.bpm, "key": one.tempo_key.key_name, "chords": chords_of(one)} for one in requests
    ]
    return {name: value if all(one[name] == value for one in of_each) else None for name, value in of_each[0].items()}
