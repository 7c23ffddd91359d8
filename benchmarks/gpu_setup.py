"""What the checks of `gpu_check.py` share: sizes, untrained models, the clock."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from descant import presets
from descant.generation.runtimes.int8_linear import store_in_int8
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig
from descant.studies.speed.timing import timed

Finding: TypeAlias = dict[str, Any]
Check: TypeAlias = "Callable[[Setup], Iterator[Finding]]"

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float16}
GUIDANCE = 3.0
NUM_WORDS = 20


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The sizes of one run.

    Args:
        positions: of the step loop at which its steps are timed.
    """

    device: torch.device
    models: dict[str, LMConfig]
    audio_s: float
    short_audio_s: float
    positions: tuple[int, ...]
    num_steps: int
    batches: tuple[int, ...]
    is_toy: bool

    @staticmethod
    def whole(device: torch.device) -> "Setup":
        """On a GPU: minutes."""
        return Setup(
            device=device,
            models={name: presets.PRESETS[name]().lm for name in ("small", "medium", "large")},
            audio_s=10.0,
            short_audio_s=3.0,
            positions=(1, 500, 1_000, 1_500),
            num_steps=50,
            batches=(1, 8),
            is_toy=False,
        )

    @staticmethod
    def toy(device: torch.device) -> "Setup":
        """The same code at a size for a CPU: seconds. Its numbers mean nothing."""
        transformer = TransformerConfig(width=64, num_heads=4, num_layers=2)
        return Setup(
            device=device,
            models={"small": LMConfig(codebook_size=32, transformer=transformer)},
            audio_s=0.5,
            short_audio_s=0.2,
            positions=(1, 20),
            num_steps=3,
            batches=(1, 2),
            is_toy=True,
        )


class Report:
    """The findings so far, on standard output and in a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._began = path, time.monotonic()
        self.is_ok = True

    @property
    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def add(self, finding: Finding) -> None:
        """One line, with the minute."""
        self.is_ok &= finding.get("ok", True) and "failed" not in finding
        line = json.dumps({**finding, "minute": round(self.minutes, 2)})
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def untrained_lm(config: LMConfig, device: torch.device, precision: str = "fp32") -> MusicLM:
    """A model with random weights, made on the device. Matrices are twice as large as before training, so that its
    logits differ from each other."""
    torch.manual_seed(0)
    with device, torch.no_grad():
        lm = MusicLM(config).eval().requires_grad_(False)
        for parameter in lm.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2)
    return to_precision(lm, precision)


def to_precision(lm: MusicLM, precision: str) -> MusicLM:
    """The same model, changed; one in int8 cannot be changed again."""
    lm = lm.to(PRECISIONS[precision])
    if precision == "int8":
        store_in_int8(lm)
    return lm


def text_inputs(lm: MusicLM, num_prompts: int) -> LMInputs:
    """Random texts, and as many null conditions behind them, which guidance needs."""
    weight = lm.norm.weight
    shape = (2 * num_prompts, NUM_WORDS, lm.config.transformer.width)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(weight)
    has_text = torch.arange(2 * num_prompts, device=weight.device) < num_prompts
    return LMInputs(cross=values, cross_mask=has_text[:, None].expand(-1, NUM_WORDS))


def random_codes(lm: MusicLM, num_rows: int, num_steps: int) -> Tensor:
    """Sequences of random codes, [B K S]."""
    shape = (num_rows, lm.config.num_codebooks, num_steps)
    codes = torch.randint(lm.config.codebook_size, shape, generator=torch.Generator().manual_seed(2))
    return codes.to(lm.norm.weight.device)


def read_bytes(lm: MusicLM, num_rows: int, position: int) -> int:
    """What a step must read: all weights but the embeddings, and the keys and values of each row's earlier steps."""
    embeddings = {id(parameter) for parameter in lm.embeddings.parameters()}
    weights = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (*lm.parameters(), *lm.buffers())
        if id(tensor) not in embeddings
    )
    transformer = lm.config.transformer
    cached = 2 * transformer.num_layers * num_rows * position * transformer.width
    return weights + cached * lm.norm.weight.element_size()


def best_ms(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Milliseconds of the fastest run, after one that is not counted."""
    timed(work, device)
    return 1_000 * min(timed(work, device) for _ in range(repeats))
