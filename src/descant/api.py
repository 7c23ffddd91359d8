"""The facade: load a model by name, ask it for music."""

import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from descant import presets
from descant.audio import Clip
from descant.audio.samples import as_codes
from descant.checkpoints.fingerprint import fingerprint
from descant.checkpoints.layouts import load_model
from descant.checkpoints.names import folder_of, recorded_name
from descant.checkpoints.native import load_text_encoder
from descant.codec.base import AudioCodec, Progress
from descant.errors import CheckpointError, InvalidRequest, naming
from descant.evaluation.prompt_fit import fit, require_scorable
from descant.generation.engine import Engine
from descant.generation.request import MAX_DURATION_S, MAX_SEED, Guidance, Request, Sampling
from descant.generation.stream import MusicStream
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.rvq import VectorQuantizer
from descant.nn.settings import own_settings
from descant.plain import Number, plain
from descant.provenance import check_sources, info_of
from descant.version import __version__

MAX_CANDIDATES = 64
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@own_settings()
def load(
    model: str | os.PathLike[str] = "starter",
    *,
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
    folder: Path | None = None,
) -> "MusicGen":
    """A model that is ready to make music.

    Args:
        model: ``starter`` (ships with the package), ``tiny`` (random weights, for trying things), a model folder,
            or an id of the model hub such as ``facebook/musicgen-small``, with ``@revision`` behind it if wanted.
            ``./starter``, ``starter/`` and ``~/starter`` are folders.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; auto takes a GPU where there is one.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``, of the language model; auto is fp16 on CUDA, else fp32.
        folder: where the model's files are, if that is known; its name is not looked up then.

    Raises:
        CheckpointError: there is no such model, or it is broken.
        InvalidRequest: the device or precision is not to be had, or ``model`` is neither a name nor a path.
    """
    chosen = select_device(device)
    dtype = _precision(precision, chosen)
    given = _checked_name(model)
    found = folder_of(given) if folder is None else folder
    loaded = _tiny().to_precision(dtype).to_device(chosen) if found is None else load_model(found, chosen, dtype)
    return MusicGen(loaded, recorded_name(given))


def _checked_name(model: Any) -> str:
    """The name or path of a model as text, if it can be one."""
    given = plain(model)
    if not isinstance(given, str | os.PathLike):
        raise InvalidRequest(f"model={model!r:.60}: expected a name or a path, such as starter or a model folder")
    name = os.fsdecode(given)
    if not name.strip():
        raise CheckpointError(f"model={name!r:.60} names no model; give starter, tiny, a model folder or a hub id")
    if name != name.strip():
        raise CheckpointError(f"model={name!r:.200} has spaces around it; did you mean {name.strip()!r:.200}?")
    return name


class ClipCodec:
    """A model's codec for clips instead of tensors: any rate and channel count goes in."""

    def __init__(self, codec: AudioCodec) -> None:
        self.codec = codec

    @own_settings()
    def encode(self, clip: Clip, progress: Progress | None = None) -> Int[Tensor, "K T"]:
        """The clip's codes, after bringing it to the codec's rate and channels; in pieces, however long it is.

        Args:
            progress: called with the samples that are encoded, and with all of them.

        Raises:
            InvalidRequest: it is not a clip.
        """
        if not isinstance(clip, Clip):
            raise InvalidRequest(f"clip={clip!r:.60}: expected a Clip; Clip(samples, sample_rate_hz) makes one")
        fitted = clip.resample(self.codec.sample_rate_hz).to_channels(self.codec.num_channels)
        return self.codec.encode_in_chunks(fitted.samples[None].to(_device_of(self.codec)), progress)[0].cpu()

    @own_settings()
    def decode(self, codes: Int[Tensor, "K T"] | np.ndarray, progress: Progress | None = None) -> Clip:
        """The sound of codes, made in pieces, however many they are.

        Args:
            progress: called with the frames that are decoded, and with all of them.

        Raises:
            InvalidRequest: codes of another codec: too many codebooks, or entries it does not have.
        """
        books, entries = self.codec.num_codebooks, self.codec.codebook_size
        rows = as_codes(codes)
        if rows.shape[0] != books or rows.shape[1] == 0:
            raise InvalidRequest(f"codes are {tuple(rows.shape)}: this codec needs {books} rows of at least one frame")
        low, high = int(rows.min()), int(rows.max())
        if not 0 <= low <= high < entries:
            raise InvalidRequest(f"codes reach from {low} to {high}: this codec has entries 0 to {entries - 1}")
        wave = self.codec.decode_in_chunks(rows[None].to(_device_of(self.codec), torch.long), progress)[0].cpu()
        return Clip(samples=wave, sample_rate_hz=self.codec.sample_rate_hz, codes=rows)


class ClipStream:
    """An iterator over the clips of a piece. Nothing is made before it is asked for."""

    def __init__(self, stream: MusicStream, sample_rate_hz: int) -> None:
        self._stream = stream
        self.sample_rate_hz = sample_rate_hz

    def __iter__(self) -> Iterator[Clip]:
        return self

    def __next__(self) -> Clip:
        return Clip(next(self._stream), self.sample_rate_hz)

    @property
    def request(self) -> Request:
        """What is made, with nothing left open: its seed, for one."""
        return self._stream.request

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """The codes of all windows that are done."""
        return self._stream.codes

    def change(self, text: str | None) -> None:
        """From the next frame on the music is drawn under another prompt; what is out already stays."""
        self._stream.change(text)


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
        """The longest clip it was trained on; longer music is made in windows of this length."""
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
    def generate(self, request: Iterable[Request | str | None], **fields: Any) -> list[Clip]: ...
    @own_settings()
    def generate(
        self,
        request: str | Request | Iterable[Request | str | None] | None = None,
        *,
        best_of: Number = 1,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        **fields: Any,
    ) -> Clip | list[Clip]:
        """Music for one request, or for several in their order; each is the same alone and in company.

        Args:
            request: a prompt, a ``Request``, or a list, an array or anything else that gives them in their order.
            best_of: makes so many of each, with seeds that follow each other, and gives the one in which the tempo, the
                key and the melody that were asked for are heard best.
            progress: called with the steps done and the steps in all.
            cancel: asked before each step; True stops with ``Cancelled``.
            fields: fields of ``Request`` for prompts given as text.

        Raises:
            InvalidRequest: a field is wrong, or the model cannot do what is asked.
        """
        request, count = plain(request), plain(best_of)
        if request is None or isinstance(request, str | Request):
            return self._best([_as_request(request, fields)], count, progress, cancel)[0]
        is_list = isinstance(request, Iterable) and not isinstance(request, bytes | Mapping | Set | Tensor)
        requests = [_as_request(item, fields) for item in request] if is_list else []
        if not requests:
            raise InvalidRequest(f"request={request!r:.60}: expected a prompt, a Request, or a list of at least one")
        return self._best(requests, count, progress, cancel)

    def stream(self, request: str | Request | None = None, *, chunk_s: Number = 0.5, **fields: Any) -> "ClipStream":
        """Music for one request while it is made: clips that together are what ``generate`` makes of it.

        Args:
            request, fields: as for ``generate``.
            chunk_s: how much music a clip holds, at least.

        Raises:
            InvalidRequest: as ``generate``; or a loop is asked for, which is cut from the whole.
        """
        seconds = plain(chunk_s)
        if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_DURATION_S:
            raise InvalidRequest(f"chunk_s={chunk_s!r:.60}: must be above 0 and at most {MAX_DURATION_S:g} seconds")
        return ClipStream(self.engine.stream(_as_request(request, fields), chunk_s=seconds), self.sample_rate_hz)

    def _best(
        self,
        requests: list[Request],
        best_of: int,
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> list[Clip]:
        """The best of so many candidates of each request."""
        if isinstance(best_of, bool) or not isinstance(best_of, int) or not 1 <= best_of <= MAX_CANDIDATES:
            raise InvalidRequest(f"best_of={best_of!r:.60}: must be a whole number from 1 to {MAX_CANDIDATES}")
        if best_of == 1:
            return self._make(requests, progress, cancel)
        candidates = [_variations(request, best_of) for request in requests]
        clips = self._make([one for several in candidates for one in several], progress, cancel)
        return [
            _fittest(request, clips[index * best_of : (index + 1) * best_of]) for index, request in enumerate(requests)
        ]

    def _make(
        self,
        requests: list[Request],
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> list[Clip]:
        for request in requests:
            check_sources(request)
        return [
            Clip(
                samples=made.wave,
                sample_rate_hz=self.sample_rate_hz,
                codes=made.codes,
                info={**self._facts(), **info_of(made, request)},
            )
            for request, made in zip(requests, self.engine.generate(requests, progress, cancel), strict=True)
        ]

    def _facts(self) -> dict[str, Any]:
        """What is the same for all music of this model, as plain data."""
        return {
            "descant": __version__,
            "model": self.name,
            "model_fingerprint": self.fingerprint,
            "device": self.device,
            "precision": self.precision,
        }


def _variations(request: Request, count: int) -> list[Request]:
    """The request with seeds that follow each other.

    Raises:
        InvalidRequest: it asks for nothing by which the better could be told from the worse.
        MissingExtra: what hears tempo and key is not installed.
    """
    with naming(f"best_of={count}"):
        require_scorable(request.text, request.melody, request.duration_s if request.loop_bars is None else math.inf)
    first = secrets.randbits(31) if request.seed is None else request.seed
    return [replace(request, seed=(first + index) % (MAX_SEED + 1)) for index in range(count)]


def _fittest(request: Request, clips: Sequence[Clip]) -> Clip:
    """The clip with the best score; of equals the first."""
    scores = [fit(clip, request.text, request.melody).score or 0.0 for clip in clips]
    best = scores.index(max(scores))
    return replace(clips[best], info={**clips[best].info, "best_of": len(clips), "scores": scores})


def _as_request(request: str | Request | None, fields: dict[str, Any]) -> Request:
    unknown = sorted(set(fields) - set(Request.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(Request.__dataclass_fields__)
        raise InvalidRequest(f"{unknown[0]}: no field of a request; there are {allowed}")
    request = plain(request)
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


def select_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        InvalidRequest: there is no such device, or this machine has none.
    """
    name = str(device)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, colon, number = name.partition(":")
    if kind not in available or (colon and not number.isdecimal()):
        raise InvalidRequest(f"device={name!r}: allowed are auto, {', '.join(available)}, or cuda:0 and so on")
    if not available[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise InvalidRequest(f"device={name!r}: this machine or this torch has none; use auto or cpu")
    return torch.device(name)


def _precision(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    if isinstance(name, torch.dtype) and name in PRECISIONS.values():
        return name
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise InvalidRequest(f"precision={name!r}: allowed are auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _device_of(codec: AudioCodec) -> torch.device:
    return next(codec.parameters()).device
