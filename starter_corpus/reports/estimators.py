"""The weights of the estimators of tempo and key (``descant.curation``), fitted to the corpus, and how often they are
right on its held-out pieces.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import nn

from descant.atomic import write_atomically
from descant.audio import Clip
from descant.curation.key import KEYS, key_features, relative
from descant.curation.tempo import SAMPLE_RATE_HZ, TEMPI_BPM, TOLERANCE, log_loudness, tempo_features
from descant.curation.weights import ChoiceNetwork
from descant.data.manifest import ClipRecord, Split, read_manifest
from descant.evaluation.harmony import pitch_classes
from descant.evaluation.report import markdown_table

KEY_PENALTY = 0.3
UNITS, WEIGHT_DECAY, NUM_EPOCHS, BATCH, LEARNING_RATE = 32, 0.3, 40, 64, 3e-3
"""Of the network for the tempo; chosen by cross-validation over pieces for training."""
TEMPO_SPREAD = 0.012
"""How far, relative to the tempo, its neighbours on the grid are as good."""


@dataclass(frozen=True)
class Examples:
    """Pieces whose tempo or key is known: what the choice depends on, and the right one as probabilities."""

    features: Float[np.ndarray, "pieces choices features"]
    targets: Float[np.ndarray, "pieces choices"]


def run(manifest: Path, weights_file: Path, progress: Callable[[str], None] = print) -> dict[str, float]:
    """Fits the weights to the pieces for training, writes them, and gives the shares of held-out pieces that are right.

    Raises:
        DataError: the manifest cannot be read, or has no pieces of one split.
    """
    splits: tuple[Split, Split] = ("train", "valid")
    (tempo, key), (held_tempo, held_key) = (_examples(read_manifest(manifest, split), progress) for split in splits)
    network, key_weights = fit_network(tempo), fit_choice(key, KEY_PENALTY)
    content = {
        "tempo": {name: _rounded(values) for name, values in vars(network).items()},
        "key": _rounded(key_weights),
    }
    write_atomically(weights_file, (json.dumps(content) + "\n").encode())
    chosen, right = network.scores(held_tempo.features).argmax(axis=1), held_tempo.targets.argmax(axis=1)
    chosen_keys, right_keys = (held_key.features @ key_weights).argmax(axis=1), held_key.targets.argmax(axis=1)
    is_near = np.abs(TEMPI_BPM[chosen] / TEMPI_BPM[right] - 1) <= TOLERANCE
    is_key = chosen_keys == right_keys
    is_relative = np.array([one == relative(int(other)) for one, other in zip(chosen_keys, right_keys, strict=True)])
    return {
        "tempo within 4 %": float(is_near.mean()),
        "key": float(is_key.mean()),
        "key or its relative": float((is_key | is_relative).mean()),
    }


def markdown(shares: dict[str, float]) -> str:
    """The shares as a table."""
    return markdown_table(["measured", "right"], [[name, f"{100 * share:.0f} %"] for name, share in shares.items()])


def fit_choice(examples: Examples, penalty: float) -> Float[np.ndarray, " features"]:
    """The weights under which the softmax of ``features @ weights`` is nearest to the targets, by cross-entropy.

    This is McFadden's conditional logit. Features are scaled to unit deviation for the penalty on squared weights.
    """
    scale = examples.features.reshape(-1, examples.features.shape[2]).std(axis=0) + 1e-9
    scaled, targets = examples.features / scale, examples.targets

    def loss_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = scaled @ weights
        scores -= scores.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(scores).sum(axis=1, keepdims=True))
        loss = -(targets * (scores - log_total)).sum() + penalty * weights @ weights
        error = np.exp(scores - log_total) - targets
        return float(loss), np.einsum("nc,ncf->f", error, scaled) + 2 * penalty * weights

    found = minimize(loss_and_gradient, np.zeros(len(scale)), jac=True, method="L-BFGS-B")
    return found.x / scale


def fit_network(examples: Examples, num_epochs: int = NUM_EPOCHS) -> ChoiceNetwork:
    """The network under which the softmax of the scores is nearest to the targets, by cross-entropy (AdamW)."""
    mean = examples.features.mean(axis=(0, 1))
    scale = examples.features.std(axis=(0, 1)) + 1e-9
    features = torch.tensor((examples.features - mean) / scale, dtype=torch.float32)
    targets = torch.tensor(examples.targets, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = nn.Linear(len(scale), UNITS), nn.Linear(UNITS, 1, bias=False)
        optimizer = torch.optim.AdamW([*first.parameters(), *last.parameters()], weight_decay=WEIGHT_DECAY)
        num_batches = -(-len(features) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_epochs * num_batches)
        for _ in range(num_epochs):
            for rows in torch.randperm(len(features)).split(BATCH):
                scores = last(torch.tanh(first(features[rows]))).squeeze(-1)
                loss = -(targets[rows] * scores.log_softmax(dim=1)).sum(dim=1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    hidden = first.weight.detach().double().numpy().T / scale[:, None]
    return ChoiceNetwork(
        hidden=hidden,
        bias=first.bias.detach().double().numpy() - mean @ hidden,
        output=last.weight.detach().double().numpy()[0],
    )


def tempo_targets(bpm: Sequence[float]) -> Float[np.ndarray, "pieces tempi"]:
    """For each tempo the probabilities of the grid's tempi near it."""
    distance = np.log(TEMPI_BPM[None] / np.asarray(bpm)[:, None]) / TEMPO_SPREAD
    near = np.exp(-(distance**2) / 2)
    return near / near.sum(axis=1, keepdims=True)


def key_targets(keys: Sequence[int]) -> Float[np.ndarray, "pieces 24"]:
    """For each key, by its number in ``KEYS``, 1 there and 0 elsewhere."""
    return np.eye(24)[np.asarray(keys)]


def _rounded(values: Float[np.ndarray, "*shape"]) -> Any:
    """As lists of numbers with five digits."""
    return np.vectorize(lambda value: float(f"{value:.5g}"))(values).tolist()


def _examples(records: Sequence[ClipRecord], progress: Callable[[str], None]) -> tuple[Examples, Examples]:
    """Of tempo and of key; pieces without one are left out there."""
    tempo_rows, bpm, key_rows, keys = [], [], [], []
    for number, record in enumerate(records, start=1):
        clip = Clip.read(record.path).to_channels(1).resample(SAMPLE_RATE_HZ)
        if record.tags.get("bpm"):
            tempo_rows.append(tempo_features(log_loudness(clip.samples[0])))
            bpm.append(float(record.tags["bpm"]))
        if record.tags.get("key") in KEYS:
            key_rows.append(key_features(pitch_classes(clip)))
            keys.append(KEYS.index(record.tags["key"]))
        if number % 100 == 0:
            progress(f"{number} of {len(records)} pieces of {record.split}")
    return (
        Examples(np.stack(tempo_rows), tempo_targets(bpm)),
        Examples(np.stack(key_rows), key_targets(keys)),
    )
