"""Which peak of the learning rate, and how long its decay?

AdamW from fresh weights at three peaks, and the middle one with a short decay at the end (warm-up, stable, decay).
"""

from dataclasses import replace

from pilot_base import fresh

from descant.studies.ablation.run import AblationRun
from descant.training.optim import PlateauLinear


def _peak(lr: float) -> AblationRun:
    run = fresh()
    return replace(run, trainer=replace(run.trainer, optimizer=replace(run.trainer.optimizer, lr=lr)))


def peak_1_5() -> AblationRun:
    """1.5e-3, the starter's."""
    return _peak(1.5e-3)


def peak_0_8() -> AblationRun:
    """0.8e-3."""
    return _peak(0.8e-3)


def peak_3() -> AblationRun:
    """3e-3."""
    return _peak(3e-3)


def late_decay() -> AblationRun:
    """1.5e-3 until the last fifth."""
    run = fresh()
    schedule = PlateauLinear(warmup_steps=50, decay_fraction=0.2)
    return replace(run, trainer=replace(run.trainer, schedule=schedule))


ROWS = (peak_1_5, peak_0_8, peak_3, late_decay)
