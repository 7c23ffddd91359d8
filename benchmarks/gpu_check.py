"""Checks the GPU runtime and measures it, in less than ten minutes on one card::

    python benchmarks/gpu_check.py --out results

Each finding is one JSON line, printed and appended to ``gpu_check.jsonl`` at once. Models are untrained, so nothing is
downloaded. An error ends its check only; checks that no time is left for are named. The exit status is 1 if anything
was wrong. ``--toy`` runs the same code on any machine, in seconds.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

import torch
from gpu_correctness import attention, greedy_codes, int8_products, precisions
from gpu_setup import Check, Report, Setup
from gpu_speed import compiled_step, machine, pipeline, plain_steps, steps, transformers_pipeline

CHECKS: tuple[Check, ...] = (
    machine,
    int8_products,
    attention,
    greedy_codes,
    precisions,
    steps,
    pipeline,
    transformers_pipeline,
    plain_steps,
    compiled_step,
)


def run(check: Check, setup: Setup, report: Report, minutes: float) -> None:
    """One check, to its end or to the last minute."""
    try:
        for finding in check(setup):
            report.add(finding)
            if report.minutes > minutes:
                report.add({"what": check.__name__, "stopped": "no time left"})
                return
    except Exception:
        report.add({"what": check.__name__, "failed": traceback.format_exc(limit=-4)})
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()


def main() -> int:
    """All checks, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = os.environ.get("OUT", "gpu-results")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for the findings (default: $OUT)")
    parser.add_argument("--minutes", type=float, default=8.0, help="no measurement begins after these (default: 8)")
    names = [check.__name__ for check in CHECKS]
    parser.add_argument("--checks", nargs="+", choices=names, default=names, help="only these (default: all)")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, on any device")
    arguments = parser.parse_args()
    is_cuda = torch.cuda.is_available()
    if not (is_cuda or arguments.toy):
        parser.error("no CUDA device; --toy runs the same code without one")
    device = torch.device("cuda" if is_cuda else "cpu")
    setup = Setup.toy(device) if arguments.toy else Setup.whole(device)
    report = Report(arguments.out / "gpu_check.jsonl")
    for check in (check for check in CHECKS if check.__name__ in arguments.checks):
        if report.minutes > arguments.minutes:
            report.add({"what": check.__name__, "stopped": "no time left"})
        else:
            run(check, setup, report, arguments.minutes)
    report.add({"what": "end", "ok": report.is_ok})
    return 0 if report.is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
