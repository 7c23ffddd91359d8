"""Clips in notebooks and pages: HTML players that contain the audio."""

import base64
import html
import sys
from typing import Any

from descant.audio.encode import RATES_HZ
from descant.errors import InvalidRequest

MAX_PLAYER_S = 120
"""A notebook stores every player it has shown, so longer clips are shortened to this."""
MAX_WAV_BYTES = 1_000_000
MP3_RATE_HZ = 44_100
MIN_PLAYED_HZ, MAX_PLAYED_HZ = 8_000, 96_000
"""Browsers play no lower rates, and many no higher ones."""


def player(clip: Any) -> str:
    """The clip as HTML, with its audio as a data URI: wav if it is small, else mp3.

    Only the first two minutes of a longer clip are included, and the HTML says so.
    """
    label = clip.label
    if clip.duration_s > MAX_PLAYER_S:
        label += f"; this plays the first {MAX_PLAYER_S} s, clip.save(...) writes all of it"
    format, content = _encoded(clip[:MAX_PLAYER_S])
    data = base64.b64encode(content).decode("ascii")
    source = f"data:audio/{format};base64,{data}"
    return (
        f'<div><audio controls preload="metadata" src="{source}"></audio><br><small>{html.escape(label)}</small></div>'
    )


def mp3_player(clip: Any, label: str) -> str:
    """The clip as an audio element with its audio as MP3, about 11 kB for each second.

    Args:
        label: what a screen reader says.
    """
    sound = clip if len(clip.samples) <= 2 else clip.to_channels(2)
    if sound.sample_rate_hz not in RATES_HZ["mp3"]:
        sound = sound.resample(MP3_RATE_HZ)
    data = base64.b64encode(sound.to_bytes("mp3")).decode("ascii")
    spoken = html.escape(label, quote=True)
    return f'<audio controls preload="none" aria-label="{spoken}" src="data:audio/mpeg;base64,{data}"></audio>'


def show_player(clip: Any) -> None:
    """Shows the player in the current notebook.

    Raises:
        InvalidRequest: this is not a notebook.
    """
    # IPython is not imported here: a notebook has imported it already.
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or getattr(shell, "kernel", None) is None:  # IPython in a terminal has none
        raise InvalidRequest("play: there is no notebook here to play it in; write it with clip.save('clip.wav')")
    ipython.display.display(ipython.display.HTML(player(clip)))


def _encoded(clip: Any) -> tuple[str, bytes]:
    """A format that browsers play, and the clip's bytes in it."""
    sound = clip if len(clip.samples) <= 2 else clip.to_channels(2)
    if not MIN_PLAYED_HZ <= sound.sample_rate_hz <= MAX_PLAYED_HZ:
        sound = sound.resample(MP3_RATE_HZ)
    if sound.samples.numel() * 2 <= MAX_WAV_BYTES:
        return "wav", sound.to_bytes("wav")
    return "mpeg", sound.resample(MP3_RATE_HZ).to_bytes("mp3")
