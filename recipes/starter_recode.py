"""Gives a language model the codes of another codec: ``python recipes/starter_recode.py MODEL CODEC MANIFEST OUT``.

Both codecs have the same frames. Where they encode the same audio, a new code is found with old ones: its embedding and
its row of the head become the mean of theirs. What the model knows of music is kept, and a training on the new codes,
``recipes/starter_chords.py`` with ``start=OUT``, begins far below one from fresh weights.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.checkpoints.native import load_codec, load_model, save_model
from descant.codec.base import AudioCodec
from descant.codec.spectral import SpectralCodecConfig
from descant.data.audio_dataset import AudioBatchConfig, AudioBatches
from descant.data.manifest import read_manifest, require_files
from descant.errors import ConfigError
from descant.model import MusicGenModel

NUM_BATCHES, CLIPS = 720, AudioBatchConfig(segment_s=2.0, batch_size=10)
"""Four hours: about 700 frames for each of 1,024 codes."""


def recode(model: Path, codec: Path, manifest: Path, out: Path, num_batches: int = NUM_BATCHES) -> None:
    """Writes the model with the other codec to ``out``.

    Raises:
        ConfigError: the codecs differ in their frames, or in the number or size of their codebooks.
    """
    old = load_model(model)
    new_codec, shape = load_codec(codec)
    if not isinstance(shape, SpectralCodecConfig):
        raise ConfigError(f"{codec}: is not a spectral codec")
    names = ("frame_rate_hz", "num_codebooks", "codebook_size", "sample_rate_hz", "num_channels")
    for name in names:
        if getattr(new_codec, name) != getattr(old.codec, name):
            raise ConfigError(f"{name} is {getattr(new_codec, name)}, that of the model {getattr(old.codec, name)}")
    records = read_manifest(manifest, "train")
    require_files(records)
    counts = co_occurrences(old.codec, new_codec, AudioBatches(records, CLIPS), num_batches)
    config = replace(old.config, codec=shape)
    new = MusicGenModel(config, old.text.encoder, prior=old.prior)
    kept = {name: tensor for name, tensor in old.state_dict().items() if not name.startswith("codec.")}
    new.load_state_dict({**kept, **{f"codec.{name}": tensor for name, tensor in new_codec.state_dict().items()}})
    for tables in (new.lm.embeddings, new.lm.heads):
        translate(tables, counts)
    save_model(new, out)


@torch.inference_mode()
def co_occurrences(
    old: AudioCodec, new: AudioCodec, batches: AudioBatches, num_batches: int
) -> Float[Tensor, "K new old"]:
    """In how many frames each new code is found with each old one, codebook by codebook."""
    size = old.codebook_size
    counts = torch.zeros(old.num_codebooks, size * size, dtype=torch.float64)
    for step in range(num_batches):
        wave = batches.batch(step).wave
        pairs = (new.encode(wave) * size + old.encode(wave)).transpose(0, 1).flatten(1)
        counts.scatter_add_(1, pairs, torch.ones_like(pairs, dtype=torch.float64))
    return counts.view(-1, size, size)


@torch.no_grad()
def translate(tables: nn.ModuleList, counts: Float[Tensor, "K new old"]) -> None:
    """Gives the rows of codes in each table the means of old rows, with the spread of these; other rows stay.

    A mean of several rows is nearer to the centre of all than they are, so all of them are moved away from it alike. A
    new code that is never found begins at the centre.
    """
    for table, of_codebook in zip(tables, counts, strict=True):
        rows = table.get_parameter("weight")[: of_codebook.shape[0]]
        old = rows.double()
        shares = of_codebook / of_codebook.sum()
        centre = shares.sum(0) @ old
        means = shares @ old / shares.sum(1, keepdim=True) - centre
        means = means.nan_to_num()
        before, after = shares.sum(0) @ (old - centre).square(), shares.sum(1) @ means.square()
        rows.copy_(centre + means * (before.sum() / after.sum()).sqrt())


if __name__ == "__main__":
    of_model, of_codec, of_manifest, to = map(Path, sys.argv[1:5])
    recode(of_model, of_codec, of_manifest, to)
