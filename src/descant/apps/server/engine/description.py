"""What the server tells its users about the loaded model."""

from dataclasses import asdict
from typing import Any

from descant.api import MusicGen
from descant.checkpoints.names import SHIPPED

MELODY_MODEL, STYLE_MODEL = "facebook/musicgen-melody", "facebook/musicgen-style"


def description_of(model: MusicGen) -> dict[str, Any]:
    """The model as in `docs/protocol.md`, and the device that it is on."""
    config, codec = model.config, model.codec.codec
    depends_on_length = config.pattern.depends_on_length
    can = {
        "text": True,
        "negative_text": True,
        "melody": config.melody is not None,
        "style": config.style is not None,
        "chords": config.chords is not None,
        "tempo_key": config.tempo_key is not None,
        "continue_from": True,
        "sections": not depends_on_length,
        "loop": not depends_on_length,
    }
    reasons = {
        "melody": f"this model was trained without melodies; {SHIPPED} and {MELODY_MODEL} follow them",
        "style": f"this model was trained without styles; {STYLE_MODEL} imitates them",
        "chords": f"this model was trained without chords; {SHIPPED} may follow them",
        "tempo_key": "this model reads tempo and key in the text only",
        "sections": "this model makes clips of one length, in one piece",
        "loop": "this model makes clips of one length, in one piece",
    }
    return {
        "id": model.name,
        "loaded": True,
        "fingerprint": model.fingerprint,
        "sample_rate_hz": model.sample_rate_hz,
        "channels": model.num_channels,
        "frame_rate_hz": codec.frame_rate_hz,
        "trained_s": model.max_duration_s,
        "can": can,
        "cannot": {name: reason for name, reason in reasons.items() if not can[name]},
        "defaults": {"sampling": asdict(model.default_sampling), "guidance": asdict(model.default_guidance)},
        "device": model.device,
        "precision": model.precision,
    }
