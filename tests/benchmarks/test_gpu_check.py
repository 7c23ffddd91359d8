"""The scripts for GPUs run at toy size, so that no time on a card is lost to a mistake in them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ("machine", "int8_products", "attention", "greedy_codes", "precisions", "steps", "pipeline", "plain_steps")
SLOW_CHECKS = ("transformers_pipeline", "compiled_step")


def findings_of(folder: Path, *checks: str) -> list[dict]:
    words = [sys.executable, str(ROOT / "benchmarks/gpu_check.py"), "--toy", "--out", str(folder), "--checks", *checks]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, env=environ, stdout=subprocess.PIPE, text=True)
    lines = (folder / "gpu_check.jsonl").read_text().splitlines()
    assert lines == done.stdout.splitlines()
    findings = [json.loads(line) for line in lines]
    wrong = [finding for finding in findings if "failed" in finding or not finding.get("ok", True)]
    assert (done.returncode, wrong) == (0, [])
    return findings


def test_every_check_of_a_gpu_runs_at_toy_size(tmp_path):
    findings = findings_of(tmp_path, *CHECKS)
    assert findings[-1]["what"] == "end"
    kinds = {finding["what"] for finding in findings}
    assert {
        "machine",
        "int8 product",
        "greedy codes, static = eager",
        "logits against float32",
        "step",
        "pipeline",
    } <= kinds


@pytest.mark.slow
def test_the_slow_checks_run_at_toy_size(tmp_path):
    pytest.importorskip("transformers", reason="transformers")
    kinds = [finding["what"] for finding in findings_of(tmp_path, *SLOW_CHECKS)]
    assert kinds == ["transformers", "transformers", "step, compiled", "end"]


def test_training_is_checked_in_two_processes_at_toy_size(tmp_path):
    script = [str(ROOT / "benchmarks/gpu_training.py"), "--toy", "--out", str(tmp_path)]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launched, env=environ, capture_output=True, text=True, timeout=300)
    findings = [json.loads(line) for line in (tmp_path / "gpu_training.jsonl").read_text().splitlines()]
    assert (done.returncode, [one for one in findings if not one.get("ok", True)]) == (0, []), done.stderr
    assert [one["what"] for one in findings] == [
        "losses, bf16 = fp32",
        "losses, shard = replicate",
        "losses, shard-in-node = replicate",
        "losses, resumed = whole",
        "update",
        "update",
        "end",
    ]
    assert {one["processes"] for one in findings[:-1]} == {2}
    assert [path.name for path in tmp_path.iterdir()] == ["gpu_training.jsonl"]
