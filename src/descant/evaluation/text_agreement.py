"""Text agreement: the cosine between a clip and its prompt in a joint space of audio and text, CLAP's.

The MusicGen paper's CLAP score (arXiv 2306.05284, section 3.4). audiocraft embeds a random ten seconds of longer clips;
here a clip is the mean over all its windows, so that the same clip always has the same score.
"""

from collections.abc import Mapping

from torch.nn import functional as F

from descant.counted import counted
from descant.errors import InvalidRequest, naming
from descant.evaluation.embedded_clips import EmbeddedClips, EmbedderEstimate
from descant.evaluation.embedders.base import TextEmbedder
from descant.evaluation.report import mean_with_interval
from descant.evaluation.statistics import check_same_embedder


def text_agreement(embedder: TextEmbedder, clips: EmbeddedClips, texts: Mapping[str, str]) -> EmbedderEstimate:
    """The mean cosine from -1 to 1 over the clips, with its interval.

    Raises:
        InvalidRequest: as ``text_agreement_of_each_clip``.
    """
    mean = mean_with_interval(list(text_agreement_of_each_clip(embedder, clips, texts).values()))
    return EmbedderEstimate(mean.value, mean.low, mean.high, mean.count, clips.embedder)


def text_agreement_of_each_clip(
    embedder: TextEmbedder, clips: EmbeddedClips, texts: Mapping[str, str]
) -> dict[str, float]:
    """The cosine of each clip and its text, by name.

    Args:
        texts: by the names of the clips; others are ignored.

    Raises:
        InvalidRequest: another embedder made the clips' vectors, a clip has no text, or a text is too long.
    """
    check_same_embedder(embedder.label, clips.embedder)
    if missing := [clip.name for clip in clips.clips if not texts.get(clip.name, "").strip()]:
        clips_have = counted(len(missing), "clip has", "clips have")
        raise InvalidRequest(f"{clips_have} no text, first {missing[:3]}; give every clip its prompt")
    cosines = {}
    for clip in clips.clips:
        with naming(clip.name):
            text = embedder.embed_text(texts[clip.name])
        cosines[clip.name] = F.cosine_similarity(clip.vectors.mean(dim=0), text, dim=0).item()
    return cosines
