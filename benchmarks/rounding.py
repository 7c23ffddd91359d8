"""What rounding costs: logits of the CPU's runtime after random codes, compared with those of exact weights.

::

    python benchmarks/rounding.py --untrained small

Prints one JSON line for each format and appends it to ``results.jsonl``. ``error`` is the error of the logits as a
share of their spread, and ``weights_error`` what it would be if only the weights were rounded. ``cross_entropy`` is by
how much the cross-entropy of codes drawn from the exact logits grows.
"""

import argparse
import copy
import json
from typing import get_args

import torch
from results import append
from run import stamp
from torch import Tensor, nn
from torch.nn import functional as F

from descant.api import load
from descant.devices import WeightFormat
from descant.generation.runtimes.native import NativeRuntime
from descant.generation.runtimes.native.packing import ROUNDED, pack, unpack
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.studies.speed.untrained import untrained

NUM_ROWS, NUM_STEPS = 2, 200


def random_codes(lm: MusicLM) -> Tensor:
    """The same for all formats."""
    shape = (NUM_ROWS, lm.config.num_codebooks, NUM_STEPS)
    return torch.randint(lm.config.codebook_size, shape, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def runtime_logits(lm: MusicLM, format: WeightFormat) -> Tensor:
    """The logits of the runtime; the model's weights are gone afterwards."""
    codes, session = random_codes(lm), NativeRuntime(lm, format).start()
    slots, first = session.join(LMInputs(), codes[:, :, :1], NUM_STEPS)
    later = [session.step(slots, codes[:, :, step]) for step in range(1, NUM_STEPS)]
    return torch.stack([first, *later], dim=2)


@torch.inference_mode()
def rounded_weights_logits(lm: MusicLM, format: WeightFormat) -> Tensor:
    """The logits of the model's own forward pass with rounded matrices; with int4 the heads are int8."""
    for name, layer in lm.named_modules():
        if isinstance(layer, nn.Linear):
            of_layer = "int8" if format == "int4" and name.startswith("heads") else format
            layer.weight.data = unpack(pack(layer.weight.data, ROUNDED[of_layer]))
    return lm(random_codes(lm))


def cross_entropy(logits: Tensor, codes: Tensor) -> float:
    """Of all codebooks, in nats."""
    return float(F.cross_entropy(logits.flatten(0, 2), codes.flatten()))


def main() -> None:
    """Measures every format and writes its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="a model's folder or name (default: starter)")
    parser.add_argument("--untrained", metavar="PRESET", help="random weights of a preset's shape instead")
    arguments = parser.parse_args()
    music = load(arguments.model) if arguments.untrained is None else untrained(arguments.untrained)
    lm = music.model.lm
    with torch.inference_mode():
        exact = lm(random_codes(lm))
    drawn = torch.distributions.Categorical(logits=exact).sample()
    for format in get_args(WeightFormat):
        logits = runtime_logits(copy.deepcopy(lm), format)
        of_weights = rounded_weights_logits(copy.deepcopy(lm), format)
        line = {
            **stamp(),
            "what": "rounding, logits",
            "model": music.name,
            "format": format,
            "error": float((logits - exact).square().mean().sqrt() / exact.std()),
            "weights_error": float((of_weights - exact).square().mean().sqrt() / exact.std()),
            "cross_entropy": cross_entropy(logits, drawn) - cross_entropy(exact, drawn),
        }
        append(line)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
