"""Label KL to the reference clip of the same name, and the agreement of clips and prompts in CLAP's space."""

from descant.evaluation.embedded_clips import EmbeddedClips
from descant.evaluation.embedders import TextEmbedder
from descant.evaluation.label_kl import label_kl_of_each_clip
from descant.evaluation.report import mean_with_interval
from descant.evaluation.text_agreement import text_agreement_of_each_clip
from descant.studies.evaluation.base import Measure, SetMetric, Sets, SetScores


class LabelDivergence(SetMetric):
    """The mean over all clips."""

    name = "kl"
    help = "KL divergence of the labels of each clip from those of the reference clip of the same name"
    needs = ("reference", "same names")
    role = "labeller"
    measures = (Measure(key="kl", label="label KL", better="lower"),)

    def measure(self, sets: Sets) -> SetScores:
        assert sets.reference is not None
        names = {clip.name for clip in sets.generated.clips}
        partners = EmbeddedClips(
            sets.reference.embedder, tuple(clip for clip in sets.reference.clips if clip.name in names)
        )
        values = label_kl_of_each_clip(partners, sets.generated)
        return SetScores(rows={"kl": mean_with_interval(list(values.values()), sets.seed)}, of_clips={"kl": values})


class TextAgreement(SetMetric):
    """The cosine of clip and prompt, of the reference set too where it has the same names."""

    name = "clap"
    help = "cosine of each clip and its prompt in CLAP's space; its weights are downloaded if they are missing"
    needs = ("text",)
    role = "text_embedder"
    measures = (Measure(key="clap", label="text agreement", better="higher"),)
    is_default = False

    def measure(self, sets: Sets) -> SetScores:
        assert isinstance(sets.embedder, TextEmbedder)
        values = text_agreement_of_each_clip(sets.embedder, sets.generated, sets.texts)
        references = {}
        if sets.reference is not None:
            partners = tuple(clip for clip in sets.reference.clips if clip.name in values)
            if len(partners) == len(values):
                of_partners = EmbeddedClips(sets.reference.embedder, partners)
                theirs = text_agreement_of_each_clip(sets.embedder, of_partners, sets.texts)
                references["clap"] = mean_with_interval(list(theirs.values()), sets.seed)
        return SetScores(
            rows={"clap": mean_with_interval(list(values.values()), sets.seed)},
            references=references,
            of_clips={"clap": values},
        )
