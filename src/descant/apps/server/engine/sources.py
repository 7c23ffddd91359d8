"""The audio that a clip is made from, out of the message that asks for the clip."""

import io
from typing import Any

import torch

from descant.api import MusicGen
from descant.apps.server.engine.messages import Message
from descant.audio import Clip
from descant.errors import naming


def read_sources(message: Message, model: MusicGen) -> dict[str, Any]:
    """The fields ``melody``, ``style``, ``prompt`` and ``prompt_codes`` of a request, those that are given.

    The prompt ends with a whole frame of the codec, so that its codes continue and nothing has to be coded anew.

    Raises:
        AudioError, InvalidRequest: a file cannot be read, or the part that is asked for lies outside it.
    """
    sources: dict[str, Any] = {}
    for name in ("melody", "style"):
        if name in message.payloads:
            with naming(name):
                sources[name] = _part(message.payloads[name], **message.fields["sources"][name])
    if "prompt" in message.payloads:
        with naming("prompt"):
            sources.update(_prompt(message, model))
    return sources


def _part(file: bytes, start_s: float, end_s: float | None) -> Clip:
    length_s = None if end_s is None else end_s - start_s
    return Clip.read(io.BytesIO(file), offset_s=start_s, duration_s=length_s)


def _prompt(message: Message, model: MusicGen) -> dict[str, Any]:
    codec = model.codec.codec
    clip = Clip.read(io.BytesIO(message.payloads["prompt"]))
    clip = clip.resample(codec.sample_rate_hz).to_channels(codec.num_channels)
    at_s = message.fields["sources"]["prompt"]["at_s"]
    num_frames = len(clip) // codec.hop_samples
    if at_s is not None:
        num_frames = min(num_frames, round(at_s * codec.frame_rate_hz))
    num_frames = max(1, num_frames)
    kept = Clip(clip.samples[:, : num_frames * codec.hop_samples], clip.sample_rate_hz)
    if "prompt_codes" not in message.payloads:
        return {"prompt": kept}
    codes = torch.frombuffer(bytearray(message.payloads["prompt_codes"]), dtype=torch.int32)
    return {"prompt": kept, "prompt_codes": codes.view(codec.num_codebooks, -1)[:, :num_frames].long()}
