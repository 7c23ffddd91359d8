"""What the time to the first step depends on: what is imported, compiled and looked through before it."""

import subprocess
import sys

FIRST_STEP = """
import descant
from descant.errors import Cancelled

done = []
model = descant.load("starter", device="cpu")
try:
    model.generate("drums", duration_s=1, progress=lambda step, _: done.append(step), cancel=lambda: bool(done))
except Cancelled:
    assert len(done) == 1
"""

UNNEEDED = (
    *("torch._dynamo", "torch._inductor", "torch.onnx", "sympy", "scipy", "sklearn", "pandas", "matplotlib"),
    *("transformers", "huggingface_hub", "yaml", "librosa", "numba", "demucs", "av", "mutagen", "rich", "jinja2"),
    *("beartype",),
    *("descant.evaluation", "descant.training", "descant.data", "descant.studies", "descant.apps"),
)
"""Modules that take long to import, or that only other commands need."""


def output_of(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_imported_that_the_first_step_does_not_need():
    program = f"{FIRST_STEP}\nimport sys\nprint(*(name for name in {UNNEEDED!r} if name in sys.modules))"
    assert output_of(program).split() == []


def test_importing_looks_for_no_garbage():
    """Python would look through torch's objects again and again: a fifth of the time of importing it."""
    program = """
import gc, descant
found = []
gc.callbacks.append(lambda phase, _: found.append(phase))
descant.load
print(found, gc.isenabled())
gc.disable()
descant.Request
print(gc.isenabled())
"""
    assert output_of(program).splitlines() == ["[] True", "False"]
