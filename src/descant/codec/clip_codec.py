"""A codec for clips instead of tensors."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.audio.samples import as_codes
from descant.codec.base import AudioCodec, Progress
from descant.errors import InvalidRequest
from descant.nn.settings import own_settings


class ClipCodec:
    """A model's codec for clips of any sample rate, number of channels and length."""

    def __init__(self, codec: AudioCodec) -> None:
        self.codec = codec

    @own_settings()
    def encode(self, clip: Clip, progress: Progress | None = None) -> Int[Tensor, "K T"]:
        """The codes of a clip, after conversion to the codec's rate and channels.

        Args:
            progress: called with the number of samples done and the number of all samples.

        Raises:
            InvalidRequest: it is not a clip.
        """
        if not isinstance(clip, Clip):
            raise InvalidRequest(f"clip={clip!r:.60}: expected a Clip; Clip(samples, sample_rate_hz) makes one")
        fitted = clip.resample(self.codec.sample_rate_hz).to_channels(self.codec.num_channels)
        return self.codec.encode_in_chunks(fitted.samples[None].to(self._device), progress)[0].cpu()

    @own_settings()
    def decode(self, codes: Int[Tensor, "K T"] | np.ndarray, progress: Progress | None = None) -> Clip:
        """The audio of codes.

        Args:
            progress: called with the number of frames done and the number of all frames.

        Raises:
            InvalidRequest: codes of another codec: another number of codebooks, or entries that this one does not have.
        """
        num_codebooks, num_entries = self.codec.num_codebooks, self.codec.codebook_size
        given = as_codes(codes)
        if given.shape[0] != num_codebooks or given.shape[1] == 0:
            raise InvalidRequest(
                f"codes are {tuple(given.shape)}: this codec needs {num_codebooks} rows of at least one frame"
            )
        low, high = int(given.min()), int(given.max())
        if not 0 <= low <= high < num_entries:
            raise InvalidRequest(f"codes reach from {low} to {high}: this codec has entries 0 to {num_entries - 1}")
        wave = self.codec.decode_in_chunks(given[None].to(self._device, torch.long), progress)[0].cpu()
        return Clip(samples=wave, sample_rate_hz=self.codec.sample_rate_hz, codes=given)

    @property
    def _device(self) -> torch.device:
        return next(self.codec.parameters()).device
