"""MusicGen's audio codec: EnCodec at 32 kHz, 50 frames a second, 4 codebooks of 2,048 (arXiv 2306.05284, section 3.1).

``descant train encodec`` trains it on the ``train`` split of a manifest (``descant data scan``) with the losses of the
released one (arXiv 2210.13438, section 3.4; audiocraft, solver/compression/encodec_musicgen_32khz.yaml): L1 on the
waveform 0.1, spectral distance 2, adversarial 4 and feature matching 4 as shares of a balanced gradient, and the
quantiser's commitment. ``codec.filters`` is the width; the codec is written to ``codec`` and, applied to left and
right, to ``stereo_codec`` in the run's folder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from descant.checkpoints.native import load_codec, save_codec
from descant.codec.any import StereoCodecConfig
from descant.codec.discriminators import MultiScaleSTFTDiscriminator, STFTDiscriminatorConfig
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.losses import MelLossConfig
from descant.codec.stereo import StereoCodec
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

PAPER_LOSSES = CodecTaskConfig(
    mel_weight=0.0,
    spectral_weight=2.0,
    wave_weight=0.1,
    adversarial_weight=4.0,
    feature_weight=4.0,
    combine="balancer",
    adversarial_from_step=0,
)


@dataclass(frozen=True, kw_only=True)
class EnCodecRun:
    """One training run of an EnCodec.

    Sample rate and channels of batches, losses and discriminator are those of the codec.

    Args:
        manifest: its ``train`` split is for training, its ``valid`` split for validation.
        workers: processes that read the audio, for each training process; with 0 a thread of that one reads it.
        num_validation_batches: the most that are used, and as many of training clips to compare with; None for all.
        start: the folder of an EnCodec to start from; None initialises ``codec``.
        codec: padded with zeros, as in the training of the released codec; that one's own config reflects.
    """

    manifest: Path = Path("music/manifest.jsonl")
    start: Path | None = None
    codec: EnCodecConfig = EnCodecConfig(padding_mode="constant")
    batches: AudioBatchConfig = AudioBatchConfig(segment_s=1.0, batch_size=64)
    validation: AudioBatchConfig = AudioBatchConfig(segment_s=4.0, batch_size=8, seed=1)
    workers: int = 0
    num_validation_batches: int | None = 16
    task: CodecTaskConfig = PAPER_LOSSES
    discriminator: STFTDiscriminatorConfig = STFTDiscriminatorConfig()
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            max_steps=400_000,
            clip_norm=None,
            optimizer=AdamWConfig(lr=3e-4, betas=(0.5, 0.9), weight_decay=0.0),
            schedule=PlateauLinear(warmup_steps=0, decay_fraction=0.0),
            ema_decay=0.99,
            validate_every=2_000,
            save_every=2_000,
        )
    )


def config() -> EnCodecRun:
    """The paper's run, of about 7,000 hours of audio in batches of 64 seconds."""
    return EnCodecRun()


NARROW_LOSSES = CodecTaskConfig(
    mel=MelLossConfig(floor=1e-3),
    mel_weight=1.0,
    wave_weight=20.0,
    adversarial_weight=0.1,
    feature_weight=0.2,
    spectral_from_step=150,
    adversarial_from_step=5_000,
)
"""Plain weights. The waveform alone comes first: with spectra from the start fresh weights stay near silence."""


def narrow() -> EnCodecRun:
    """A quarter of the width and a small discriminator, for a processor: 16 filters instead of 64.

    A batch has fewer frames than a codebook has entries, so the paper's threshold would call all of them dead; and
    codebooks that learn from the first batches collapse to a few entries.
    """
    run = config()
    return replace(
        run,
        task=NARROW_LOSSES,
        codec=replace(
            run.codec,
            filters=16,
            codebook_size=1_024,
            codebook_decay=0.97,
            dead_code_threshold=0.1,
            dead_code_relative=True,
            unquantized_batches=300,
        ),
        batches=replace(run.batches, segment_s=0.5, batch_size=8),
        discriminator=STFTDiscriminatorConfig(filters=8, n_ffts=(512, 1_024, 2_048)),
        trainer=replace(
            run.trainer,
            max_steps=20_000,
            clip_norm=1.0,
            optimizer=replace(run.trainer.optimizer, lr=1e-3),
            schedule=PlateauLinear(warmup_steps=50, decay_fraction=0.4),
            validate_every=500,
            save_every=500,
        ),
    )


def train(run: EnCodecRun, out_dir: Path, resume: bool) -> dict[str, Any]:
    """Trains, and writes the averaged codec to ``out_dir/codec``; if it is mono, also a stereo one."""
    torch.manual_seed(run.trainer.seed)
    codec, shape = _codec(run)
    rate_hz, num_channels = shape.sample_rate_hz, shape.num_channels
    batches = replace(run.batches, sample_rate_hz=rate_hz, num_channels=num_channels)
    validation = replace(run.validation, sample_rate_hz=rate_hz, num_channels=num_channels)
    records, to_validate = read_manifest(run.manifest, "train"), read_manifest(run.manifest, "valid")
    require_files([*records, *to_validate])
    training = AudioBatches(records, batches)
    held_out = AudioBatches(to_validate, validation).fixed_batches(run.num_validation_batches)
    task = CodecTask(
        codec,
        None
        if run.task.adversarial_from_step is None
        else MultiScaleSTFTDiscriminator(replace(run.discriminator, num_channels=num_channels)),
        replace(
            run.task,
            mel=replace(run.task.mel, sample_rate_hz=rate_hz),
            spectral=replace(run.task.spectral, sample_rate_hz=rate_hz),
        ),
        held_out,
        AudioBatches(records, validation).fixed_batches(len(held_out)),
    )
    identity = {"codec": to_dict(shape), "batches": to_dict(batches), "clips": len(records)}
    with read_ahead(training, run.workers, Share.here(run.trainer.accumulate).numbers_from) as ahead:
        trainer = Trainer(task, ahead, run.trainer, out_dir, identity, lambda: training.left_out)
        result = trainer.run(resume)

    def write() -> None:
        save_codec(codec, shape, out_dir / "codec")
        if shape.num_channels == 1:
            save_codec(StereoCodec(codec), StereoCodecConfig(mono=shape), out_dir / "stereo_codec")

    trainer.export(write)
    return {"codec": str(out_dir / "codec"), "steps": result.step, **result.metrics}


def _codec(run: EnCodecRun) -> tuple[EnCodec, EnCodecConfig]:
    """The codec to train and its config, from ``start`` or with fresh weights."""
    if run.start is None:
        return EnCodec(run.codec), run.codec
    with naming("start"):
        codec, shape = load_codec(run.start)
    if not isinstance(codec, EnCodec) or not isinstance(shape, EnCodecConfig):
        raise ConfigError(f"start={run.start}: is not an EnCodec")
    codec.requires_grad_(True)
    return codec, shape
