"""transformers' MusicGen and EnCodec with the weights of a model of ours, to compare speed and codes with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from descant.api import MusicGen
from descant.checkpoints import huggingface
from descant.codec.any import AnyCodecConfig
from descant.codec.base import AudioCodec
from descant.conditioning.encoders.frozen import import_transformers
from descant.errors import CheckpointError, InvalidRequest
from descant.shapes import Codes, Wave

NEEDED_BY = "--against transformers"


class TransformersMusicGen:
    """transformers' MusicGen and its processor of texts, with a model's weights, device and precision.

    All of it is in that precision, as transformers' users have it: ours keeps codec and text encoder in float32.

    Raises:
        InvalidRequest: transformers has no such model.
        MissingExtra: transformers is not installed.
    """

    def __init__(self, model: MusicGen) -> None:
        transformers = import_transformers(NEEDED_BY)
        with _written(lambda folder: huggingface.save_model(model.model, folder)) as folder:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            network = transformers.AutoModelForTextToWaveform.from_pretrained(folder)
        self._network = network.to(model.model.device, model.model.lm.norm.weight.dtype).eval()
        self._network.generation_config.max_length = None  # each call has its own
        self._pattern = model.config.pattern

    @torch.inference_mode()
    def generate(self, text: str, num_frames: int, count: int = 1, **settings: Any) -> Tensor:
        """The audio of ``count`` requests with one text, on the CPU, with the model's own sampling and guidance."""
        tokens = self._tokenizer([text] * count, return_tensors="pt").to(self._network.device)
        num_steps = int(self._pattern.steps(num_frames).max())
        return self._network.generate(**tokens, max_new_tokens=num_steps, **settings).float().cpu()

    def greedy_codes(self, text: str, num_frames: int) -> Int[Tensor, "K T"]:
        """The codes that it gives its codec where each is the likeliest."""
        decoded: list[Tensor] = []
        codec = self._network.audio_encoder
        decode = codec.decode

        def recorded(codes: Tensor, *args: Any, **settings: Any) -> Any:
            decoded.append(codes[0, 0])
            return decode(codes, *args, **settings)

        codec.decode = recorded
        try:
            self.generate(text, num_frames, do_sample=False)
        finally:
            del codec.decode
        # Stereo codes are decoded one channel after the other; ours alternate.
        return torch.stack(decoded, dim=1).flatten(0, 1).cpu()


class TransformersCodec:
    """transformers' EnCodec with the interface of ours."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @classmethod
    def of(cls, codec: AudioCodec, config: AnyCodecConfig) -> "TransformersCodec":
        """The one with a codec's weights and device.

        Raises:
            InvalidRequest: transformers has no such codec.
            MissingExtra: transformers is not installed.
        """
        transformers = import_transformers(NEEDED_BY)
        with _written(lambda folder: huggingface.save_codec(codec, config, folder)) as folder:
            network = transformers.EncodecModel.from_pretrained(folder)
        return cls(network.to(next(codec.parameters()).device).eval())

    def encode(self, wave: Wave) -> Codes:
        """The codes of waves, of one length."""
        return self._network.encode(wave).audio_codes[0]

    def decode(self, codes: Codes) -> Wave:
        """The waves of codes."""
        return self._network.decode(codes[None], [None]).audio_values


@contextmanager
def _written(save: Callable[[Path], None]) -> Iterator[Path]:
    """A temporary folder with what ``save`` writes into it."""
    with TemporaryDirectory(prefix="descant-bench-") as temporary:
        folder = Path(temporary) / "model"
        try:
            save(folder)
        except CheckpointError as error:
            raise InvalidRequest(
                f"against='transformers': {error}; compare a released model or the shape of one, such as small"
            ) from error
        yield folder
