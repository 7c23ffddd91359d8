"""Which listeners are left out of the results: those whose ratings show that they did not listen.

Three checks on overall quality, after CrowdMOS (Ribeiro et al., "CrowdMOS: an approach for crowdsourcing mean opinion
score studies", ICASSP 2011) and arXiv 2306.05284, section 3.3: agreement with the other listeners, agreement with
themselves on clips that were played twice, and clips under noise, which must not be rated above the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from descant.studies.listening.files import Answers, Key

MIN_CORRELATION = 0.25
MIN_SHARED_CLIPS = 5
MIN_LISTENERS = 3
"""Of two listeners who disagree nobody can say which one is wrong."""

MAX_REPEAT_DIFFERENCE = 25.0
"""The mean difference between two ratings of one clip; random ratings differ by 33 on average."""


def screen(key: Key, answers: Sequence[Answers]) -> dict[str, str]:
    """The listeners to leave out, each with the reason.

    Anchors and repeats are checked first, then the agreement of the others: the one who agrees least is removed, and
    all correlations are computed anew, until everybody who is left agrees.
    """
    overall = {one.listener: {answer.clip: float(answer.overall) for answer in one.answers} for one in answers}
    left_out = {}
    for listener, ratings in overall.items():
        reason = _above_anchors(key, ratings) or _inconsistent(key, ratings)
        if reason:
            left_out[listener] = reason
    rated = {clip.name for clip in key.clips if clip.role == "rated"}
    kept = {
        listener: {clip: rating for clip, rating in ratings.items() if clip in rated}
        for listener, ratings in overall.items()
        if listener not in left_out
    }
    while len(kept) >= MIN_LISTENERS:
        agreements = {listener: agreement(listener, kept) for listener in kept}
        known = {listener: value for listener, value in agreements.items() if value is not None}
        worst = min(known, key=lambda listener: known[listener], default=None)
        if worst is None or known[worst] >= MIN_CORRELATION:
            break
        left_out[worst] = (
            f"correlation with the other listeners is {known[worst]:.2f}, and at least {MIN_CORRELATION:g} is needed"
        )
        del kept[worst]
    return left_out


def agreement(listener: str, ratings: Mapping[str, Mapping[str, float]]) -> float | None:
    """The correlation of a listener's ratings with the means of all others, over the clips that another one rated.

    None with fewer than five such clips, or if the others gave them all the same rating; 0 if the listener did.
    """
    others = [theirs for name, theirs in ratings.items() if name != listener]
    pairs = [
        (rating, float(np.mean(theirs)))
        for clip, rating in ratings[listener].items()
        if (theirs := [other[clip] for other in others if clip in other])
    ]
    if len(pairs) < MIN_SHARED_CLIPS:
        return None
    own, mean = np.array(pairs).T
    if np.ptp(mean) == 0:
        return None
    return 0.0 if np.ptp(own) == 0 else float(np.corrcoef(own, mean)[0, 1])


def _above_anchors(key: Key, ratings: Mapping[str, float]) -> str | None:
    anchors = [ratings[clip.name] for clip in key.clips if clip.role == "anchor" and clip.name in ratings]
    others = [ratings[clip.name] for clip in key.clips if clip.role == "rated" and clip.name in ratings]
    if not anchors or not others or np.mean(anchors) < np.mean(others):
        return None
    return f"clips under noise are rated {np.mean(anchors):.0f} on average, and the others {np.mean(others):.0f}"


def _inconsistent(key: Key, ratings: Mapping[str, float]) -> str | None:
    differences = [
        abs(ratings[clip.name] - ratings[clip.source])
        for clip in key.clips
        if clip.role == "repeat" and clip.source is not None and {clip.name, clip.source} <= set(ratings)
    ]
    if not differences or np.mean(differences) <= MAX_REPEAT_DIFFERENCE:
        return None
    return (
        f"two ratings of one clip differ by {np.mean(differences):.0f} on average, and at most "
        f"{MAX_REPEAT_DIFFERENCE:g} is allowed"
    )
