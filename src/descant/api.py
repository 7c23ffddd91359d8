"""The facade: load a model by name, ask it for music."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Int
from torch import Tensor

from descant import presets
from descant.audio import Clip
from descant.checkpoints import hub
from descant.checkpoints.layouts import load_model
from descant.checkpoints.native import load_text_encoder, place, starter_folder
from descant.codec.base import AudioCodec
from descant.config import to_dict
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.engine import Engine, Made
from descant.generation.request import Guidance, Request, Sampling
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.rvq import VectorQuantizer
from descant.version import __version__

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def load(model: str | Path = "starter", *, device: str = "auto", precision: str = "auto") -> "MusicGen":
    """A model that is ready to make music.

    Args:
        model: ``starter`` (ships with the package), ``tiny`` (random weights, for trying things), a model folder,
            or an id of the model hub such as ``facebook/musicgen-small``, with ``@revision`` behind it if wanted.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; auto takes a GPU where there is one.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``, of the language model; auto is fp16 on CUDA, else fp32.

    Raises:
        CheckpointError: there is no such model, or it is broken.
        InvalidRequest: the device or precision is not to be had.
    """
    chosen = select_device(device)
    dtype = _precision(precision, chosen)
    if model == "tiny":
        return MusicGen(place(_tiny(), chosen, dtype), "tiny")
    folder = starter_folder() if model == "starter" else Path(model)
    try:
        is_there = folder.is_dir()
        if not is_there and hub.is_id(str(model)):
            folder, is_there = hub.find(str(model)), True
    except OSError:  # a name too long for the file system
        is_there = False
    if not is_there:
        raise CheckpointError(f"{str(model)!r:.200}: no such model; give starter, tiny, a model folder or a hub id")
    return MusicGen(load_model(folder, chosen, dtype), str(model))


class ClipCodec:
    """A model's codec for clips instead of tensors: any rate and channel count goes in."""

    def __init__(self, codec: AudioCodec) -> None:
        self.codec = codec

    @torch.no_grad()
    def encode(self, clip: Clip) -> Int[Tensor, "K T"]:
        """The clip's codes, after bringing it to the codec's rate and channels."""
        fitted = clip.resample(self.codec.sample_rate_hz).to_channels(self.codec.num_channels)
        return self.codec.encode(fitted.samples[None].to(_device_of(self.codec)))[0].cpu()

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "K T"]) -> Clip:
        """The sound of codes.

        Raises:
            InvalidRequest: codes of another codec: too many codebooks, or entries it does not have.
        """
        books, entries = self.codec.num_codebooks, self.codec.codebook_size
        if codes.shape[0] != books or codes.shape[1] == 0:
            raise InvalidRequest(f"codes are {tuple(codes.shape)}: this codec needs {books} rows of at least one frame")
        low, high = int(codes.min()), int(codes.max())
        if not 0 <= low <= high < entries:
            raise InvalidRequest(f"codes reach from {low} to {high}: this codec has entries 0 to {entries - 1}")
        wave = self.codec.decode(codes[None].to(_device_of(self.codec)))[0].cpu()
        return Clip(samples=wave, sample_rate_hz=self.codec.sample_rate_hz, codes=codes)


class MusicGen:
    """A loaded model. It keeps nothing of a request, and many threads may use it at once."""

    def __init__(self, model: MusicGenModel, name: str) -> None:
        self.model = model
        self.name = name
        self.engine = Engine(model)
        self.codec = ClipCodec(model.codec)
        self.fingerprint = fingerprint(model)

    @property
    def config(self) -> MusicGenConfig:
        """The model's shape and defaults."""
        return self.model.config

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the clips it makes."""
        return self.model.codec.sample_rate_hz

    @property
    def num_channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return self.model.codec.num_channels

    @property
    def max_duration_s(self) -> float:
        """The longest clip it makes."""
        return self.config.max_duration_s

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.model.device)

    @property
    def precision(self) -> str:
        """The language model's precision."""
        dtype = self.model.lm.norm.weight.dtype
        return next(name for name, kind in PRECISIONS.items() if kind == dtype)

    @property
    def default_sampling(self) -> Sampling:
        """How codes are drawn where a request does not say."""
        return self.engine.default_sampling

    @property
    def default_guidance(self) -> Guidance:
        """How strong guidance is where a request does not say."""
        return self.engine.default_guidance

    @overload
    def generate(self, request: str | Request | None = None, **fields: Any) -> Clip: ...
    @overload
    def generate(self, request: Sequence[Request | str | None], **fields: Any) -> list[Clip]: ...
    def generate(
        self,
        request: str | Request | Sequence[Request | str | None] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        **fields: Any,
    ) -> Clip | list[Clip]:
        """Music for one request, or for several in their order; each is the same alone and in company.

        Args:
            request: a prompt, a ``Request``, or a list of them.
            progress: called with the steps done and the steps in all.
            cancel: asked before each step; True stops with ``Cancelled``.
            fields: fields of ``Request`` for prompts given as text.

        Raises:
            InvalidRequest: a field is wrong, or the model cannot do what is asked.
        """
        if request is None or isinstance(request, str | Request):
            return self._make([_as_request(request, fields)], progress, cancel)[0]
        if not isinstance(request, Sequence) or not request:
            raise InvalidRequest(f"request={request!r:.60}: expected a prompt, a Request, or a list of at least one")
        return self._make([_as_request(item, fields) for item in request], progress, cancel)

    def _make(
        self,
        requests: list[Request],
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> list[Clip]:
        return [
            Clip(samples=made.wave, sample_rate_hz=self.sample_rate_hz, codes=made.codes, info=self._info(made))
            for made in self.engine.generate(requests, progress, cancel)
        ]

    def _info(self, made: Made) -> dict[str, Any]:
        """Everything that is needed to make it again, as plain data."""
        request = made.request
        assert request.sampling is not None
        assert request.guidance is not None
        prompt = made.codes[:, : made.num_prompt_frames]
        return {
            "descant": __version__,
            "model": self.name,
            "model_fingerprint": self.fingerprint,
            "device": self.device,
            "precision": self.precision,
            "text": request.text,
            "negative_text": request.negative_text,
            "duration_s": request.duration_s,
            "seed": request.seed,
            "sampling": asdict(request.sampling),
            "guidance": asdict(request.guidance),
            "prompt_codes": prompt.tolist() if made.num_prompt_frames else None,
            "style_codes": None if request.style_codes is None else request.style_codes.tolist(),
            "melody_chroma": None if request.melody_chroma is None else _as_text(request.melody_chroma),
        }


def request_from_info(info: dict[str, Any]) -> Request:
    """The request behind a generated clip, from the ``info`` that its file carries.

    A continued prompt or a style comes back as its codes, a melody as its chroma: all that the model saw of them.

    Raises:
        InvalidRequest: the info is not one that ``generate`` wrote.
    """
    try:
        request = Request(
            text=info["text"],
            negative_text=info["negative_text"],
            duration_s=info["duration_s"],
            seed=info["seed"],
            sampling=Sampling(**info["sampling"]),
            guidance=Guidance(**info["guidance"]),
        )
        codes, style, melody = info["prompt_codes"], info.get("style_codes"), info.get("melody_chroma")
        if info["seed"] is None:
            raise KeyError("seed")
        prompt_codes = None if codes is None else torch.tensor(codes)
        style_codes = None if style is None else torch.tensor(style)
        melody_chroma = None if melody is None else _from_text(melody)
    # torch tells what it cannot make a tensor of in three ways: ragged rows, no numbers, numbers too large.
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"the file says nothing of how it was made, or not all of it ({error!r:.80})") from error
    return replace(request, prompt_codes=prompt_codes, melody_chroma=melody_chroma, style_codes=style_codes)


def _as_text(levels: Int[Tensor, "T P"]) -> str:
    """A melody's levels as hexadecimal bytes, a word for each frame."""
    return " ".join(bytes(frame).hex() for frame in levels.tolist())


def _from_text(text: str) -> Int[Tensor, "T P"]:
    return torch.tensor([list(bytes.fromhex(frame)) for frame in text.split(" ")])


def fingerprint(model: MusicGenModel) -> str:
    """A short name for exactly these weights: a hash of the config and, for every tensor, of some of its values and a
    sum over the bits of all. To hash all the bits of a large model would take longer than to load it.
    """
    # What a model does not have is left out, so that a new kind of condition changes no older model's name.
    config = {name: value for name, value in to_dict(model.config).items() if value is not None}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        bits = flat.view(BITS[flat.element_size()])
        picked = bits[:: max(1, len(bits) // 256)].to("cpu", torch.int64)
        digest.update(f"{name} {int(bits.sum(dtype=torch.int64))}".encode() + picked.numpy().tobytes())
    return digest.hexdigest()[:16]


def _as_request(request: str | Request | None, fields: dict[str, Any]) -> Request:
    unknown = sorted(set(fields) - set(Request.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(Request.__dataclass_fields__)
        raise InvalidRequest(f"{unknown[0]}: no field of a request; there are {allowed}")
    if isinstance(request, Request):
        return replace(request, **fields)
    if request is not None and not isinstance(request, str):
        raise InvalidRequest(f"request={request!r:.60}: expected a prompt, a Request, or a list of them")
    if request is not None and "text" in fields:
        raise InvalidRequest(f"text={fields['text']!r:.60}: the prompt {request!r:.60} says the same; give one of them")
    return Request(**{"text": request, **fields})


def _tiny() -> MusicGenModel:
    """The tiny preset with weights that are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = presets.tiny()
        model = MusicGenModel(config, load_text_encoder(config))
        for module in model.modules():
            if isinstance(module, VectorQuantizer):
                module.codebook.normal_()
    return model.eval().requires_grad_(False)


def select_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        InvalidRequest: there is no such device, or this machine has none.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, colon, number = name.partition(":")
    if kind not in available or (colon and not number.isdecimal()):
        raise InvalidRequest(f"device={name!r}: allowed are auto, {', '.join(available)}, or cuda:0 and so on")
    if not available[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise InvalidRequest(f"device={name!r}: this machine or this torch has none; use auto or cpu")
    return torch.device(name)


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise InvalidRequest(f"precision={name!r}: allowed are auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _device_of(codec: AudioCodec) -> torch.device:
    return next(codec.parameters()).device
