"""Speed of the codec alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from descant.api import MusicGen
from descant.shapes import Codes, Wave
from descant.studies.speed.busy import with_busy
from descant.studies.speed.machine import count_flops, forget_peak, machine_info, measure_ceiling
from descant.studies.speed.timing import Measurement, Values, measure, timed
from descant.studies.speed.transformers_models import TransformersCodec


def codec_speed(
    model: MusicGen, duration_s: float, repeats: int = 3, *, num_busy: int = 0, against_transformers: bool = False
) -> dict[str, Any]:
    """Seconds to encode and to decode a clip of noise as generation does, and the share of the arithmetic rate reached.

    Args:
        num_busy: also measures while this number of other processes are busy.
        against_transformers: measures transformers' EncodecModel with the same weights too.

    Raises:
        InvalidRequest: transformers has no such codec.
        MissingExtra: transformers is not installed.
    """
    codec, device = model.model.codec, model.model.device
    num_samples = max(1, round(duration_s * codec.sample_rate_hz))
    wave = 0.1 * torch.randn(1, codec.num_channels, num_samples, device=device)
    with torch.inference_mode():
        codes = codec.encode_in_chunks(wave)
        codec.decode_in_chunks(codes)
        forget_peak(device)
        own: Measurement = partial(_measured, codec.encode_in_chunks, codec.decode_in_chunks, wave, codes, device)
        others: dict[str, Measurement] = {}
        compared: dict[str, Any] = {}
        if against_transformers:
            theirs = TransformersCodec.of(codec, model.config.codec)
            compared["equal_codes_share"] = float((theirs.encode(wave) == codes).float().mean())
            theirs.decode(codes)
            others["transformers"] = partial(_measured, theirs.encode, theirs.decode, wave, codes, device)
        if num_busy:
            others["busy"] = with_busy(num_busy, own)
        values = measure(own, others, repeats)
        flops = {"encode": count_flops(lambda: codec.encode(wave)), "decode": count_flops(lambda: codec.decode(codes))}
    machine = machine_info(model)
    if against_transformers:
        del machine["peak_memory_bytes"]  # it would be that of both
    ceiling = measure_ceiling(device, torch.float32).flops_per_s
    result: dict[str, Any] = {"what": "codec", "audio_s": duration_s, "num_busy": num_busy, **values, **compared}
    for name, count in flops.items():
        seconds = values[f"{name}_seconds"]
        result |= {
            f"{name}_real_time_factor": seconds / duration_s,
            f"{name}_flops_per_s": count / seconds,
            f"{name}_share_of_ceiling": count / seconds / ceiling,
        }
    return {**result, "ceiling_flops_per_s": ceiling, **machine}


def _measured(
    encode: Callable[[Wave], Codes], decode: Callable[[Codes], Wave], wave: Wave, codes: Codes, device: torch.device
) -> Values:
    return {
        "encode_seconds": timed(lambda: encode(wave), device),
        "decode_seconds": timed(lambda: decode(codes), device),
    }
