"""MusicGen's language models as the paper trains them (arXiv 2306.05284, section 3; audiocraft, solver/musicgen).

``descant train musicgen`` trains the 300M model, ``musicgen:medium`` and the other functions the other ones. Each needs
a codec and its codes (``descant data tokenize``), a melody model also the melodies (``descant data melodies --part
stems``) and a CLAP model the embeddings (``descant data embeddings``). Any field can be set: another codec, mono or
stereo, gives the model its codebooks; ``pattern`` another order of codes; ``model.text`` another text encoder, such as
``{"type": "T5Text", "name": "google/flan-t5-base"}``; ``model.lm.transformer.width`` another size.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from descant import presets
from descant.checkpoints.layouts import load_codec, load_model
from descant.checkpoints.native import load_style_features, load_text_encoder
from descant.conditioning.clap import ClapConfig
from descant.conditioning.dropout import ConditionDropout
from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import naming
from descant.model import MusicGenConfig, MusicGenModel
from descant.patterns import AnyPattern
from descant.training.lm import LMTaskConfig
from descant.training.lm_run import LMData, over_codec, start_from, train_lm
from descant.training.optim import AdamWConfig, Cosine
from descant.training.trainer_config import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class MusicGenRun:
    """One training run of a language model.

    Args:
        codec: a codec's folder, of any layout.
        start: a model's folder to go on from, of any layout; a mono model can start a stereo one.
        model: its codec, codebooks and longest duration follow from ``codec`` and ``data.batches``.
        pattern: the order of the codes; None keeps the model's, or takes the released models' for the codec.
    """

    codec: Path = Path("runs/encodec/codec")
    start: Path | None = None
    model: MusicGenConfig = field(default_factory=presets.small)
    pattern: AnyPattern | None = None
    data: LMData
    task: LMTaskConfig = LMTaskConfig(dropout=ConditionDropout(probability=0.2))
    trainer: TrainerConfig


def config() -> MusicGenRun:
    """The 300M model: a million updates of 192 clips of 30 s, with D-Adaptation."""
    return MusicGenRun(
        # 24 batches of 8 are an update of 192 clips.
        data=LMData(batches=TokenBatchConfig(batch_size=8, segment_frames=1_500, captions=CaptionConfig())),
        trainer=TrainerConfig(
            max_steps=1_000_000,
            accumulate=24,
            clip_norm=1.0,
            optimizer=AdamWConfig(lr=1.0, betas=(0.9, 0.95), weight_decay=0.1, adaptation="d-adaptation"),
            schedule=Cosine(warmup_steps=4_000),
            # The paper's 0.99 applies to every tenth update.
            ema_decay=0.999,
            precision="bf16",
            validate_every=2_000,
            save_every=2_000,
        ),
    )


def medium() -> MusicGenRun:
    """The 1.5B model. It and larger ones have a fixed learning rate: D-Adaptation made them worse."""
    run = config()
    fixed = AdamWConfig(lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return replace(run, model=presets.medium(), trainer=replace(run.trainer, optimizer=fixed))


def large() -> MusicGenRun:
    """The 3.3B model."""
    return replace(medium(), model=presets.large())


def melody() -> MusicGenRun:
    """The 1.5B model that follows melodies, which come from the stems without drums and bass."""
    shape = presets.melody()
    assert shape.melody is not None
    return replace(
        _with_word_dropout(medium(), 0.2),
        model=replace(shape, melody=replace(shape.melody, part="stems")),
        task=LMTaskConfig(dropout=ConditionDropout(probability=0.2, melody=0.5)),
    )


def style() -> MusicGenRun:
    """The 1.5B model that resembles an excerpt, whose bottleneck is trained with it (arXiv 2407.12563, section 3)."""
    return replace(
        _with_word_dropout(medium(), 0.2),
        model=presets.style(),
        task=LMTaskConfig(dropout=ConditionDropout(probability=0.1, text=0.4, style=0.4)),
    )


def clap() -> MusicGenRun:
    """The 300M model that reads texts through CLAP alone and is trained on audio without captions (appendix A.1)."""
    run = config()
    return replace(
        run,
        model=replace(run.model, clap=ClapConfig(replaces_text=True)),
        task=LMTaskConfig(dropout=ConditionDropout(probability=0.3)),
    )


def stereo() -> MusicGenRun:
    """The 300M stereo model: 200,000 updates from the mono one, over the codec of both sides."""
    run = config()
    return replace(
        run,
        codec=Path("runs/encodec/stereo_codec"),
        start=Path("runs/musicgen/model"),
        model=presets.stereo_small(),
        data=replace(run.data, tokens=Path("stereo_tokens")),
        trainer=replace(run.trainer, max_steps=200_000),
    )


def train(run: MusicGenRun, out_dir: Path, resume: bool) -> dict[str, Any]:
    """Trains, and writes the model with its codec to ``out_dir/model``."""
    with naming("codec"):
        codec, shape = load_codec(run.codec)
    torch.manual_seed(run.trainer.seed)
    settled = over_codec(run.model, codec, shape, run.data.batches, run.pattern)
    # CLAP's encoder is not needed: embeddings of the audio are stored with the codes.
    model = MusicGenModel(settled, load_text_encoder(settled), load_style_features(settled))
    model.codec.load_state_dict(codec.state_dict())
    if run.start is not None:
        with naming("start"):
            start_from(model, load_model(run.start))
    return train_lm(model, run.data, run.task, run.trainer, out_dir, resume)


def _with_word_dropout(run: MusicGenRun, word_dropout: float) -> MusicGenRun:
    batches = run.data.batches
    captions = replace(batches.captions, word_dropout=word_dropout)
    return replace(run, data=replace(run.data, batches=replace(batches, captions=captions)))
