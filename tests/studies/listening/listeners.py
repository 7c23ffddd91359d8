"""Listeners made up for the tests: what they answer follows from a known truth."""

from collections.abc import Callable

import numpy as np

from descant.studies.listening.files import Answer, Answers, Key, KeyClip

TRUTH = {"good": 75.0, "fair": 60.0, "poor": 45.0}


def careful(key: Key, listener: str, seed: int, spread: float = 8.0) -> Answers:
    """A listener with a habit of their own who rates systems by their true quality."""
    rng = np.random.default_rng(seed)
    habit = rng.normal(0, 6)
    of_prompt = {f"p{prompt}": np.random.default_rng(prompt).normal(0, 5) for prompt in range(12)}

    def rating(clip: KeyClip) -> int:
        quality = 10.0 if clip.role == "anchor" else TRUTH[clip.system] + of_prompt[clip.prompt]
        return int(np.clip(round(quality + habit + rng.normal(0, spread)), 1, 100))

    return answers_by(key, listener, rating)


def random_rater(key: Key, listener: str, seed: int) -> Answers:
    """A listener who rates without listening."""
    rng = np.random.default_rng(seed)
    return answers_by(key, listener, lambda _clip: int(rng.integers(1, 101)))


def answers_by(key: Key, listener: str, rating: Callable[[KeyClip], int]) -> Answers:
    return Answers(
        test=key.test,
        listener=listener,
        answers=tuple(
            Answer(
                clip=clip.name,
                overall=rating(clip),
                relevance=rating(clip),
                melody=rating(clip) if clip.has_melody else None,
                plays=1,
            )
            for clip in key.clips
        ),
    )
