"""Speed of generation: the whole way from texts to audio, and one step of the language model."""

import time
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from descant.api import MusicGen
from descant.generation.request import Request, Sampling
from descant.studies.speed.busy import with_busy
from descant.studies.speed.machine import forget_peak, machine_info, measure_ceiling
from descant.studies.speed.timing import Measurement, Values, measure, wait_for
from descant.studies.speed.transformers_models import TransformersMusicGen

PROMPT = "piano and drums"
WARM_UP_S = 1.0


class StepClock:
    """The times at which steps end: the first, the last, and about each ``every``-th one in between. Several may end at
    once.

    Args:
        count: the requests that are decoded at once, each of which takes every step.
    """

    def __init__(self, device: torch.device, every: int | None = None, count: int = 1) -> None:
        self.device, self.every, self.count = device, every, count
        self.times: list[tuple[float, float]] = []
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        self._first = done if self._first is None else self._first
        step = 1 + (done - self._first) / self.count
        is_next = self.every is not None and self.times and step // self.every > self.times[-1][0] // self.every
        if not self.times or done == total or is_next:
            wait_for(self.device)
            self.times.append((step, time.perf_counter()))

    @property
    def ms_per_step(self) -> float:
        """Milliseconds of a step, without the first, which reads the prompt too."""
        (first, began), (last, ended) = self.times[0], self.times[-1]
        return 1_000 * (ended - began) / max(1, last - first)


def decode_speed(
    model: MusicGen,
    duration_s: float,
    repeats: int = 3,
    *,
    count: int = 1,
    num_busy: int = 0,
    against_transformers: bool = False,
    whole: MusicGen | None = None,
) -> dict[str, Any]:
    """Seconds for guided prompts from text to sound, and how near their steps come to reading the weights only.

    Short runs before the first are not counted.

    Args:
        count: requests at once. If there are several, one alone is measured too, and the throughputs are compared.
        num_busy: also measures while this number of other processes are busy.
        against_transformers: measures transformers' MusicGen with the same weights too, and compares greedy codes.
        whole: the same model with all its weights, for transformers, if ``model`` keeps only rounded ones.

    Raises:
        InvalidRequest: transformers has no such model.
        MissingExtra: transformers is not installed.
    """
    device = model.model.device
    greedy = warm_up(model, duration_s, count)
    forget_peak(device)
    own: Measurement = partial(decode_once, model, duration_s, count)
    others: dict[str, Measurement] = {}
    compared: dict[str, Any] = {}
    if against_transformers:
        theirs = TransformersMusicGen(whole or model)
        compared = _compared(greedy, theirs.greedy_codes(PROMPT, greedy.shape[1]))
        theirs.generate(PROMPT, greedy.shape[1], count)
        others["transformers"] = partial(_theirs_once, theirs, num_frames(model, duration_s), count)
    if count > 1:
        others["alone"] = partial(decode_once, model, duration_s)
    if num_busy:
        others["busy"] = with_busy(num_busy, own)
    values = measure(own, others, repeats)
    result = {
        "what": "decode",
        "duration_s": duration_s,
        "count": count,
        "audio_s": count * duration_s,
        "num_busy": num_busy,
        **values,
        **(_throughput(values, count) if count > 1 else {}),
        **compared,
        "real_time_factor": values["seconds"] / (count * duration_s),
    }
    machine = machine_info(model)  # before the ceiling, whose large tensors would count as the model's memory
    if against_transformers:
        del machine["peak_memory_bytes"]  # it would be that of both
    return {**result, **_against_ceiling(model, values["ms_per_step"]), **machine}


def decode_once(model: MusicGen, duration_s: float, count: int = 1) -> Values:
    """Generates once: the seconds of it all, and the milliseconds of a step."""
    clock = StepClock(model.model.device, count=count)
    requests = [Request(text=PROMPT, duration_s=duration_s, seed=seed) for seed in range(count)]
    began = time.perf_counter()
    model.generate(requests, progress=clock)
    return {"seconds": time.perf_counter() - began, "ms_per_step": clock.ms_per_step}


def warm_up(model: MusicGen, duration_s: float, *counts: int) -> Int[Tensor, "K T"]:
    """Generates up to a second, alone and with these counts of requests at once, so that all is loaded and packed.

    Gives the codes of a request alone, each the likeliest one.
    """
    request = Request(text=PROMPT, duration_s=min(WARM_UP_S, duration_s), sampling=Sampling(greedy=True))
    for count in counts:
        model.generate([request] * count)
    codes = model.generate(request).codes
    assert codes is not None
    return codes


def num_frames(model: MusicGen, duration_s: float) -> int:
    """The frames of a request of this length."""
    return model.model.codec.num_frames(round(duration_s * model.sample_rate_hz))


def _theirs_once(theirs: TransformersMusicGen, num_frames: int, count: int) -> Values:
    began = time.perf_counter()
    theirs.generate(PROMPT, num_frames, count)
    return {"seconds": time.perf_counter() - began}


def _compared(ours: Int[Tensor, "K T"], theirs: Int[Tensor, "K T"]) -> dict[str, Any]:
    """Whether greedy codes are equal, and how many frames are before the first that is not."""
    is_equal = (ours == theirs).all(dim=0)
    num_equal = int(is_equal.long().cumprod(dim=0).sum())
    return {
        "greedy_codes_equal": num_equal == len(is_equal),
        "greedy_frames_equal": num_equal,
        "greedy_frames": len(is_equal),
    }


def _throughput(values: Values, count: int) -> dict[str, float]:
    """How much more music a second all requests at once give than one alone."""
    return {f"throughput_ratio{part}": count * values[f"alone_seconds_ratio{part}"] for part in ("", "_min", "_max")}


def _against_ceiling(model: MusicGen, ms_per_step: float) -> dict[str, float]:
    """The bytes of weights that a step reads, and the share of the bandwidth that this is."""
    weight_bytes = model.engine.runtime.bytes_per_step()
    bandwidth = measure_ceiling(model.model.device, model.model.lm.norm.weight.dtype).bandwidth_bytes_per_s
    steps_per_s = 1_000 / ms_per_step
    return {
        "steps_per_s": steps_per_s,
        "weight_bytes_per_step": weight_bytes,
        "bandwidth_bytes_per_s": bandwidth,
        "ceiling_steps_per_s": bandwidth / weight_bytes,
        "share_of_ceiling": weight_bytes * steps_per_s / bandwidth,
    }
