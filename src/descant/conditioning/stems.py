"""Source separation for melody conditioning: drums or bass under a melody would dominate its chromagram.

The paper removes drums and bass with Demucs (arXiv 2306.05284, section 2.3). Where that is not installed, harmonic
sound is separated from percussive sound by its shape in the spectrogram; the bass stays then.
"""

import importlib.util
import logging
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch

from descant.audio import Clip
from descant.audio.analysis import import_librosa
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

SeparationMethod: TypeAlias = Literal["stems", "harmonic", "mix"]
Separation: TypeAlias = Literal["auto", "stems", "harmonic", "mix"]

INSTALL = 'pip install "descant[melody]"'
STEMS_MODEL = "htdemucs"
MELODIC_STEMS = ("vocals", "other")
STEMS_OVERLAP = 0.25
"""Overlap of Demucs's segments of 7.8 s, as a fraction; its default."""

HARMONIC_RATE_HZ = 22_050
HARMONIC_WINDOW, HARMONIC_HOP = 2_048, 512
"""93 ms windows every 23 ms: librosa's defaults, with which its median filters span 0.7 s and 330 Hz."""

_log = logging.getLogger(__name__)


def melodic_part(clip: Clip, separation: Separation = "auto") -> tuple[Clip, SeparationMethod]:
    """The part of a clip that carries its melody, mono and as long as the clip, and how it was separated.

    The same clip gives the same part, on every device. Demucs's part is at 44,100 Hz, the harmonic one at 22,050 Hz,
    the mix at the clip's rate. Memory and time grow with the length: shorten a long clip to what is needed first.

    Args:
        separation: ``stems`` leaves out drums and bass, by Demucs, whose weights are fetched the first time;
            ``harmonic`` leaves out percussive sound; ``mix`` leaves out nothing; ``auto`` takes the first of these that
            is installed, and logs which.

    Raises:
        InvalidRequest: there is no such separation.
        MissingExtra: what was asked for by name is not installed.
        CheckpointError: Demucs's weights are unavailable.
    """
    if separation not in get_args(Separation):
        raise InvalidRequest(f"separation={separation!r:.60}: allowed are {', '.join(get_args(Separation))}")
    method = _first_installed() if separation == "auto" else separation
    if separation == "auto":
        _log.info("melody: separation=%r", method)
    if method == "stems":
        return _stems(clip), method
    if method == "harmonic":
        return _harmonic(clip), method
    return clip.to_channels(1), method


def _first_installed() -> SeparationMethod:
    if importlib.util.find_spec("demucs") is not None:
        return "stems"
    return "mix" if importlib.util.find_spec("librosa") is None else "harmonic"


def _stems(clip: Clip) -> Clip:
    try:
        from demucs.apply import apply_model
        from demucs.pretrained import get_model
    except ImportError as error:
        raise MissingExtra(f"separation='stems' needs demucs: {INSTALL}, or ask for 'harmonic' or 'mix'") from error
    try:
        model = get_model(STEMS_MODEL)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {STEMS_MODEL} are unavailable ({error!r:.200}): go online once, or ask for 'harmonic'"
        ) from error
    mix = clip.resample(model.samplerate).to_channels(model.audio_channels).samples.cpu()
    # Shifts are drawn at random: the same clip would give another melody each time.
    with torch.no_grad():
        stems = apply_model(model, mix[None], shifts=0, split=True, overlap=STEMS_OVERLAP, device="cpu")[0]
    kept = sum(stems[model.sources.index(name)] for name in MELODIC_STEMS)
    return Clip(samples=kept, sample_rate_hz=model.samplerate).to_channels(1)


def _harmonic(clip: Clip) -> Clip:
    """By median filters along time and along frequency (Fitzgerald, "Harmonic/percussive separation", DAFx 2010)."""
    try:
        hpss = import_librosa("decompose").decompose.hpss
    except ImportError as error:
        raise MissingExtra(
            "separation='harmonic' needs librosa: pip install \"descant[eval]\", or ask for 'mix'"
        ) from error
    wave = clip.to_channels(1).resample(HARMONIC_RATE_HZ).samples[0].cpu()
    hann = torch.hann_window(HARMONIC_WINDOW)
    # Zero padding, since a clip shorter than the window has nothing to reflect.
    spectrum = torch.stft(wave, HARMONIC_WINDOW, HARMONIC_HOP, window=hann, pad_mode="constant", return_complex=True)
    # Row-major: scipy 1.17's median filter makes NaN of a short spectrogram in column-major order.
    harmonic_share, _ = hpss(np.ascontiguousarray(spectrum.abs().numpy()), mask=True)
    kept = spectrum * torch.from_numpy(harmonic_share)
    part = torch.istft(kept, HARMONIC_WINDOW, HARMONIC_HOP, window=hann, length=len(wave))
    return Clip(samples=part[None], sample_rate_hz=HARMONIC_RATE_HZ)
