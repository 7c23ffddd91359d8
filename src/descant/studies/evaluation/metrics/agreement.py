"""How well a clip agrees with what was asked: tempo, key, chords, instruments and melody, from 0 to 1.

The same scores of the reference clips, where they have the same names, are the upper line: the estimators make errors.
"""

from descant.audio import Clip
from descant.evaluation.agreement import SHORTEST_S, chord_share, key_fit, target_of, tempo_fit
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.instruments import InstrumentDetector, instruments_named
from descant.evaluation.musical import estimate_key, estimate_tempo_bpm, require_librosa
from descant.studies.evaluation.base import Asked, ClipMetric, Measure, Values


class Tempo(ClipMetric):
    """Of the clips whose prompt or tags have a tempo."""

    name = "tempo"
    help = "whether the tempo is the one that was asked for or chosen, 1 within 5 %, and half of it for double or half"
    needs = ("tempo",)
    measures = (Measure(key="tempo", label="tempo as asked", better="higher"),)

    def __init__(self) -> None:
        require_librosa()

    def measure(self, clip: Clip, asked: Asked) -> Values:
        target_bpm = asked.tempo_key.bpm
        if target_bpm is None or clip.duration_s < SHORTEST_S:
            return {"tempo": None}
        return {"tempo": tempo_fit(estimate_tempo_bpm(clip), target_bpm)}


class Key(ClipMetric):
    """Of the clips whose prompt has a key or a mode, or whose tags have a key."""

    name = "key"
    help = "whether the key is the one that was asked for or chosen, by MIREX's score, which credits related keys"
    needs = ("key",)
    measures = (Measure(key="key", label="key as asked", better="higher"),)

    def __init__(self) -> None:
        require_librosa()

    def measure(self, clip: Clip, asked: Asked) -> Values:
        target = asked.tempo_key
        if target.is_minor is None or clip.duration_s < SHORTEST_S:
            return {"key": None}
        key = estimate_key(clip)
        return {"key": 0.0 if key is None else key_fit(key, target)}


class Chords(ClipMetric):
    """Of the clips with chords in their tags or in a file next to them."""

    name = "chords"
    help = "share of the time in which the asked chord is the best-fitting one; chords come from tags or .json files"
    needs = ("chords",)
    measures = (Measure(key="chords", label="chords as asked", better="higher"),)

    def measure(self, clip: Clip, asked: Asked) -> Values:
        chords = target_of(None, chords=asked.chords).chords
        return {"chords": None if chords is None else chord_share(clip, chords)}


class Instruments(ClipMetric):
    """Of the clips whose prompt names instruments that the tagger can recognise."""

    name = "instruments"
    help = "share of the instruments that the prompt names which MusiCNN's tags show"
    needs = ("text",)
    measures = (Measure(key="instruments", label="instruments as asked", better="higher"),)

    def __init__(self) -> None:
        self.detector = InstrumentDetector.load()

    def measure(self, clip: Clip, asked: Asked) -> Values:
        named = frozenset[str]() if asked.text is None else instruments_named(asked.text)
        return {"instruments": self.detector.share_recognised(clip, named) if named else None}


class MelodyCosine(ClipMetric):
    """Of the clips with a melody."""

    name = "chroma"
    help = "share of frames with the melody's pitch class (the paper's SIM); needs --melody"
    needs = ("melody",)
    measures = (Measure(key="chroma", label="melody as asked (chroma cosine)", better="higher"),)

    def measure(self, clip: Clip, asked: Asked) -> Values:
        if asked.melody is None:
            return {"chroma": None}
        return {"chroma": chroma_cosine(clip, Clip.read(asked.melody)) if clip.samples.any() else 0.0}
