"""Codes files: a ``.safetensors`` with the tensor ``codes`` [K, T] and metadata for decoding it."""

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
from descant.checkpoints.tensor_files import begins_as_safetensors, check_header
from descant.errors import CheckpointError, ConfigError, InvalidRequest

HEADER_KEY = "descant_codes"


@dataclass(frozen=True, kw_only=True)
class CodesHeader:
    """What is needed to decode the codes.

    Args:
        model: name or folder of the model whose codec made them.
        codec_fingerprint: of the codec's weights; another codec of the same shape would decode noise.
        num_samples: length of the audio; the last frame may be longer.
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


def save_codes(path: Path, codes: Int[Tensor, "K T"], header: CodesHeader) -> None:
    """Writes a codes file, atomically.

    Raises:
        InvalidRequest: the codes contradict the header.
        AudioError: the file cannot be written.
    """
    write_atomically(path, codes_to_bytes(codes, header))


def codes_to_bytes(codes: Int[Tensor, "K T"], header: CodesHeader) -> bytes:
    """The bytes that ``save_codes`` writes.

    Raises:
        InvalidRequest: the codes contradict the header.
    """
    problem = _contradiction(codes, header)
    if problem:
        raise InvalidRequest(f"codes: {problem}")
    metadata = {HEADER_KEY: json.dumps(configs.to_dict(header))}
    stored = codes.detach().to("cpu", torch.int32).contiguous()
    return save({"codes": stored}, metadata=metadata)


def load_codes(path: Path) -> tuple[Int[Tensor, "K T"], CodesHeader]:
    """The codes of a file as int64, and its header.

    Raises:
        CheckpointError: the file is missing, damaged, not a codes file, or its codes contradict its header.
    """
    writers = "descant encode and generate --save-codes write codes files"
    if not path.is_file():
        raise CheckpointError(f"{str(path)!r}: no such file; {writers}")
    try:
        if not begins_as_safetensors(path):
            raise CheckpointError(f"{str(path)!r} is not a codes file; {writers}")
        check_header(path)
        with safe_open(path, framework="pt") as stored:
            names, metadata = list(stored.keys()), stored.metadata() or {}
            if names != ["codes"] or HEADER_KEY not in metadata:
                raise CheckpointError(
                    f"{str(path)!r} is not a codes file: it needs the tensor codes and its header only"
                )
            codes = stored.get_tensor("codes")
        header = configs.from_dict(CodesHeader, json.loads(metadata[HEADER_KEY]))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r}: not a readable codes file ({error})") from error
    problem = _contradiction(codes, header)
    if problem:
        raise CheckpointError(f"{str(path)!r}: {problem}")
    return codes.long(), header


def _contradiction(codes: Tensor, header: CodesHeader) -> str | None:
    """How the codes contradict the header, if they do."""
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        return f"they are {codes.dtype}, codes are integers"
    if codes.ndim != 2 or codes.shape[0] != header.num_codebooks or codes.shape[1] < 1:
        return f"their shape is {tuple(codes.shape)}, the header says {header.num_codebooks} codebooks"
    if int(codes.min()) < 0 or int(codes.max()) >= header.codebook_size:
        return f"they reach from {int(codes.min())} to {int(codes.max())}, allowed are 0 to {header.codebook_size - 1}"
    capacity = codes.shape[1] * header.hop_samples
    if not capacity - header.hop_samples < header.num_samples <= capacity:
        return f"{codes.shape[1]} frames cannot hold {header.num_samples} samples"
    return None
