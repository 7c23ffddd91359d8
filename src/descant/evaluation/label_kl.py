"""Label KL: whether generated clips have the labels of the reference clips with the same prompts.

With PaSST it is the KL of the MusicGen paper (arXiv 2306.05284, section 3.4), as audiocraft's metric ``kld`` defines
it. With another labeller it is the same formula over other labels, and its values compare only with each other.
"""

from jaxtyping import Float
from torch import Tensor

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips, EmbedderEstimate
from descant.evaluation.report import mean_with_interval
from descant.evaluation.statistics import check_same_embedder

EPSILON = 1e-6
"""Added to the generated clip's probabilities, as in audiocraft (metrics/kld.py): a label that it rules out costs much,
but not infinitely much."""


def label_kl(reference: EmbeddedClips, generated: EmbeddedClips) -> EmbedderEstimate:
    """The mean KL(reference || generated) in nats over the clips of equal name, with its interval.

    Raises:
        InvalidRequest: as ``label_kl_of_each_clip``.
    """
    mean = mean_with_interval(list(label_kl_of_each_clip(reference, generated).values()))
    return EmbedderEstimate(mean.value, mean.low, mean.high, mean.count, generated.embedder)


def label_kl_of_each_clip(reference: EmbeddedClips, generated: EmbeddedClips) -> dict[str, float]:
    """The divergence of each clip by name; of a clip in several windows, the mean of theirs.

    Raises:
        InvalidRequest: different embedders, an embedder without labels, a clip without a partner, or partners with
            different numbers of windows.
    """
    check_same_embedder(reference.embedder, generated.embedder)
    references, clips = reference.by_name(), generated.by_name()
    if alone := sorted(references.keys() ^ clips.keys()):
        raise InvalidRequest(
            f"{len(alone)} clips are in one of the two sets only, first {alone[:3]}; the label KL compares clips of "
            "equal name"
        )
    return {name: _kl(name, _labels(references[name]), _labels(clip)) for name, clip in clips.items()}


def _kl(name: str, reference: Float[Tensor, "..."], generated: Float[Tensor, "..."]) -> float:
    if reference.shape != generated.shape:
        raise InvalidRequest(
            f"{name}: its reference has {len(reference)} windows and it has {len(generated)}; cut both to one length"
        )
    logarithm = reference.clamp_min(1e-300).log() - (generated + EPSILON).log()
    return (reference * logarithm).sum(dim=1).mean().item()


def _labels(clip: EmbeddedClip) -> Float[Tensor, "parts labels"]:
    if clip.label_probabilities is None:
        raise InvalidRequest(f"{clip.name}: was embedded without labels; use PaSST or MusiCNN")
    return clip.label_probabilities
