"""Starts music on the page, and examines what has reached the loudspeakers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.apps.studio.conftest import eventually
from tests.apps.studio.pacer import signal

FULL_SCALE = 32_768
OpenStudio = Callable[..., Any]
ROUNDING = 1e-9
"""Of full scale: the browser mixes in float32, and a step of 16 bits is 3e-5."""


def press_generate(studio: Any, is_ready: bool = True, **draft: Any) -> None:
    """Presses once the page is ready, or as soon as it has its field."""
    studio.page.evaluate(
        "draft => localStorage.setItem('descant-draft', JSON.stringify(draft))", {"text": "piano", **draft}
    )
    studio.page.reload()
    if is_ready:
        studio.page.wait_for_selector(".generate[aria-disabled=false]")
    studio.page.focus("#prompt")
    studio.page.keyboard.press("Control+Enter")


def wait_for_end(studio: Any, timeout_s: float = 60) -> None:
    studio.page.wait_for_selector(".play-main[aria-label=Pause]")
    studio.page.wait_for_selector(".play-main[aria-label=Play]", timeout=1_000 * timeout_s)


def sounding(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the first sample that is not silent to the last."""
    (indices,) = np.nonzero(samples)
    return samples[indices[0] : indices[-1] + 1]


def turn_of_a_loop(studio: Any, period: int, count: int) -> NDArray[np.float32]:
    """What has been heard last, once it has been heard so often in a row."""

    def repeated() -> list[NDArray[np.float32]]:
        heard = sounding(studio.recording())[-count * period :]
        turns = heard[: len(heard) // period * period].reshape(-1, period)
        return [turns[0]] if len(turns) == count and (turns == turns[0]).all() else []

    eventually(studio.has_sound)
    return eventually(repeated)[0]


def clip_samples(duration_s: float, seed: int) -> NDArray[np.float32]:
    return signal(duration_s, seed).astype(np.float32) / FULL_SCALE
