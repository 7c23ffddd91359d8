"""What rounding a model costs, measured on what its runtime predicts after codes that are given: no sampling."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from descant.api import MusicGen
from descant.lm.loss import pattern_cross_entropy
from descant.nn.settings import own_settings
from descant.patterns import interleave
from descant.shapes import Codes, Logits


@own_settings()
@torch.inference_mode()
def logits_after_codes(
    music: MusicGen, codes: Codes, texts: Sequence[str], first_beats: Float[Tensor, " B"] | None = None
) -> Logits:
    """The logits after every step of these codes, computed as in generation: by the model's runtime, step by step.

    Args:
        texts: a caption of each row, its only condition.
        first_beats: number of beats before each row, NaN if unknown; None starts all at a beat.
    """
    pattern, num_frames = music.config.pattern, codes.shape[-1]
    steps, length = pattern.steps(num_frames), pattern.training_length(num_frames)
    sequence = interleave(codes, steps, length, empty=music.model.lm.special_code)
    prepared = music.model.prepare([{"text": text} for text in texts])
    inputs = music.model.inputs(prepared, music.model.span(num_frames, first_beats=first_beats))
    session = music.engine.runtime.start()
    slots, first = session.join(inputs, sequence[:, :, :1], length)
    later = [session.step(slots, known) for known in sequence[:, :, 1:].unbind(dim=2)]
    return torch.stack([first, *later], dim=2)


def cross_entropies(
    music: MusicGen, codes: Codes, texts: Sequence[str], first_beats: Float[Tensor, " B"] | None = None
) -> Float[Tensor, "B K"]:
    """The cross-entropy of each row's codes in nats, by codebook; the arguments are those of ``logits_after_codes``."""
    logits = logits_after_codes(music, codes, texts, first_beats)
    rows = zip(logits.split(1), codes.split(1), strict=True)
    return torch.stack([pattern_cross_entropy(*row, music.config.pattern)[1] for row in rows])


def relative_error(logits: Logits, exact: Logits) -> float:
    """The root mean square of the error, as a share of the standard deviation of the exact logits."""
    return float((logits - exact).square().mean().sqrt() / exact.std())


def divergence(logits: Logits, exact: Logits) -> float:
    """How much the cross-entropy of codes that are drawn from the exact logits grows, in nats: the Kullback-Leibler
    divergence, exactly and not from a draw.
    """
    drawn = exact.log_softmax(dim=-1)
    return float((drawn.exp() * (drawn - logits.log_softmax(dim=-1))).sum(dim=-1).mean())
