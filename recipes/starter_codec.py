"""The starter's codec: spectral, mono, 4 codebooks of 1,024 at 50 frames a second, trained on the starter corpus.

``descant train recipes/starter_codec.py`` reconstructs; ``recipes/starter_codec.py:polish`` then freezes encoder and
codebooks and trains the decoder against a discriminator, so that the codes do not change; ``:deepen`` first gives the
decoder more layers.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from descant import presets
from descant.checkpoints.native import load_codec, save_codec
from descant.codec.discriminators import MultiScaleSTFTDiscriminator, STFTDiscriminatorConfig
from descant.codec.losses import MelLossConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.config import to_dict
from descant.data.audio_dataset import AudioBatchConfig, AudioBatches
from descant.data.audio_workers import read_ahead
from descant.data.manifest import read_manifest, require_files
from descant.errors import ConfigError, naming
from descant.training.codec import CodecTask, CodecTaskConfig
from descant.training.distributed import Share
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class CodecRun:
    """One training run of a codec.

    Args:
        manifest: of the corpus; its ``train`` split is for training, its ``valid`` split for validation.
        start: a codec folder to start from; None initialises ``codec``.
        decoder_layers: of the codec that is trained, at least as many as ``start`` has; further ones change nothing
            until they are trained. None keeps their number.
        workers: processes that read the audio; with 0 a thread of the training process reads it.
    """

    manifest: Path = Path("corpus/manifest.jsonl")
    start: Path | None = None
    decoder_layers: int | None = None
    codec: SpectralCodecConfig = presets.STARTER_CODEC
    batches: AudioBatchConfig = AudioBatchConfig(segment_s=2.0, batch_size=12)
    validation: AudioBatchConfig = AudioBatchConfig(segment_s=4.0, batch_size=8, seed=1)
    workers: int = 0
    num_validation_batches: int | None = 6
    # A floor of 1e-3 is about 60 dB below the corpus's level. At the usual 1e-5 most of the distance is between
    # inaudible values, since synthesised music has true silence between its partials.
    # No window is shorter than a quarter of the codec's, which has one spectrum per frame and no finer time resolution.
    task: CodecTaskConfig = CodecTaskConfig(
        mel=MelLossConfig(windows=(512, 2_048), num_mels=(80, 320), floor=1e-3), wave_weight=1.0
    )
    discriminator: STFTDiscriminatorConfig | None = None
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            max_steps=6_500,
            optimizer=AdamWConfig(lr=1e-3, betas=(0.8, 0.99), weight_decay=0.01),
            schedule=PlateauLinear(warmup_steps=100, decay_fraction=0.5),
            ema_decay=0.995,
            validate_every=500,
            save_every=250,
        )
    )


def config() -> CodecRun:
    """Reconstruction without a discriminator: mel distances at two window lengths, and the waveform."""
    return CodecRun()


def polish() -> CodecRun:
    """The decoder alone, against a small STFT discriminator; needs ``start``."""
    run = config()
    return replace(
        run,
        start=Path("runs/starter_codec/codec"),
        batches=replace(run.batches, batch_size=6),
        # No window shorter than half of the codec's: the codec has one spectrum per frame, and a discriminator's time
        # grows with the number of its frames.
        # With a power of 1 a discriminator so small still guessed after 1,400 steps.
        discriminator=STFTDiscriminatorConfig(filters=8, n_ffts=(1_024, 2_048), magnitude_power=0.3),
        task=replace(
            run.task,
            freeze_encoder=True,
            adversarial_from_step=0,
            combine="balancer",
            mel_weight=4.0,
            wave_weight=0.1,
            adversarial_weight=3.0,
            feature_weight=3.0,
        ),
        trainer=replace(
            run.trainer,
            max_steps=1_400,
            optimizer=AdamWConfig(lr=3e-4, betas=(0.8, 0.99), weight_decay=0.01),
        ),
    )


def deepen() -> CodecRun:
    """The same with a decoder of eight layers; needs ``start``."""
    return replace(polish(), start=Path("runs/polish/codec"), decoder_layers=8)


def train(run: CodecRun, out_dir: Path, resume: bool) -> dict[str, Any]:
    """Trains, and writes the EMA codec to ``out_dir/codec``."""
    torch.manual_seed(run.trainer.seed)
    codec, shape = _codec(run)
    discriminator = None if run.discriminator is None else MultiScaleSTFTDiscriminator(run.discriminator)
    records, to_validate = read_manifest(run.manifest, "train"), read_manifest(run.manifest, "valid")
    require_files([*records, *to_validate])
    training = AudioBatches(records, run.batches)
    held_out = AudioBatches(to_validate, run.validation).fixed_batches(run.num_validation_batches)
    sample = AudioBatches(records, run.validation).fixed_batches(len(held_out))
    task = CodecTask(codec, discriminator, run.task, held_out, sample)
    identity = {"codec": to_dict(shape), "batches": to_dict(run.batches), "clips": len(records)}
    with read_ahead(training, run.workers, Share.here(run.trainer.accumulate).numbers_from) as ahead:
        trainer = Trainer(task, ahead, run.trainer, out_dir, identity, lambda: training.left_out)
        result = trainer.run(resume)
    trainer.export(lambda: save_codec(codec, shape, out_dir / "codec"))
    return {"codec": str(out_dir / "codec"), "steps": result.step, **result.metrics}


def _codec(run: CodecRun) -> tuple[SpectralCodec, SpectralCodecConfig]:
    """The codec to train and its config, from ``start`` or with fresh weights."""
    if run.start is None:
        if run.decoder_layers is not None:
            raise ConfigError("decoder_layers without start: set codec.decoder_layers")
        return SpectralCodec(run.codec), run.codec
    with naming("start"):
        codec, shape = load_codec(run.start)
    if not isinstance(codec, SpectralCodec) or not isinstance(shape, SpectralCodecConfig):
        raise ConfigError(f"start={run.start}: is not a spectral codec")
    if run.decoder_layers is not None:
        codec, shape = deepened(codec, shape, run.decoder_layers)
    codec.requires_grad_(True)
    return codec, shape


def deepened(
    codec: SpectralCodec, shape: SpectralCodecConfig, num_layers: int
) -> tuple[SpectralCodec, SpectralCodecConfig]:
    """The codec with further layers behind those of its decoder, which add nothing yet: it decodes the same bits."""
    if num_layers < shape.decoder_layers:
        raise ConfigError(f"decoder_layers={num_layers}: the codec to start from has {shape.decoder_layers}")
    shape = replace(shape, decoder_layers=num_layers)
    deeper = SpectralCodec(shape)
    missing = deeper.load_state_dict(codec.state_dict(), strict=False).missing_keys
    for name, parameter in deeper.named_parameters():
        if name in missing and name.endswith(".scale"):
            nn.init.zeros_(parameter)
    return deeper.train(codec.training), shape
