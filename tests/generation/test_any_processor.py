"""A request of the starter has the same conditions, to the last bit, whatever instructions the processor has.

A process that uses as few vector instructions as torch and MKL can be told to use stands in for an older processor.
"""

import hashlib
import os
import subprocess
import sys

import torch

import descant
from descant import Clip, Request
from descant.generation.prepared import Preparer
from descant.generation.resolve import Resolver
from descant.generation.state import GenerationState
from descant.nn.inputs import LMInputs

OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
TEXTS = ("drums, 240 bpm", "warm slow piano in F# minor", "strings, slow", "flute")


def inputs_of(request: Request) -> LMInputs:
    model = descant.load("starter", device="cpu").model
    state = GenerationState(model, Resolver(model).resolve(request), Preparer(model))
    return state.job(state.windows[0]).inputs


def digests() -> list[str]:
    """Of the language model's inputs, for each text with a melody."""
    time = torch.arange(16_000) / 8_000
    melody = Clip(0.3 * torch.sign(torch.sin(2 * torch.pi * 440 * time)), 8_000)
    found = []
    for text in TEXTS:
        inputs = inputs_of(Request(text=text, melody=melody, duration_s=2.0, seed=1))
        parts = [part for part in (inputs.cross, inputs.sum, inputs.output) if part is not None]
        found.append(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
    return found


def test_the_conditions_are_those_of_an_older_processor():
    code = "from tests.generation.test_any_processor import digests; print(*digests())"
    command = [sys.executable, "-c", code]
    theirs = subprocess.run(command, env=os.environ | OLD_PROCESSOR, capture_output=True, text=True, check=True)
    assert theirs.stdout.split() == digests()
