"""``train --plan``: what a run would take on a number of GPUs, without building anything."""

import argparse
from dataclasses import asdict
from typing import Any

from descant.apps.cli.options import number, whole_number
from descant.apps.cli.outputs import show
from descant.apps.cli.parser import Parser
from descant.errors import ConfigError, InvalidRequest

CARDS = ("a100", "h100", "h200", "l40s")


def add_plan_options(parser: Parser) -> None:
    """Adds ``--plan`` and what it assumes."""
    group = parser.add_argument_group("planning")
    group.add_argument(
        "--plan",
        action="store_true",
        help="print what the run would take: memory, time, network and checkpoints; nothing is built or trained",
    )
    group.add_argument("--gpus", type=whole_number, metavar="N", help="in all machines (default: 1)")
    group.add_argument("--gpus-per-node", type=whole_number, metavar="N", help="in one machine (default: 8)")
    group.add_argument("--card", choices=CARDS, help="the GPU (default: h100)")
    group.add_argument(
        "--utilization",
        type=number,
        metavar="SHARE",
        help="of the card's arithmetic that is reached, 0 to 1; measure yours with descant bench train (default: 0.4)",
    )


def refuse_plan_options(arguments: argparse.Namespace) -> None:
    """Checks that no option of a plan is given where none is asked for.

    Raises:
        InvalidRequest: one is.
    """
    for option in ("--gpus", "--gpus-per-node", "--card", "--utilization"):
        if getattr(arguments, option[2:].replace("-", "_")) is not None:
            raise InvalidRequest(f"{option}: is for a plan; add --plan, or leave it out")


def show_plan(config: Any, arguments: argparse.Namespace) -> None:
    """Prints the plan of a recipe's config.

    Raises:
        ConfigError: the recipe does not train a language model on codes.
        InvalidRequest: there cannot be that many GPUs, or such a utilization.
    """
    from descant.data.token_dataset import TokenBatchConfig
    from descant.model import MusicGenConfig
    from descant.training.plan import CARDS as CARDS_BY_NAME
    from descant.training.plan import plan
    from descant.training.trainer_config import TrainerConfig

    model, trainer = getattr(config, "model", None), getattr(config, "trainer", None)
    batches = getattr(getattr(config, "data", None), "batches", getattr(config, "batches", None))
    if not (
        isinstance(model, MusicGenConfig)
        and isinstance(batches, TokenBatchConfig)
        and isinstance(trainer, TrainerConfig)
    ):
        raise ConfigError(f"--plan {arguments.recipe!r}: only recipes that train a language model on codes are planned")
    num_devices = 1 if arguments.gpus is None else arguments.gpus
    per_node = 8 if arguments.gpus_per_node is None else arguments.gpus_per_node
    utilization = 0.4 if arguments.utilization is None else arguments.utilization
    name = arguments.card or "h100"
    card = CARDS_BY_NAME[name]
    found = plan(
        model, batches, trainer, num_devices=num_devices, per_node=per_node, card=card, utilization=utilization
    )
    memory = found.memory
    lines = [
        f"{found.num_parameters / 1e6:,.0f} M weights on {num_devices} x {name}, "
        f"{utilization:.0%} of its arithmetic assumed, {trainer.precision}, mesh {trainer.mesh}",
        f"settings               --set data.batches.batch_size={found.batch_size} "
        f"--set trainer.accumulate={found.accumulate}",
        f"memory a device        {memory.peak / 1e9:.1f} GB of {card.memory_bytes / 1e9:.0f} GB"
        f"{'' if memory.peak < card.memory_bytes else ': TOO MUCH'}",
        *(f"  {part:<20} {value / 1e9:.2f} GB" for part, value in asdict(memory).items() if part != "peak" and value),
        f"an update              {found.compute_s:.3g} s of arithmetic, {found.network_s:.3g} s of network",
        f"clips a second         {found.samples_per_s:,.1f}",
        f"the whole run          {found.days:.3g} days for {trainer.max_steps:,} updates",
        f"network an update      {found.network_bytes[0] / 1e9:.2f} GB a device in its machine, "
        f"{found.network_bytes[1] / 1e9:.2f} GB to others",
        f"a checkpoint           {found.checkpoint_bytes / 1e9:.1f} GB",
    ]
    show(asdict(found), lines, arguments.json)
