"""Compiled blocks train as plain ones do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from descant.errors import ConfigError
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig
from tests.training.test_codec_task import Tones, tiny_task


@pytest.fixture(scope="module", params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def found(request, tmp_path_factory):
    """What ``compiling.py`` found with a backend of PyTorch's compiler."""
    script = Path(__file__).with_name("compiling.py")
    cache = str(tmp_path_factory.mktemp("inductor"))
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2]), "TORCHINDUCTOR_CACHE_DIR": cache}
    words = [sys.executable, str(script), str(tmp_path_factory.mktemp("runs")), request.param]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("case", "tolerance"), [("model", 1e-5), ("adapter", 2e-2)])
def test_compiled_blocks_train_as_plain_ones_do(found, case, tolerance):
    plain, compiled = found[case]["plain"], found[case]["compiled"]
    assert compiled["is_compiled"]
    assert not plain["is_compiled"]
    assert compiled["losses"] == pytest.approx(plain["losses"], abs=tolerance)
    assert plain["losses"][-1] != pytest.approx(plain["losses"][0], abs=tolerance)
    if case == "model":
        assert compiled["validation"] == pytest.approx(plain["validation"], abs=tolerance)
    assert compiled["weights"].keys() == plain["weights"].keys()


def test_a_run_with_compiled_blocks_resumes_with_the_same_bits(found):
    assert found["resumed"] == found["model"]["compiled"]


def test_without_a_compiler_the_run_says_what_to_do(found):
    assert found["no compiler"].startswith("trainer.compile: PyTorch could not compile the blocks (")
    assert "a CPU needs a C++ compiler" in found["no compiler"]


def test_the_compiler_is_not_imported_by_runs_without_it():
    """It takes a second or more."""
    script = "import sys; import descant.training.trainer; sys.exit('torch._dynamo' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0


def test_a_codec_is_not_compiled(tmp_path):
    config = TrainerConfig(max_steps=1, compile=True, device="cpu")
    with pytest.raises(ConfigError, match=r"trainer\.compile"):
        Trainer(tiny_task(), Tones(), config, tmp_path)
