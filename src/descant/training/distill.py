"""Distilling a small text encoder from a larger one: initial weights, vocabulary, loss and rank correlation."""

import json

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from descant.conditioning.encoders.small import SmallTextConfig, SmallTextNetwork, sentence_vectors
from descant.errors import CheckpointError, ConfigError

_BERT_BLOCK = {
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "mlp_norm",
}


def from_bert(weights: dict[str, Tensor], num_heads: int) -> SmallTextNetwork:
    """The network that computes what a BERT encoder with these weights (names as in transformers) computes.

    Raises:
        CheckpointError: a weight is missing.
    """
    embedding = "embeddings.word_embeddings.weight"
    if embedding not in weights:
        raise CheckpointError(f"no {embedding} among the {len(weights)} tensors: these are not BERT weights")
    vocab_size, width = weights[embedding].shape
    config = SmallTextConfig(
        vocab_size=vocab_size,
        width=width,
        num_layers=1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer.")),
        num_heads=num_heads,
        mlp_width=len(weights["encoder.layer.0.intermediate.dense.bias"]),
        embedding_rank=None,
        max_tokens=len(weights["embeddings.position_embeddings.weight"]),
    )
    ours = {
        "tokens.weight": weights[embedding],
        # Every text is of BERT's first segment, so its vector can be part of the positions.
        "positions.weight": weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
    }
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for layer in range(config.num_layers):
            theirs = f"encoder.layer.{layer}"
            for their_name, our_name in _BERT_BLOCK.items():
                ours[f"blocks.{layer}.{our_name}.{kind}"] = weights[f"{theirs}.{their_name}.{kind}"]
            qkv = [weights[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            ours[f"blocks.{layer}.qkv.{kind}"] = torch.cat(qkv)
    network = SmallTextNetwork(config)
    network.load_state_dict(ours)
    return network.eval().requires_grad_(False)


def prune_vocabulary(tokenizer: Tokenizer) -> tuple[Tokenizer, list[int]]:
    """The tokenizer without tokens that no English text needs, and the old id of each token that is left.

    Placeholders (``[unused7]``) and tokens with letters outside ASCII go; accents were stripped before the tokens were
    looked up. Truncation and padding are switched off.
    """
    data = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = data["model"]["vocab"]
    kept = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if _is_english(token)]
    new_ids = {token: token_id for token_id, token in enumerate(kept)}
    data["model"]["vocab"] = new_ids
    data["truncation"] = data["padding"] = None
    for token in data["added_tokens"]:
        token["id"] = new_ids[token["content"]]
    for token in data["post_processor"]["special_tokens"].values():
        token["ids"] = [new_ids[name] for name in token["tokens"]]
    return Tokenizer.from_str(json.dumps(data, ensure_ascii=False)), [vocabulary[token] for token in kept]


def _is_english(token: str) -> bool:
    return not token.startswith("[unused") and not any(letter.isalpha() and not letter.isascii() for letter in token)


def first_weights(
    teacher: SmallTextNetwork, config: SmallTextConfig, layers: list[int], old_ids: list[int]
) -> SmallTextNetwork:
    """A student that starts from some of its teacher's layers and the principal axes of its token embedding.

    Args:
        layers: which of the teacher's layers become the student's, first to last.
        old_ids: the teacher's id of each of the student's tokens.

    Raises:
        ConfigError: the student's blocks are not shaped like the teacher's.
    """
    shape = (config.width, config.mlp_width, config.num_heads, config.num_layers)
    needed = (teacher.config.width, teacher.config.mlp_width, teacher.config.num_heads, len(layers))
    if shape != needed or config.embedding_rank is None:
        raise ConfigError(
            f"{config} cannot start from layers {layers}: it needs an embedding_rank, and width, mlp_width, num_heads "
            f"and num_layers must be {needed}"
        )
    embedding = teacher.tokens.weight[old_ids]
    center = embedding.mean(dim=0)
    _, _, axes = torch.linalg.svd(embedding - center, full_matrices=False)
    # The principal axes in a random rotation: columns of equal size lose less when the embedding is rounded by rows.
    rotation, _ = torch.linalg.qr(torch.randn(config.embedding_rank, config.embedding_rank))
    axes = rotation @ axes[: config.embedding_rank]
    weights = {
        "tokens.weight": (embedding - center) @ axes.T,
        "widen.weight": axes.T,
        # The mean of the embedding is in none of the axes; every position adds it.
        "positions.weight": teacher.positions.weight[: config.max_tokens] + center,
        **{f"norm.{kind}": weight for kind, weight in teacher.norm.state_dict().items()},
    }
    for number, layer in enumerate(layers):
        block = teacher.blocks[layer].state_dict()
        weights.update({f"blocks.{number}.{name}": weight for name, weight in block.items()})
    student = SmallTextNetwork(config)
    student.load_state_dict(weights)
    return student


def distillation_loss(
    student: Float[Tensor, "B L D"], teacher: Float[Tensor, "B L D"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How far the student's vectors are from the teacher's: per token, and per sentence (1 - cosine).

    The token loss is the squared error divided by the teacher's power, so 1 is as bad as predicting zero.
    """
    tokens = (student - teacher).square().sum() / teacher.square().sum()
    cosine = functional.cosine_similarity(sentence_vectors(student), sentence_vectors(teacher))
    return tokens, 1 - cosine.mean()


def spearman(first: Float[Tensor, " pairs"], second: Float[Tensor, " pairs"]) -> float:
    """Rank correlation of two measurements of the same things: 1 where they rank alike. Ties keep their order."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (first, second)])
    return torch.corrcoef(ranks)[0, 1].item()
