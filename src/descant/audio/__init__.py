"""Audio in memory and in files: the clip, file formats, tags and loudness."""

from descant.audio.clip import Clip
from descant.audio.encode import FORMATS
from descant.audio.files import audio_header, check_usable, read_in_blocks, read_samples, write_flac
from descant.audio.loudness import integrated_loudness
from descant.audio.opened import AudioHeader
from descant.audio.tags import read_info

__all__ = [
    "FORMATS",
    "AudioHeader",
    "Clip",
    "audio_header",
    "check_usable",
    "integrated_loudness",
    "read_in_blocks",
    "read_info",
    "read_samples",
    "write_flac",
]
