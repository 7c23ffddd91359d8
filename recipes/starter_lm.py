"""The starter's language model: eight layers 256 wide over delayed codes, on ten-second crops of the starter corpus.

Needs the codec of ``recipes/starter_codec.py`` and its codes (``descant data tokenize``). Parts of the history are
hidden, and half of the batches are crops of 2.5 s, so that the model learns to use the captions. It has no melody
conditioner yet: ``recipes/starter_melody.py`` continues from it, and ``recipes/starter_chords.py`` from that one.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from descant import presets
from descant.checkpoints.native import load_codec, load_model, load_text_encoder
from descant.codec.spec import codec_spec
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.conditioning.dropout import ConditionDropout
from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import ConfigError, naming
from descant.lm.init import shrink_attention_by_depth, start_from_codebooks
from descant.model import MusicGenConfig, MusicGenModel
from descant.training.lm import LMTaskConfig
from descant.training.lm_run import LMData, over_codec, train_lm
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.trainer_config import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class LMRun:
    """One training run of the starter's language model.

    Args:
        codec: folder of the trained codec.
        tokens: folder of the corpus's codes from that codec.
        text: folder of a small text encoder; None uses the one in the package.
        start: a model folder to start from, with the same config and codec; None initialises a new model. Conditioners
            for melodies and chords that it does not have are initialised.
    """

    codec: Path = Path("runs/starter_codec/codec")
    tokens: Path = Path("corpus/tokens")
    text: Path | None = None
    start: Path | None = None
    model: MusicGenConfig = field(default_factory=lambda: replace(presets.starter(), melody=None, chords=None))
    batches: TokenBatchConfig = TokenBatchConfig(
        batch_size=4,
        segment_frames=500,
        short_frames=125,
        captions=CaptionConfig(
            merge_probability=0.35,
            word_dropout=0.1,
            fields=("key", "bpm", "genre", "style", "moods", "instrument", "metre"),
        ),
    )
    num_validation_batches: int | None = 16
    task: LMTaskConfig = LMTaskConfig(
        dropout=ConditionDropout(probability=0.15), history_dropout=0.4, codebook_weights=(1.5, 1.2, 0.8, 0.5)
    )
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            max_steps=7_000,
            optimizer=AdamWConfig(lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.1),
            schedule=PlateauLinear(warmup_steps=200, decay_fraction=0.5),
            ema_decay=0.998,
            validate_every=1_000,
            save_every=250,
        )
    )


def config() -> LMRun:
    """The first of the shipped starter's four runs."""
    return LMRun()


def train(run: LMRun, out_dir: Path, resume: bool) -> dict[str, Any]:
    """Trains, and writes the model with codec and text encoder to ``out_dir/model``."""
    with naming("codec"):
        codec, shape = load_codec(run.codec)
    if not isinstance(codec, SpectralCodec) or not isinstance(shape, SpectralCodecConfig):
        raise ConfigError(f"codec={run.codec}: the starter needs a spectral codec")
    torch.manual_seed(run.trainer.seed)
    config = over_codec(run.model, codec, shape, run.batches)
    model = MusicGenModel(config, load_text_encoder(config, None if run.text is None else run.text.parent))
    model.codec.load_state_dict(codec.state_dict())
    if run.start is None:
        shrink_attention_by_depth(model.lm.blocks)
        codebooks = [level.get_buffer("codebook") for level in codec.quantizer.levels]
        start_from_codebooks(model.lm.embeddings, model.lm.heads, codebooks)
    else:
        with naming("start"):
            earlier = load_model(run.start)
        continue_from(model, earlier)
    data = LMData(tokens=run.tokens, batches=run.batches, num_validation_batches=run.num_validation_batches)
    return train_lm(model, data, run.task, run.trainer, out_dir, resume)


def continue_from(model: MusicGenModel, earlier: MusicGenModel) -> None:
    """Takes over weights, prior and default settings of an earlier model, which may lack melodies and chords.

    Raises:
        ConfigError: its config differs otherwise, except in its default settings, or its codec does.
    """
    new = {name: getattr(model.config, name) for name in ("melody", "chords") if getattr(earlier.config, name) is None}
    if replace(earlier.config, **new, defaults=model.config.defaults) != model.config:
        raise ConfigError("start: the model's config differs in more than melody and chords; give the run that config")
    if codec_spec(earlier.codec) != codec_spec(model.codec):
        raise ConfigError("start: the model has another codec than the run's")
    initial = {name: tensor for name, tensor in model.state_dict().items() if name.split(".")[0] in new}
    model.load_state_dict({**initial, **earlier.state_dict()})
    model.text.encoder = earlier.text.encoder
    model.prior = earlier.prior
    if model.config.defaults == presets.starter().defaults:  # the run states none of its own
        model.config = replace(model.config, defaults=earlier.config.defaults)
