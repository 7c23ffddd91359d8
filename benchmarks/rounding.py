"""What rounding the weights costs: the error of the logits after random codes, as a share of their spread.

::

    python benchmarks/rounding.py --untrained small

Prints one JSON line for each format and appends it to ``results.jsonl``.
"""

import argparse
import json

import torch
from results import append
from run import stamp
from torch import Tensor, nn

from descant.api import MusicGen, load
from descant.generation.runtimes.native.packing import pack, unpack
from descant.lm.model import MusicLM
from descant.studies.speed.untrained import untrained

FORMATS = ("fp16", "bf16", "int8", "int4")
NUM_ROWS, NUM_STEPS = 2, 200


def round_weights(lm: MusicLM, format: str) -> None:
    """Rounds all matrices as the CPU's runtime packs them; with int4 the heads are int8."""
    for name, layer in lm.named_modules():
        if isinstance(layer, nn.Linear):
            of_layer = "int8" if format == "int4" and name.startswith("heads") else format
            layer.weight.data = unpack(pack(layer.weight.data, of_layer))


@torch.inference_mode()
def logits_of(lm: MusicLM) -> Tensor:
    """The logits after random codes."""
    shape = (NUM_ROWS, lm.config.num_codebooks, NUM_STEPS)
    codes = torch.randint(lm.config.codebook_size, shape, generator=torch.Generator().manual_seed(0))
    return lm(codes)


def main() -> None:
    """Measures every format and writes its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="a model's folder or name (default: starter)")
    parser.add_argument("--untrained", metavar="PRESET", help="random weights of a preset's shape instead")
    arguments = parser.parse_args()

    def fresh() -> MusicGen:
        return load(arguments.model) if arguments.untrained is None else untrained(arguments.untrained)

    exact = logits_of(fresh().model.lm)
    for format in FORMATS:
        music = fresh()
        round_weights(music.model.lm, format)
        error = (logits_of(music.model.lm) - exact).square().mean().sqrt() / exact.std()
        what = {"what": "rounding, logits", "model": music.name, "format": format}
        line = {**stamp(), **what, "error": float(error)}
        append(line)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
