"""Sound in memory and in files: the clip, and all that is known here of file formats, tags and loudness."""

from descant.audio.clip import Clip
from descant.audio.files import FORMATS, AudioFacts, audio_facts, read_samples
from descant.audio.loudness import integrated_loudness
from descant.audio.tags import read_info

__all__ = [
    "FORMATS",
    "AudioFacts",
    "Clip",
    "audio_facts",
    "integrated_loudness",
    "read_info",
    "read_samples",
]
