"""Codes in a file: a ``.safetensors`` with the tensor ``codes`` [K, T] and, in its metadata, the facts to decode it."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from descant import config as configs
from descant.atomic import write_atomically
from descant.checkpoints.tensor_files import check_header
from descant.errors import CheckpointError, ConfigError, InvalidRequest

FACTS_KEY = "descant_codes"


@dataclass(frozen=True, kw_only=True)
class CodesFacts:
    """What turns codes into sound again.

    Args:
        model: name or folder of the model whose codec made them.
        codec_fingerprint: of the weights that the codes hang on; another codec of the same shape would decode to noise.
        num_samples: how much of the decoded audio is wanted; the last frame may be longer than the sound in it.
    """

    model: str
    codec_fingerprint: str
    sample_rate_hz: int
    num_channels: int
    num_codebooks: int
    codebook_size: int
    hop_samples: int
    num_samples: int

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "num_channels", "num_codebooks", "codebook_size", "hop_samples", "num_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")


def save_codes(path: Path, codes: Int[Tensor, "K T"], facts: CodesFacts) -> None:
    """Writes a codes file, the whole of it or nothing.

    Raises:
        InvalidRequest: the codes are not what the facts say.
        AudioError: the file cannot be written.
    """
    write_atomically(path, codes_to_bytes(codes, facts))


def codes_to_bytes(codes: Int[Tensor, "K T"], facts: CodesFacts) -> bytes:
    """What ``save_codes`` writes.

    Raises:
        InvalidRequest: the codes are not what the facts say.
    """
    problem = _contradiction(codes, facts)
    if problem:
        raise InvalidRequest(f"codes: {problem}")
    metadata = {FACTS_KEY: json.dumps(configs.to_dict(facts))}
    stored = codes.detach().to("cpu", torch.int32).contiguous()
    return save({"codes": stored}, metadata=metadata)


def load_codes(path: Path) -> tuple[Int[Tensor, "K T"], CodesFacts]:
    """The codes of a file as int64, and its facts.

    Raises:
        CheckpointError: the file is missing, damaged, no codes file, or its codes are not what its facts say.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{str(path)!r}: no such file; descant encode and generate --save-codes write codes files"
        )
    check_header(path)
    try:
        with safe_open(path, framework="pt") as stored:
            names, metadata = list(stored.keys()), stored.metadata() or {}
            if names != ["codes"] or FACTS_KEY not in metadata:
                raise CheckpointError(f"{str(path)!r} is no codes file: it needs the tensor codes and its facts only")
            codes = stored.get_tensor("codes")
        facts = configs.from_dict(CodesFacts, json.loads(metadata[FACTS_KEY]))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r}: not a readable codes file ({error})") from error
    problem = _contradiction(codes, facts)
    if problem:
        raise CheckpointError(f"{str(path)!r}: {problem}")
    return codes.long(), facts


def _contradiction(codes: Tensor, facts: CodesFacts) -> str | None:
    """What about the codes is not as the facts say, if anything."""
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        return f"they are {codes.dtype}, codes are integers"
    if codes.ndim != 2 or codes.shape[0] != facts.num_codebooks or codes.shape[1] < 1:
        return f"their shape is {tuple(codes.shape)}, the facts say {facts.num_codebooks} codebooks"
    if int(codes.min()) < 0 or int(codes.max()) >= facts.codebook_size:
        return f"they reach from {int(codes.min())} to {int(codes.max())}, allowed are 0 to {facts.codebook_size - 1}"
    room = codes.shape[1] * facts.hop_samples
    if not room - facts.hop_samples < facts.num_samples <= room:
        return f"{codes.shape[1]} frames cannot hold {facts.num_samples} samples"
    return None
