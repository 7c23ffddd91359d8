"""The magnitude spectrogram shared by the metrics."""

import torch
from jaxtyping import Float
from torch import Tensor


def spectrogram(wave: Float[Tensor, "*batch N"], window: int, hop: int) -> Float[Tensor, "*batch bins frames"]:
    """Magnitudes under Hann windows centred on every ``hop``-th sample, the wave reflected at its ends.

    A sine at full scale gives ``window / 4`` in its bin. The wave must be longer than half a window.
    """
    hann = torch.hann_window(window, device=wave.device)
    return torch.stft(wave, window, hop, window=hann, center=True, pad_mode="reflect", return_complex=True).abs()
