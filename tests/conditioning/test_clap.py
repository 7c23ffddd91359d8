import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.base import Embedding, FrameSpan
from descant.conditioning.clap import ClapConditioner, ClapConfig
from descant.conditioning.encoders.clap import ClapEncoder
from descant.conditioning.encoders.frozen import MAX_DESCRIPTION_BYTES
from descant.errors import CheckpointError, ConfigError, InvalidRequest, MissingExtra
from descant.nn.rvq import VectorQuantizer

TINY = ClapConfig(dim=6, num_codebooks=3, codebook_size=8)


@pytest.fixture(scope="module")
def encoder(clap_config) -> ClapEncoder:
    return ClapEncoder.load(clap_config)


def noise(num_samples: int, seed: int = 0) -> Clip:
    samples = torch.rand(1, num_samples, generator=torch.Generator().manual_seed(seed)) - 0.5
    return Clip(samples, 8_000)


def embedding_of(output):
    """transformers 5 gives an object with the embedding in it, transformers 4 the embedding."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def test_texts_and_audio_have_embeddings_of_length_one_in_one_space(encoder):
    for point in (encoder.embed_text("warm piano"), encoder.embed_audio(noise(20_000))):
        assert point.shape == (12,)
        assert point.dtype == torch.float32
        assert point.norm().item() == pytest.approx(1, abs=1e-5)
    assert not torch.equal(encoder.embed_text("warm piano"), encoder.embed_text("sad violin"))


def test_a_text_has_the_embedding_that_transformers_gives_in_a_padded_batch(clap_config, encoder):
    import transformers

    texts = ["warm slow piano", "techno", "a sad violin with drums and piano"]
    tokens = transformers.AutoTokenizer.from_pretrained(clap_config.name)(texts, padding=True, return_tensors="pt")
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    # RoBERTa counts positions by its padding token, which in the tests' tokenizer is another.
    inputs["input_ids"] = tokens.input_ids.masked_fill(tokens.attention_mask == 0, 1)
    theirs = embedding_of(transformers.ClapModel.from_pretrained(clap_config.name).eval().get_text_features(**inputs))
    ours = torch.stack([encoder.embed_text(text) for text in texts])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_audio_has_the_mean_of_the_windows_embeddings_of_transformers(clap_config, encoder):
    """Two seconds hold five windows of one second, a quarter of a second apart."""
    import transformers

    clip = noise(16_000)
    network = transformers.ClapModel.from_pretrained(clap_config.name).eval()
    listener = transformers.ClapFeatureExtractor.from_pretrained(clap_config.name)
    windows = clip.samples[0].unfold(0, 8_000, 2_000)
    features = [
        listener(window.numpy(), sampling_rate=8_000, truncation="rand_trunc", return_tensors="pt")
        for window in windows
    ]
    theirs = torch.cat([embedding_of(network.get_audio_features(one["input_features"].float())) for one in features])
    assert len(theirs) == 5
    torch.testing.assert_close(encoder.embed_windows(clip), theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.embed_audio(clip), F.normalize(theirs.mean(dim=0), dim=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("num_samples", "num_windows"), [(1, 1), (7_999, 1), (8_000, 1), (9_999, 1), (10_000, 2)])
def test_windows_lie_in_the_clip_and_there_is_one_at_least(encoder, num_samples, num_windows):
    assert len(encoder.embed_windows(noise(num_samples))) == num_windows


def test_short_audio_is_repeated(encoder):
    short = noise(4_000)
    twice = Clip(short.samples.repeat(1, 2), 8_000)
    assert torch.equal(encoder.embed_audio(short), encoder.embed_audio(twice))


def test_the_embedding_of_audio_is_deterministic(encoder):
    clip = noise(30_000)
    torch.manual_seed(1)
    first = encoder.embed_audio(clip)
    torch.manual_seed(2)
    assert torch.equal(encoder.embed_audio(clip), first)
    assert encoder.to("cpu") is encoder


def test_nothing_is_cut_off_a_text(encoder):
    assert encoder.embed_text("warm " * 17).shape == (12,)
    with pytest.raises(InvalidRequest, match=r"19 tokens: .* up to 18"):
        encoder.embed_text("warm " * 18)


def test_a_folder_without_the_right_clap_is_refused(clap_config, tmp_path):
    with pytest.raises(CheckpointError, match="no CLAP"):
        ClapEncoder.load(replace(clap_config, name=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="a bert model"):
        ClapEncoder.load(replace(clap_config, name=str(tmp_path)))
    for changes, message in (({"dim": 13}, "dim is 12"), ({"window_s": 2.0}, r"window_s is 1\.0")):
        with pytest.raises(CheckpointError, match=message):
            ClapEncoder.load(replace(clap_config, **changes))


def test_a_clap_with_random_crops_and_one_without_a_weight_are_refused(clap_config, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clap"
    shutil.copytree(clap_config.name, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.linear1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="text_projection"):
        ClapEncoder.load(replace(clap_config, name=str(folder)))
    described = json.loads((folder / "config.json").read_text())
    described["audio_config"]["enable_fusion"] = True
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="without fusion"):
        ClapEncoder.load(replace(clap_config, name=str(folder)))


def test_a_folder_with_a_huge_tokenizer_is_refused(clap_config, tmp_path):
    shutil.copytree(clap_config.name, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(MAX_DESCRIPTION_BYTES + 1)
    with pytest.raises(CheckpointError, match="bytes; at most"):
        ClapEncoder.load(replace(clap_config, name=str(tmp_path)))


def test_without_transformers_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "descant\[t5\]"'):
        ClapEncoder.load(ClapConfig())


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"dim": 0}, {"num_codebooks": 257}, {"codebook_size": 0}, {"stride_s": 0.0}, {"window_s": 1e9}],
    ids=str,
)
def test_an_invalid_config_is_refused_by_its_field(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ClapConfig(**changes)


def points(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def conditioner() -> ClapConditioner:
    torch.manual_seed(0)
    made = ClapConditioner(TINY, lm_width=5)
    made.start(points(200))
    return made.eval()


def embedded(conditioner: ClapConditioner, given: list[torch.Tensor | None], drop=None) -> Embedding:
    span = FrameSpan(num_frames=1, frame_rate_hz=50.0, input_frames=torch.zeros(1))
    return conditioner(conditioner.prepare([{"clap": point} for point in given]), span, drop)["cross"]


def books(conditioner: ClapConditioner) -> list[torch.Tensor]:
    return [level.codebook.clone() for level in conditioner.quantizer.levels if isinstance(level, VectorQuantizer)]


def test_an_embedding_is_the_projected_sum_of_its_entries_and_a_missing_one_is_zero(conditioner):
    given = points(3, seed=1)
    embedding = embedded(conditioner, [given[0], None, given[2]])
    assert embedding.values.shape == (3, 1, 5)
    assert embedding.mask.tolist() == [[True], [False], [True]]
    assert not embedding.values[1].any()
    left, total = given[:1], torch.zeros(1, 6)
    for book in books(conditioner):
        entry = book[torch.cdist(left, book).argmin(dim=1)]
        left, total = left - entry, total + entry
    torch.testing.assert_close(embedding.values[0], conditioner.project(total))


def test_a_row_does_not_depend_on_the_others(conditioner):
    given = points(5, seed=2)
    together = embedded(conditioner, [*given]).values
    for row in range(5):
        alone = embedded(conditioner, [given[row]]).values
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)


def test_codebooks_learn_in_training_from_the_rows_that_are_not_dropped(conditioner):
    given, before = [*points(8, seed=3)], books(conditioner)
    embedded(conditioner, given)
    assert all(map(torch.equal, books(conditioner), before))
    conditioner.train()
    embedded(conditioner, given, drop=torch.ones(8, dtype=torch.bool))
    assert all(map(torch.equal, books(conditioner), before))
    embedded(conditioner, given, drop=torch.zeros(8, dtype=torch.bool))
    assert not any(map(torch.equal, books(conditioner), before))


def test_started_codebooks_outlive_many_small_batches(conditioner):
    """With a codec's settings every entry died in each step and was put onto one of the last few clips."""

    def loss(given: torch.Tensor) -> float:
        conditioner.eval()
        return float((conditioner.quantized(given) - given).square().sum(dim=1).mean())

    held_out = points(100, seed=9)
    started = loss(held_out)
    for step in range(300):
        conditioner.train()
        embedded(conditioner, [*points(2, seed=100 + step)])
    assert loss(held_out) < 1.25 * started
    fresh = ClapConditioner(TINY, lm_width=5).train()
    embedded(fresh, [*points(2, seed=100)])
    fresh.eval()
    assert float((fresh.quantized(held_out) - held_out).square().sum(dim=1).mean()) > 2 * started


def test_a_start_initialises_the_codebooks_again_and_keeps_the_mode(conditioner):
    before = books(conditioner)
    conditioner.start(points(400, seed=4))
    assert not conditioner.training
    assert not any(map(torch.equal, books(conditioner), before))
