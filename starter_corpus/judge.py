"""A judge of clips that is not the one the reports measure with: it chooses what a model is trained on further.

Tempo and key by the estimators of `descant.curation`, fitted to this corpus, where reports use librosa's tempo and
Krumhansl's profiles; instruments by a linear classifier of the vectors of MusiCNN as trained on the Million Song
Dataset, fitted to recordings of the corpus, where reports use the tags of the one trained on MagnaTagATune.
"""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip
from descant.curation.key import key_probabilities
from descant.curation.tempo import tempo_of
from descant.evaluation.agreement import tempo_fit
from descant.evaluation.embedders import MusiCNNEmbedder
from descant.evaluation.movement import measure_movement, movement_fit
from descant.tempo_key import TempoKey

MIN_CLIPS = 10
"""A family in fewer recordings is not judged."""
DECAY = 1e-2
STEPS = 200


@dataclass(frozen=True)
class FamilyClassifier:
    """The probability that each family of instruments plays, from the mean vector of a clip."""

    families: tuple[str, ...]
    centre: Float[Tensor, " D"]
    scale: Float[Tensor, " D"]
    weights: Float[Tensor, "families D"]
    bias: Float[Tensor, " families"]

    @classmethod
    def fit(cls, vectors: Float[Tensor, "clips D"], playing: Sequence[Set[str]]) -> "FamilyClassifier":
        """Logistic regressions with weight decay."""
        counts = Counter(family for one in playing for family in one)
        enough = range(MIN_CLIPS, len(playing) - MIN_CLIPS + 1)
        families = tuple(sorted(family for family, count in counts.items() if count in enough))
        centre, scale = vectors.mean(0), vectors.std(0) + 1e-6
        inputs = (vectors - centre) / scale
        labels = torch.tensor([[float(family in one) for family in families] for one in playing])
        weights = torch.zeros(len(families), inputs.shape[1], requires_grad=True)
        bias = torch.zeros(len(families), requires_grad=True)
        optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS)

        def loss() -> Tensor:
            optimizer.zero_grad()
            total = F.binary_cross_entropy_with_logits(inputs @ weights.T + bias, labels)
            total = total + DECAY * weights.square().sum(1).mean()
            total.backward()
            return total

        optimizer.step(loss)
        return cls(families, centre, scale, weights.detach(), bias.detach())

    def probabilities(self, vector: Float[Tensor, " D"]) -> dict[str, float]:
        """That of each family."""
        logits = self.weights @ ((vector - self.centre) / self.scale) + self.bias
        return dict(zip(self.families, logits.sigmoid().tolist(), strict=True))


@dataclass(frozen=True)
class Judge:
    """Scores from 0 to 1 of how well a clip fits what was asked for, or was chosen."""

    embedder: MusiCNNEmbedder
    classifier: FamilyClassifier

    def score(self, clip: Clip, asked: TempoKey, families: Set[str]) -> float:
        """The mean of the scores of tempo, key, instruments, of those that are asked for, and of movement."""
        scores = [movement_fit(measure_movement(clip))]
        if asked.bpm is not None:
            tempo = tempo_of(clip)
            scores.append(tempo_fit(None if tempo is None else tempo.bpm, asked.bpm))
        if asked.key_name is not None:
            scores.append(key_probabilities(clip).get(asked.key_name, 0.0))
        found = self.classifier.probabilities(mean_vector(self.embedder, clip)) if families else {}
        known = [found[family] for family in families if family in found]
        if known:
            scores.append(sum(known) / len(known))
        return sum(scores) / len(scores)


def load_embedder() -> MusiCNNEmbedder:
    """MusiCNN as trained on the Million Song Dataset.

    Raises:
        MissingExtra: the package ``musicnn``, which has its weights, is not installed.
    """
    return MusiCNNEmbedder.load("MSD")


def mean_vector(embedder: MusiCNNEmbedder, clip: Clip) -> Float[Tensor, " D"]:
    """The mean of a clip's vectors."""
    return embedder.embed(torch.stack(embedder.windows(clip))).mean(0)
