"""Notes of recorded music, and MIDI files of them. It knows audio only."""

from descant.transcription.midi import DEFAULT_BPM, check_tempo, midi_file
from descant.transcription.network import INSTALL, has_weights, is_installed, transcribe
from descant.transcription.notes import Note

__all__ = ["DEFAULT_BPM", "INSTALL", "Note", "check_tempo", "has_weights", "is_installed", "midi_file", "transcribe"]
