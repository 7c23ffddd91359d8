"""What rounding costs, for docs/speed.md: of the logits of random weights, or of the starter's music.

::

    python benchmarks/rounding.py --untrained small
    PYTHONPATH=. python benchmarks/rounding.py --held-out corpus/manifest.jsonl --out runs/rounding

The corpus is ``python -m starter_corpus render corpus --hours 34.5 --split valid``, with some training pieces on which
the tagger is calibrated: the same command without ``--split`` and with fewer hours. Prints one JSON line for each
precision and appends it to ``results.jsonl``.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from results import append
from run import stamp

from descant.studies.rounding import divergence, logits_after_codes, relative_error
from descant.studies.speed.decoding import PROMPT
from descant.studies.speed.machine import machine_info
from descant.studies.speed.untrained import untrained

PRECISIONS = ("fp16", "bf16", "int8", "int4")
NUM_ROWS, NUM_FRAMES = 2, 100


def logit_errors(preset: str) -> Iterator[dict[str, Any]]:
    """What each precision changes in the logits after random codes.

    ``error`` is a share of the spread of the exact logits; ``divergence`` is how much the cross-entropy of codes
    that are drawn from the exact logits grows, in nats.
    """
    music = untrained(preset, "cpu")
    shape = (NUM_ROWS, music.config.lm.num_codebooks, NUM_FRAMES)
    codes = torch.randint(music.config.lm.codebook_size, shape, generator=torch.Generator().manual_seed(0))
    texts = [PROMPT] * NUM_ROWS
    exact = logits_after_codes(music, codes, texts)
    for precision in PRECISIONS:
        music = untrained(preset, "cpu", precision)
        logits = logits_after_codes(music, codes, texts)
        found = {"error": relative_error(logits, exact), "divergence": divergence(logits, exact)}
        yield {**machine_info(music), "what": "rounding, logits", **found}


def held_out(model: str, manifest: Path, out_dir: Path, num_seeds: int) -> Iterator[dict[str, Any]]:
    """The reports of ``starter_corpus/reports/rounding.py`` for each precision."""
    from starter_corpus.reports import rounding

    for report in rounding.predictions(model, manifest):
        yield {**report, "what": "rounding, predictions"}
    for report in rounding.music(model, manifest, out_dir, num_seeds=num_seeds):
        yield {**report, "what": "rounding, music"}


def main() -> None:
    """Measures every precision and writes its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--untrained", metavar="PRESET", help="the logits of random weights of a preset's shape")
    what.add_argument("--held-out", type=Path, metavar="MANIFEST", help="held-out clips and captions of the corpus")
    parser.add_argument("--model", default="starter", help="with --held-out: a model's folder or name")
    parser.add_argument("--out", type=Path, default=Path("runs/rounding"), help="with --held-out: folder of the music")
    parser.add_argument("--seeds", type=int, default=2, help="with --held-out: clips of each caption (default: 2)")
    arguments = parser.parse_args()
    measured = stamp()
    if arguments.untrained is not None:
        lines = logit_errors(arguments.untrained)
    else:
        lines = held_out(arguments.model, arguments.held_out, arguments.out, arguments.seeds)
    for line in lines:
        text = json.dumps({**measured, **line}, default=asdict)
        append(json.loads(text))
        print(text, flush=True)


if __name__ == "__main__":
    main()
