"""The chords of a request that leaves them open, in the tempo and the key that apply in each of its sections."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from descant.conditioning.chords import ChordTrack, parse_chords
from descant.conditioning.song_form import SongForm
from descant.generation.plan import Section
from descant.generation.request import Request
from descant.generation.tempo_key import is_open
from descant.model import MusicGenModel
from descant.tempo_key import NUM_KEYS, TempoKey, beats_per_bar, parse_tempo_key

TIME_DIGITS = 4


@dataclass(frozen=True)
class ChordPlan:
    """Chords that were chosen, from which those of sections follow.

    Args:
        end_s: where the music ends, in seconds.
    """

    form: SongForm
    beats_per_bar: float
    end_s: float

    def chords(self, sections: Sequence[Section], frame_rate_hz: float) -> ChordTrack:
        """The chords from the beginning of the first of these sections to the end of the music.

        A section goes on where the one before ends, in its own tempo and key.
        """
        starts_s = [section.start / frame_rate_hz for section in sections]
        words: list[str] = []
        for section, (start_s, end_s) in zip(sections, pairwise([*starts_s, self.end_s]), strict=True):
            bpm = section.tempo_key.bpm
            assert bpm is not None
            end_beat = section.beats + (end_s - start_s) * bpm / 60
            for beat, symbol in self.form.chords(section.beats, end_beat, self.beats_per_bar, _key_of(section)):
                second = round(start_s + (beat - section.beats) * 60 / bpm, TIME_DIGITS)
                if not words or words[-1].partition(":")[0] != symbol:
                    words.append(f"{symbol}:{second}")
        return parse_chords(" ".join(words))


def plan_chords(request: Request, seed: int, model: MusicGenModel, tempo_key: TempoKey) -> ChordPlan | None:
    """What the model's prior chooses; None if nothing is to be chosen, or the prior chooses no chords.

    Chords are chosen where tempo and key could be chosen too, and both are known: chords have bars and a tonic.

    Args:
        tempo_key: those that apply where a text of the request states none.
    """
    prior = model.prior
    if request.chords != "auto" or model.chords is None or prior is None or prior.chords is None:
        return None
    if not is_open(request) or tempo_key.bpm is None or tempo_key.key is None:
        return None
    text = request.text or ""
    beats = float(request.beats_per_bar)
    if request.loop_bars is None:
        beats = beats_per_bar(prior.tempo_key.draw(text, seed)[1])
    form = prior.chords.draw(text, seed, beats * 60 / tempo_key.bpm, request.loop_bars)
    return None if form is None else ChordPlan(form, beats, request.result_s)


def _key_of(section: Section) -> int:
    """The key of a section: a text that states a mode alone keeps the tonic of the beginning."""
    key, tonic = section.tempo_key.key, section.fallback.key
    if key is not None:
        return key
    assert tonic is not None
    return tonic % 12 + NUM_KEYS // 2 * bool(parse_tempo_key(section.text).is_minor)
