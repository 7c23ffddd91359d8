"""A study at toy size: tones with captions, an untrained codec, an embedder with random weights."""

from dataclasses import replace

import pytest
import torch

from descant import presets
from descant.audio import Clip
from descant.checkpoints.native import save_codec
from descant.codec.any import build_codec
from descant.conditioning.chroma import MelodyConfig
from descant.data.manifest import ClipRecord, write_manifest
from descant.data.token_dataset import TokenBatchConfig
from descant.evaluation.embedders import MusiCNN, MusiCNNEmbedder, WeightsFile
from descant.studies.ablation.data import prepare
from descant.studies.ablation.run import AblationRun, Judging
from descant.studies.ablation.study import Study
from descant.training.lm import LMTaskConfig
from descant.training.trainer_config import TrainerConfig

NUM_FRAMES = 160
MELODY = MelodyConfig(fusion="sum", null="nothing", part="mix", num_frames=27)


@pytest.fixture(scope="session")
def embedder():
    torch.manual_seed(0)
    return MusiCNNEmbedder(MusiCNN(), "MusiCNN random", WeightsFile("none", "0" * 64))


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    records = []
    for index in range(9):
        times = torch.arange(round((4.0 + 2.6 * (index == 8)) * 32_000)) / 32_000
        beats = 0.2 + 0.8 * ((times * (1.5 + index / 4)) % 1 < 0.3)
        wave = 0.4 * torch.sin(6.2832 * 220 * 2 ** (index / 12) * times) * beats
        path = folder / f"{index}.wav"
        Clip(wave[None], 32_000).save(path)
        records.append(
            ClipRecord(
                path=path,
                duration_s=len(wave) / 32_000,
                sample_rate_hz=32_000,
                num_channels=1,
                split="valid" if index >= 3 else "train",
                captions=(f"tone number {index}, {90 + 8 * index} bpm, C major", f"sound {index}"),
                tags={"genre": "tone" if index % 2 else "hum"},
            )
        )
    write_manifest(folder / "manifest.jsonl", records)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def data(manifest, embedder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    torch.manual_seed(0)
    config = presets.tiny().codec
    codec = build_codec(config).eval()
    for level in codec.quantizer.levels:
        level.codebook.normal_()
    save_codec(codec, config, folder / "trained codec")
    return prepare(
        manifest, folder / "data", folder / "trained codec", embedder, num_frames=NUM_FRAMES, say=lambda _: None
    )


@pytest.fixture
def toy():
    tiny = presets.tiny()
    return AblationRun(
        model=replace(tiny, max_duration_s=NUM_FRAMES / 50, melody=MELODY),
        batches=TokenBatchConfig(batch_size=2, segment_frames=NUM_FRAMES),
        task=LMTaskConfig(),
        trainer=TrainerConfig(
            max_steps=4, log_every=2, save_every=1, ema_decay=None, keep_last=1, validate_every=None, device="cpu"
        ),
        judging=Judging(conditions=("text", "melody"), batch_size=4),
    )


@pytest.fixture
def study(toy):
    """Two rows of one training, judged differently, and one of another training."""

    def melody():
        """With text and melody."""
        return toy

    def text():
        """The same model, without the melody."""
        return replace(toy, judging=Judging(conditions=("text",)))

    def slower():
        """Half of the learning rate."""
        half = replace(toy.trainer.optimizer, lr=toy.trainer.optimizer.lr / 2)
        return replace(toy, trainer=replace(toy.trainer, optimizer=half))

    rows = {row.__name__: row for row in (melody, text, slower)}
    return Study("toy", "A toy.", "Rows that teach nothing.", rows, frozenset({"melody"}))
