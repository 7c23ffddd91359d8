"""A whole training run of a language model: the shape that follows from codec and data, its start, and its training."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from descant.checkpoints.native import save_model
from descant.codec.any import AnyCodecConfig, StereoCodecConfig, codebooks_of
from descant.codec.base import AudioCodec
from descant.codec.spec import codec_spec
from descant.codec.stereo import StereoCodec
from descant.config import to_dict
from descant.data.clip_conditions import clip_conditions
from descant.data.corpus import read_corpus
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.errors import ConfigError, naming
from descant.lm.stereo import start_stereo_from_mono
from descant.model import MusicGenConfig, MusicGenModel
from descant.patterns import AnyPattern, delay, stereo_partial_delay
from descant.training.distributed import Share
from descant.training.encoded_texts import encoding_texts
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.logs import say
from descant.training.prepared_batches import PreparedBatches
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig

MAX_TEXT_CACHE_GIB = 2**20


@dataclass(frozen=True, kw_only=True)
class LMData:
    """What a language model is trained and validated on.

    Args:
        tokens: a folder of codes (``descant data tokenize``), with the melodies or embeddings that the model needs.
        batches: of the training; validation crops are as long, from all parts of the clips of the ``valid`` split.
        num_validation_batches: the most that are used, and as many of training clips to compare with; None for all.
            Every clip has one crop before any has two.
        text_cache_gib: the most that vectors of texts take on disk, for all runs together (``encoded_texts.py``).
    """

    tokens: Path = Path("tokens")
    batches: TokenBatchConfig = field(default_factory=TokenBatchConfig)
    num_validation_batches: int | None = 64
    text_cache_gib: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.text_cache_gib <= MAX_TEXT_CACHE_GIB:
            raise ConfigError(f"text_cache_gib={self.text_cache_gib:g}: allowed are 0 to {MAX_TEXT_CACHE_GIB} GiB")


def over_codec(
    config: MusicGenConfig,
    codec: AudioCodec,
    shape: AnyCodecConfig,
    batches: TokenBatchConfig,
    pattern: AnyPattern | None = None,
) -> MusicGenConfig:
    """The config of a model that is trained over this codec on crops of these lengths.

    Codebooks and ``max_duration_s`` follow, and with them the length of a melody that is a prefix.

    Args:
        pattern: None keeps the config's if it has as many codebooks as the codec; else it is that of the released
            models, a delay, with both sides together where the codec is stereo.

    Raises:
        ConfigError: the order of codes depends on the length of the crops, and there would be two lengths.
    """
    num_codebooks, codebook_size = codebooks_of(shape)
    if pattern is None and config.pattern.num_codebooks == num_codebooks:
        pattern = config.pattern
    elif pattern is None:
        is_stereo = isinstance(shape, StereoCodecConfig)
        pattern = stereo_partial_delay(num_codebooks) if is_stereo else delay(num_codebooks)
    if pattern.depends_on_length and batches.short_frames:
        raise ConfigError(
            f"batches.short_frames={batches.short_frames}: this pattern orders codes by the length of the whole crop, "
            "so all crops must have one length; set it to 0"
        )
    duration_s = batches.segment_frames / codec.frame_rate_hz
    melody = config.melody
    if melody is not None:
        melody = replace(melody, num_frames=1 + int(duration_s * melody.frame_rate_hz))
    return replace(
        config,
        codec=shape,
        lm=replace(config.lm, num_codebooks=num_codebooks, codebook_size=codebook_size),
        pattern=pattern,
        max_duration_s=duration_s,
        melody=melody,
    )


def start_from(model: MusicGenModel, earlier: MusicGenModel) -> None:
    """Gives a model the weights of an earlier one, in place; a mono model can start a stereo one.

    Conditioners that the earlier model does not have, or has in another shape, keep their initial weights.

    Raises:
        ConfigError: the earlier model has another codec, or its language model another shape.
    """
    codec = model.codec
    is_from_mono = isinstance(codec, StereoCodec) and not isinstance(earlier.codec, StereoCodec)
    one_side = codec.mono if isinstance(codec, StereoCodec) and is_from_mono else codec
    assert isinstance(one_side, AudioCodec)
    if codec_spec(one_side) != codec_spec(earlier.codec):
        raise ConfigError("start: the model was trained with another codec than the run's")
    if is_from_mono:
        start_stereo_from_mono(model.lm, earlier.lm)
    elif model.config.lm != earlier.config.lm:
        raise ConfigError(f"start: its language model is {earlier.config.lm}, the run's {model.config.lm}")
    else:
        model.lm.load_state_dict(earlier.lm.state_dict())
    known = {conditioner.name: conditioner for conditioner in earlier.conditioners}
    for conditioner in model.conditioners:
        before = known.get(conditioner.name)
        if before is not None and before.config == conditioner.config:
            conditioner.load_state_dict(before.state_dict())


def train_lm(
    model: MusicGenModel,
    data: LMData,
    task_config: LMTaskConfig,
    trainer_config: TrainerConfig,
    out_dir: Path,
    resume: bool,
) -> dict[str, Any]:
    """Trains the language model and writes the model, exactly, to ``out_dir/model``; the result is that of a recipe.

    Raises:
        DataError, ConfigError: the data are missing or do not fit the model.
        TrainingDiverged, Cancelled: as ``Trainer.run``.
    """
    say(f"reading the codes in {data.tokens}")
    with naming("tokens"):
        conditions = clip_conditions(model.config)
        corpus = read_corpus(data.tokens)
        training = TokenBatches(corpus, data.batches, conditions)
        held_out = TokenBatches(corpus, replace(data.batches, split="valid"), conditions)
        if training.index.codec != codec_spec(model.codec):
            raise ConfigError(f"{str(data.tokens)!r} holds codes of another codec than the run's")
    if model.clap is not None:
        model.clap.start(training.features("clap"))
    validation = held_out.fixed_batches(data.num_validation_batches)
    task = LMTask(model, task_config, validation, training.fixed_batches(len(validation)))
    say(f"validation: {sum(len(batch.clips) for batch in validation)} crops of {len(held_out.clips)} clips")
    task.captions.name_long_ones(training.clips, data.batches.captions)
    identity = {"tokens": training.identity, "batches": to_dict(data.batches)}
    trainer = Trainer(
        task,
        PreparedBatches(training, task.prepare_ahead, Share.here(trainer_config.accumulate).numbers_from),
        trainer_config,
        out_dir,
        identity,
        lambda: {**training.left_out, **task.captions.left_out},
    )
    with encoding_texts(model, round(data.text_cache_gib * 2**30)):
        result = trainer.run(resume)
    trainer.export(lambda: save_model(model, out_dir / "model"))
    return {"model": str(out_dir / "model"), "steps": result.step, **result.metrics}
