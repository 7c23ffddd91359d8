"""The scripts for clusters are whole, and the command that they start is one that descant understands."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from descant.apps.cli.main import build_parser
from descant.apps.cli.recipes import found_recipe, read_recipe

CLUSTERS = Path(__file__).parents[2] / "examples" / "clusters"


def settings_understood(words):
    """The config that a command would train with; ``words`` begin after ``-m descant``."""
    arguments = build_parser().parse_args(words)
    return arguments, read_recipe(*found_recipe(arguments.recipe), dict(arguments.settings))[0]


def after_module(words):
    return words[words.index("descant") + 1 :]


@pytest.fixture
def programs(tmp_path):
    """Slurm's programs: srun prints its command, scontrol two names of machines."""
    for name, body in {"srun": 'printf "%s\\n" "$@"', "scontrol": "printf 'gpu-7\\ngpu-8\\n'"}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    return tmp_path / "bin"


def started_by_slurm(programs, folder):
    job = {"SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "31", "SLURM_JOB_NODELIST": "gpu-[7-8]"}
    environment = {**os.environ, **job, "PATH": f"{programs}:{os.environ['PATH']}"}
    script = ["bash", str(CLUSTERS / "slurm.sh")]
    done = subprocess.run(script, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_the_slurm_script_starts_one_run_on_all_gpus_and_resumes_it(programs, tmp_path):
    words = started_by_slurm(programs, tmp_path)
    assert words[:1] == ["torchrun"]
    options = dict(zip(words[1::2], words[2::2], strict=False))
    assert options["--nnodes"] == "2"
    assert options["--nproc-per-node"] == "4"
    assert options["--rdzv-endpoint"] == "gpu-7:29500"
    arguments, config = settings_understood(after_module(words))
    assert not arguments.resume
    assert config.trainer.accumulate == 8
    assert config.trainer.mesh == "shard-in-node"
    (tmp_path / "runs" / "medium" / "step-00000012").mkdir(parents=True)
    assert settings_understood(after_module(started_by_slurm(programs, tmp_path)))[0].resume


def test_the_kubernetes_manifest_starts_one_run_on_all_gpus():
    job = yaml.safe_load((CLUSTERS / "pytorchjob.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("PyTorchJob", "kubeflow.org/v1")
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in worker["template"]["spec"]["volumes"]
    }
    script = container["command"][2]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    command = script[script.index("exec ") :].replace("\\\n", " ").replace("$resume", "")
    _, config = settings_understood(after_module(shlex.split(command)))
    num_gpus = worker["replicas"] * int(job["spec"]["nprocPerNode"])
    assert config.trainer.accumulate == num_gpus
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])
