"""The facade: load a model by name, and generate music with it."""

import os
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from descant import presets
from descant.adapters import Adapter
from descant.audio import Clip
from descant.best_of import FIRST_ROUND, Choice, RoundProgress
from descant.checkpoints.adapters import NAMES, is_adapter
from descant.checkpoints.adapters import load_adapter as read_adapter
from descant.checkpoints.fingerprint import fingerprint
from descant.checkpoints.keeping import Keeping
from descant.checkpoints.layouts import load_model
from descant.checkpoints.names import folder_of, recorded_name
from descant.checkpoints.native import load_text_encoder
from descant.checkpoints.untrained import untrained_model
from descant.clip_stream import ClipStream
from descant.codec.clip_codec import ClipCodec
from descant.devices import DTYPE_NAMES, Precision, select_device, select_precision
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.engine import Engine, GeneratedMusic
from descant.generation.request import MAX_DURATION_S, Guidance, Request, Sampling
from descant.generation.resolve import ResolvedRequest, default_guidance, default_sampling
from descant.generation.runtimes import packs_weights
from descant.memory import return_freed
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.settings import own_settings
from descant.packer import WeightPacker
from descant.plain import Number, plain
from descant.provenance import check_sources, info_of
from descant.version import __version__


@own_settings()
def load(
    model: str | os.PathLike[str] = "starter",
    *,
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
    folder: Path | None = None,
) -> "MusicGen":
    """A model that is ready to generate music.

    Args:
        model: ``starter`` (ships with the package), ``tiny`` (random weights, for trying things), a model folder,
            or an id of the model hub such as ``facebook/musicgen-small``, optionally with ``@revision`` at its end.
            ``./starter``, ``starter/`` and ``~/starter`` are folders.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; auto uses a GPU if there is one.
        precision: of the language model: ``auto``, ``fp32``, ``bf16``, ``fp16``, ``int8`` (on a CPU or CUDA) or
            ``int4`` (on a CPU); auto is fp16 on CUDA, else fp32. On a CPU all but fp32 round the weights, keep nothing
            but the rounded ones, and calculate in float32; int8 and int4 round what is multiplied with them to int8.
            fp32 too reads weights that were stored in float16 or int8 as such, which is exact.
        folder: the folder with the model's files, if it is known; the name is not looked up then.

    Raises:
        CheckpointError: there is no such model, or it is broken.
        InvalidRequest: the device or precision is unavailable, or ``model`` is neither a name nor a path.
    """
    chosen = select_device(device)
    selected = select_precision(precision, chosen)
    name = _checked_name(model)
    found = folder_of(name) if folder is None else folder
    packer = None
    if found is None:
        loaded = _tiny().to_precision(selected.dtype).to_device(chosen)
    elif selected.weight_format is not None and packs_weights(chosen):
        packer = WeightPacker(selected.weight_format)
        loaded = load_model(found, chosen, selected.dtype, Keeping(keep=packer.keep, text_encoder_on_disk=True))
    else:
        loaded = load_model(found, chosen, selected.dtype)
    music_gen = MusicGen(loaded, recorded_name(name), selected, packer)
    return_freed()
    return music_gen


class MusicGen:
    """A loaded model. It keeps nothing of a request, and threads may share it.

    Args:
        precision: None is that of the model's parameters. One that rounds weights takes the model over: only the
            rounded weights are kept.
        packer: the matrices that were rounded to this precision already, while the model was loaded.
    """

    def __init__(
        self, model: MusicGenModel, name: str, precision: Precision | None = None, packer: WeightPacker | None = None
    ) -> None:
        self.model = model
        self.name = name
        self.fingerprint = fingerprint(model, None if packer is None else packer.fingerprints)
        dtype = model.lm.norm.weight.dtype
        selected = precision or Precision(DTYPE_NAMES[dtype], dtype)
        self._precision = selected.name
        packed = None if packer is None else packer.packed
        self._saves_memory = packer is not None
        self.engine = Engine(model, weight_format=selected.weight_format, packed=packed)
        self.codec = ClipCodec(model.codec)

    @property
    def config(self) -> MusicGenConfig:
        """The model's shape and defaults."""
        return self.model.config

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the generated clips."""
        return self.model.codec.sample_rate_hz

    @property
    def num_channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return self.model.codec.num_channels

    @property
    def max_duration_s(self) -> float:
        """The longest clip it was trained on; longer music is generated in windows of this length."""
        return self.config.max_duration_s

    @property
    def device(self) -> str:
        """The device of the language model."""
        return str(self.model.device)

    @property
    def precision(self) -> str:
        """The language model's precision."""
        return self._precision

    @property
    def default_sampling(self) -> Sampling:
        """The sampling of a request that has none."""
        return default_sampling(self.config.defaults)

    @property
    def default_guidance(self) -> Guidance:
        """The guidance of a request that has none."""
        return default_guidance(self.config.defaults)

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
        """Music for one request, or for several in their order; each is the same alone and in a batch.

        Args:
            request: a prompt, a ``Request``, or any ordered iterable of them, such as a list or an array.
            best_of: the number of candidates of each request, with successive seeds; the result is the one that fits
                the tempo, the key, the chords and the melody of the request best, and that does not stand still.
            progress: called with the number of steps done and the number of all steps.
            cancel: called before each step; True stops with ``Cancelled``.
            fields: fields of ``Request``, for prompts given as text.

        Raises:
            InvalidRequest: a field is wrong, or the model cannot do what is asked.
        """
        request, count = plain(request), plain(best_of)
        is_one = request is None or isinstance(request, str | Request)
        requests = [_as_request(request, fields)] if is_one else _as_requests(request, fields)
        chosen = self._best([Choice(one, count) for one in requests], progress, cancel)
        return chosen[0] if is_one else chosen

    def stream(
        self,
        request: str | Request | None = None,
        *,
        chunk_s: Number = 0.5,
        first_chunk_s: Number = 0.1,
        **fields: Any,
    ) -> ClipStream:
        """Music for one request while it is generated: clips that together are what ``generate`` returns.

        Args:
            request, fields: as for ``generate``.
            chunk_s: the usual length of a clip.
            first_chunk_s: the length of the first one, if it is below ``chunk_s``, so that the music begins soon; each
                of the next ones is twice as long as the one before, up to ``chunk_s``.

        Raises:
            InvalidRequest: as ``generate``; or the request is a loop, which is cut from the finished music.
        """
        lengths = {
            "chunk_s": _chunk_length("chunk_s", chunk_s),
            "first_chunk_s": _chunk_length("first_chunk_s", first_chunk_s),
        }
        return ClipStream(self.engine.stream(_as_request(request, fields), **lengths), self.sample_rate_hz)

    def load_adapter(self, folder: str | os.PathLike[str]) -> Adapter:
        """A low-rank adapter for this model, for the field ``adapters`` of requests. Its folder has the two files that
        ``descant`` and peft write.

        Raises:
            CheckpointError: there is no such folder, or a file in it is broken or is not a plain LoRA.
            InvalidRequest: it was made for a model of another shape.
        """
        name = os.fspath(plain(folder))
        path = Path(os.path.expanduser(name))
        if not is_adapter(path):
            raise CheckpointError(f"adapter={name!r:.200}: no folder with an adapter; it has {' and '.join(NAMES)}")
        return read_adapter(path, self.model)[0]

    def record_of(self, request: ResolvedRequest) -> dict[str, Any]:
        """The ``info`` of the music of a request: everything that is needed to generate it again."""
        model_info = {
            "descant": __version__,
            "model": self.name,
            "model_fingerprint": self.fingerprint,
            "device": self.device,
            "precision": self.precision,
        }
        return {**model_info, **info_of(request)}

    def _best(
        self,
        choices: list[Choice],
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> list[Clip]:
        """The best candidate of each choice. They are made in rounds, since few of them may be needed."""
        # A GPU makes a whole batch in the time of one.
        first = FIRST_ROUND if self.model.device.type == "cpu" else self.engine.max_batch
        rounds = RoundProgress(sum(len(choice.requests) for choice in choices), progress)
        while places := [(choice, place) for choice in choices for place in choice.next_round(first)]:
            requests = [choice.requests[place] for choice, place in places]
            for request in requests:
                check_sources(request)
            auditions = [choice.audition(place) for choice, place in places]
            made = self.engine.generate_some(requests, auditions, rounds.begin(len(places)), cancel)
            for (choice, place), music in zip(places, made, strict=True):
                if music is not None:
                    choice.add(place, self._clip_of(music))
        rounds.end()
        if self._saves_memory:
            return_freed()
        return [choice.best() for choice in choices]

    def _clip_of(self, music: GeneratedMusic) -> Clip:
        return Clip(music.wave, self.sample_rate_hz, codes=music.codes, info=self.record_of(music.request))


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


def _chunk_length(name: str, given: Number) -> float:
    seconds = plain(given)
    if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_DURATION_S:
        raise InvalidRequest(f"{name}={given!r:.60}: must be above 0 and at most {MAX_DURATION_S:g} seconds")
    return seconds


def _tiny() -> MusicGenModel:
    """The tiny preset with weights that are the same every time."""
    config = presets.tiny()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Loading the text encoder draws random numbers too: outside, it would change the model's weights.
        model = untrained_model(config, load_text_encoder(config))
    return model.eval().requires_grad_(False)


def _as_requests(several: Any, fields: dict[str, Any]) -> list[Request]:
    is_ordered = isinstance(several, Iterable) and not isinstance(several, bytes | Mapping | Set | Tensor)
    requests = [_as_request(item, fields) for item in several] if is_ordered else []
    if not requests:
        raise InvalidRequest(f"request={several!r:.60}: expected a prompt, a Request, or a list of at least one")
    return requests


def _as_request(request: Any, fields: dict[str, Any]) -> Request:
    unknown = sorted(set(fields) - set(Request.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(Request.__dataclass_fields__)
        raise InvalidRequest(f"{unknown[0]}: not a field of a request; the fields are {allowed}")
    request = plain(request)
    if isinstance(request, Request):
        return replace(request, **fields)
    if request is not None and not isinstance(request, str):
        raise InvalidRequest(f"request={request!r:.60}: expected a prompt, a Request, or a list of them")
    if request is not None and "text" in fields:
        raise InvalidRequest(f"text={fields['text']!r:.60}: the prompt {request!r:.60} is given too; give one of them")
    return Request(**{"text": request, **fields})
