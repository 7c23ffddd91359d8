"""The magnitude spectrogram shared by the metrics."""

import torch
from jaxtyping import Float
from torch import Tensor

from descant.errors import InvalidRequest


def spectrogram(wave: Float[Tensor, "*batch N"], window: int, hop: int) -> Float[Tensor, "*batch bins frames"]:
    """Magnitudes under Hann windows centred on every ``hop``-th sample, the wave reflected at its ends.

    A sine at full scale gives ``window / 4`` in its bin.

    Raises:
        InvalidRequest: the wave is not longer than half a window.
    """
    if 2 * wave.shape[-1] <= window:
        raise InvalidRequest(f"{wave.shape[-1]} samples: a spectrum needs more than half a window of {window}")
    hann = torch.hann_window(window, device=wave.device)
    return torch.stft(wave, window, hop, window=hann, center=True, pad_mode="reflect", return_complex=True).abs()
