"""Trains with plain and with compiled blocks, in a script that ``test_compile.py`` starts: neither the tests' checks of
types nor their strict warnings are for PyTorch's compiler. It prints what it found as JSON.

``aot_eager`` follows the blocks and their gradients as the default ``inductor`` does, but writes no kernels: that takes
a minute.
"""

import json
import sys
from functools import partialmethod
from pathlib import Path

import torch
from torch import nn

from descant.adapters import LoraConfig
from descant.errors import ConfigError
from descant.training.adapters import AdapterTask
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig
from tests.conftest import make_tiny_model
from tests.training.test_adapter_task import Scales


def lm_task():
    model = make_tiny_model()
    model.lm.requires_grad_(True)
    return LMTask(model, LMTaskConfig(), [Scales().batch(1_000)])


def adapter_task():
    return AdapterTask(make_tiny_model(), LoraConfig(rank=4, alpha=4.0), LMTaskConfig())


def trained(make, folder, stop=None, **settings):
    """The losses of four updates and the names of what was trained; with ``stop``, in two runs."""
    fields = {"max_steps": 4, "log_every": 1, "device": "cpu", "ema_decay": 0.9, "validate_every": 2, **settings}
    for _ in range(1 if stop is None else 2):
        task = make()
        trainer = Trainer(task, Scales(), TrainerConfig(**fields, max_minutes=stop), folder)
        trainer.run(resume=stop is not None and (folder / "log.jsonl").exists())
        stop = None if stop is None else 1e3
    lines = trainer.log.lines("train")
    return {
        "losses": [line["ce"] for line in lines],
        "validation": trainer.metrics.get("ce"),
        "weights": {name: tensor.sum().item() for name, tensor in task.trained.state_dict().items()},
        "is_compiled": all(block._compiled_call_impl is not None for block in task.lm.blocks),
    }


def main(folder, backend):
    plain_compile = nn.Module.compile
    nn.Module.compile = partialmethod(plain_compile, backend=backend)
    cases = {"model": (lm_task, {}), "adapter": (adapter_task, {"recompute": True, "precision": "bf16"})}
    found = {}
    for name, (make, settings) in cases.items():
        plain = trained(make, folder / name, **settings)
        found[name] = {"plain": plain, "compiled": trained(make, folder / f"{name}-c", compile=True, **settings)}
    found["resumed"] = trained(lm_task, folder / "resumed", stop=1e-9, compile=True)
    nn.Module.compile = plain_compile
    torch._inductor.config.cpp.cxx = ("no-such-compiler",)
    torch._dynamo.reset()
    try:
        trained(adapter_task, folder / "none", compile=True)
    except ConfigError as error:
        found["no compiler"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
