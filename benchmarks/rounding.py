"""What rounding a language model's weights costs: errors of logits, and the loss on held-out clips.

::

    python benchmarks/rounding.py logits --untrained small
    python benchmarks/rounding.py loss --model starter --tokens corpus/tokens

``logits`` reads random codes: the error of the logits for each format, as a share of their spread. ``loss`` needs
tokens (``descant data tokenize``): the cross-entropy of held-out clips given their captions, in nats, and its mean
difference from that of the weights as they are, with the 95 % interval over clips. Each prints one JSON line for each
format and appends it to ``results.jsonl``.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from results import append
from run import stamp
from torch import Tensor, nn

from descant.api import MusicGen, load
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.generation.runtimes.native.packing import pack, unpack
from descant.lm.model import MusicLM
from descant.studies.speed.untrained import untrained
from descant.training.lm import LMTask, LMTaskConfig

FORMATS = ("fp16", "bf16", "int8", "int4")
NUM_ROWS, NUM_STEPS = 2, 200
BATCH_SIZE = 8


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


@torch.inference_mode()
def losses_of(music: MusicGen, tokens: Path, num_batches: int) -> Tensor:
    """The cross-entropy of each held-out clip."""
    segment_frames = round(music.max_duration_s * music.model.codec.frame_rate_hz)
    held_out = TokenBatches(
        tokens, TokenBatchConfig(batch_size=BATCH_SIZE, segment_frames=segment_frames, split="valid")
    )
    batches = [held_out.fixed_batch(number) for number in range(min(num_batches, held_out.num_fixed_batches))]
    task = LMTask(music.model, LMTaskConfig(), batches)
    return task.losses_by_clip([caption for batch in batches for caption in batch.captions]).mean(dim=1)


def interval(values: Tensor) -> list[float]:
    """The 95 % interval of the mean."""
    margin = 1.96 * float(values.std()) / math.sqrt(len(values))
    return [float(values.mean()) - margin, float(values.mean()) + margin]


def main() -> None:
    """Measures every format and writes its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("logits", "loss"))
    parser.add_argument("--model", default="starter", help="a model's folder or name (default: starter)")
    parser.add_argument("--untrained", metavar="PRESET", help="random weights of a preset's shape instead")
    parser.add_argument("--tokens", type=Path, help="tokens of a corpus, for loss")
    parser.add_argument("--batches", type=int, default=16, help=f"batches of {BATCH_SIZE} clips (default: 16)")
    arguments = parser.parse_args()

    def fresh() -> MusicGen:
        return load(arguments.model) if arguments.untrained is None else untrained(arguments.untrained)

    def measure(music: MusicGen) -> Tensor:
        if arguments.what == "logits":
            return logits_of(music.model.lm)
        return losses_of(music, arguments.tokens, arguments.batches)

    exact = measure(fresh())
    for format in FORMATS:
        music = fresh()
        round_weights(music.model.lm, format)
        found = measure(music)
        line: dict[str, Any] = {**stamp(), "what": f"rounding, {arguments.what}", "model": music.name, "format": format}
        if arguments.what == "logits":
            line |= {"error": float((found - exact).square().mean().sqrt() / exact.std())}
        else:
            line |= {"num_clips": len(exact), "ce": float(exact.mean()), "ce_interval": interval(exact)}
            line |= {"difference": float((found - exact).mean()), "difference_interval": interval(found - exact)}
        append(line)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
