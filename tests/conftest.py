"""Shared by tests of whole models: a text encoder that needs no weights, and tiny models around it."""

# Imported before torch: it settles how threads wait, which torch reads once.
from descant import presets

# isort: split
import signal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant.adapters import Adapter, LoraConfig, LowRank, new_adapter
from descant.compiled.object_cache import VARIABLE
from descant.conditioning.base import TextEncoder
from descant.conditioning.clap import ClapConfig
from descant.conditioning.text import SmallText
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.rvq import VectorQuantizer

collect_ignore = [] if find_spec("fastapi") else ["apps/server", "apps/studio"]
"""The service needs Python 3.11."""


@pytest.fixture(scope="session", autouse=True)
def signals_are_not_ignored() -> None:
    """A shell's background jobs and ``nohup`` ignore signals, and programs that they start rightly do so too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def compiled_code_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled code of the tests is not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("compiled")))
        yield


class WordHashes(TextEncoder):
    """One vector per word, drawn from a seed that is the word's checksum."""

    def __init__(self, dim: int = 12, device: str | torch.device = "cpu") -> None:
        self._dim, self._device = dim, torch.device(device)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return self._device

    def to(self, device: torch.device | str) -> "WordHashes":
        return WordHashes(self._dim, device)

    def states(self, text: str) -> Float[Tensor, "L D"]:
        seeds = [zlib.crc32(word.encode()) for word in text.split()]
        rows = [torch.randn(self._dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows).to(self._device)


def make_tiny_model(**changes: object) -> MusicGenModel:
    """The tiny preset with the fields of its config replaced, random weights that are the same every time.

    ``lm_changes`` are those of its transformer. Weights are twice as large as at the start of training, where logits
    are nearly uniform and hide the effect of a condition.
    """
    tiny = presets.tiny()
    transformer = replace(tiny.lm.transformer, **changes.pop("lm_changes", {}))  # type: ignore[arg-type]
    fields = {"text": SmallText(dim=12), "lm": replace(tiny.lm, transformer=transformer), **changes}
    config: MusicGenConfig = replace(tiny, **fields)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = MusicGenModel(config, WordHashes(config.text.dim))
        for parameter in model.lm.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2.0)
        for module in model.modules():
            if isinstance(module, VectorQuantizer):
                module.codebook.normal_()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model() -> MusicGenModel:
    """For reading only: a test that changes a model makes its own with ``make_model``."""
    return make_tiny_model()


def draw_adapter(model: MusicGenModel, seed: int = 0, **shape: Any) -> Adapter:
    """An adapter that has learned something: with an ``up`` that is not zero."""
    generator = torch.Generator().manual_seed(seed)
    fresh = new_adapter(model, LoraConfig(**{"rank": 3, "alpha": 6.0, **shape}), generator)
    return Adapter(
        {
            name: tuple(
                part and LowRank(part.down, torch.randn(part.up.shape, generator=generator) / 10, part.scale)
                for part in parts
            )
            for name, parts in fresh.changes.items()
        }
    )


@pytest.fixture(scope="session")
def make_adapter() -> Callable[..., Adapter]:
    return draw_adapter


@pytest.fixture(scope="session")
def make_model() -> Callable[..., MusicGenModel]:
    return make_tiny_model


@pytest.fixture(scope="session")
def word_hashes() -> type[WordHashes]:
    return WordHashes


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Turns the tests' type checks off: values of wrong types meet only the checks that users have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def make_transformers() -> Callable[..., Any]:
    pytest.importorskip("transformers", reason="transformers")
    return make_transformers_model


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[Path], None]:
    return write_tokenizer


def write_clap(folder: Path, dim: int = 12, rate_hz: int = 8_000, window_s: int = 1) -> None:
    """A small random CLAP, stored as the hub stores one. Its words are the tokenizer's."""
    import transformers

    torch.manual_seed(0)
    text = transformers.ClapTextConfig(
        vocab_size=3 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
        projection_dim=dim,
    )
    audio = transformers.ClapAudioConfig(
        window_size=2,
        num_mel_bins=16,
        spec_size=64,
        hidden_size=32,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        patch_embeds_hidden_size=16,
        num_hidden_layers=2,
        projection_dim=dim,
    )
    shape = transformers.ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=dim)
    model = transformers.ClapModel(shape).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=rate_hz,
        hop_length=rate_hz * window_s // 100,
        max_length_s=window_s,
        fft_window_size=256,
        frequency_max=rate_hz // 2,
    ).save_pretrained(folder)
    write_tokenizer(folder)


@pytest.fixture(scope="session")
def make_clap() -> Callable[..., None]:
    return write_clap


@pytest.fixture(scope="session")
def clap_config(tmp_path_factory) -> ClapConfig:
    """Names a CLAP that exists; for reading only."""
    pytest.importorskip("transformers", reason="transformers")
    folder = tmp_path_factory.mktemp("clap")
    write_clap(folder)
    return ClapConfig(
        name=str(folder), dim=12, num_codebooks=3, codebook_size=8, sample_rate_hz=8_000, window_s=1.0, stride_s=0.25
    )


WORDS = ("warm", "slow", "piano", "drums", "techno", "with", "and", "a", "sad", "violin")
GATED = {"is_gated_act": True, "d_kv": 5, "num_heads": 3, "d_ff": 20}
TRANSFORMERS_KINDS: dict[str, dict[str, object]] = {
    "odd": {},
    "stereo": {"num_codebooks": 8, "audio_channels": 2, "num_layers": 2, "num_heads": 2, "width": 24},
    "two codebooks": {"num_codebooks": 2, "num_layers": 1, "num_heads": 1, "width": 8},
    "melody": {"is_melody": True, "num_layers": 2, "num_heads": 2, "width": 24},
    # Shapes that transformers accepts in addition to the released ones.
    "text as wide": {"text": {"d_model": 20}},
    "text as wide, by its name": {"text": {"d_model": 20}, "decoder": {"cross_attention_hidden_size": 20}},
    "melody, text as wide": {"is_melody": True, "num_layers": 2, "num_heads": 2, "width": 24, "text": {"d_model": 24}},
    "32 codebooks for 4": {"codec": {"target_bandwidths": [4.0, 16.0, 128.0]}},
    "4 codebooks for 2": {"num_codebooks": 2, "codec": {"target_bandwidths": [16.0]}},
    "stereo, 6 codebooks for 4": {"num_codebooks": 8, "audio_channels": 2, "codec": {"target_bandwidths": [24.0]}},
    "gated text": {"text": {**GATED, "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new"}},
    "gated text with a contradicting activation": {
        "text": {**GATED, "feed_forward_proj": "relu", "dense_act_fn": "silu"}
    },
    "causal codec": {"codec": {"use_causal_conv": True, "use_conv_shortcut": True, "pad_mode": "constant"}},
    "other codec": {
        "codec": {
            "num_residual_layers": 2,
            "dilation_growth_rate": 3,
            "residual_kernel_size": 5,
            "compress": 4,
            "num_lstm_layers": 1,
            "kernel_size": 5,
            "last_kernel_size": 3,
            "overlap": 0.1,
        }
    },
    "codec of two channels": {"codec": {"audio_channels": 2}},
}


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of ten words, stored as the hub stores T5's."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def make_transformers_model(
    *,
    num_codebooks: int = 4,
    audio_channels: int = 1,
    num_layers: int = 3,
    num_heads: int = 5,
    width: int = 20,
    is_melody: bool = False,
    **changes: dict[str, Any],
) -> Any:
    """A random MusicGen of transformers, its weights large enough that every part changes the logits.

    Args:
        changes: other values of the configs of ``text``, ``codec`` and ``decoder``.
    """
    import transformers

    torch.manual_seed(0)
    kind = "MusicgenMelody" if is_melody else "Musicgen"
    decoder = getattr(transformers, f"{kind}DecoderConfig")(
        vocab_size=16,
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        ffn_dim=4 * width,
        num_codebooks=num_codebooks,
        audio_channels=audio_channels,
        pad_token_id=16,
        bos_token_id=16,
    )
    codec = transformers.EncodecConfig(
        # 1000 frames a second of 4 bits a codebook.
        sampling_rate=8_000,
        target_bandwidths=[4.0 * num_codebooks / audio_channels],
        upsampling_ratios=[4, 2],
        num_filters=4,
        hidden_size=8,
        codebook_size=16,
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    text = transformers.T5Config(
        vocab_size=3 + len(WORDS), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    parts = {
        "text_encoder": {**text.to_dict(), **changes.get("text", {})},
        "audio_encoder": {**codec.to_dict(), **changes.get("codec", {})},
        "decoder": {**decoder.to_dict(), **changes.get("decoder", {})},
    }
    extra = {"chroma_length": 7} if is_melody else {}
    config = getattr(transformers, f"{kind}Config")(**parts, **extra)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval().requires_grad_(False)
    for part in (model.decoder, model.text_encoder):
        for parameter in part.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    for parameter in model.audio_encoder.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    special = {"pad_token_id": 16, "bos_token_id": 16, "decoder_start_token_id": 16}
    model.generation_config = transformers.GenerationConfig(**special)
    return model


@dataclass(frozen=True)
class Theirs:
    """A model of transformers and the folder that it wrote itself into."""

    model: Any
    folder: Path


@pytest.fixture(scope="session")
def transformers_model(tmp_path_factory) -> Callable[[str], Theirs]:
    """Gives a model of transformers by the name of its kind; for reading only, including its folder."""
    pytest.importorskip("transformers", reason="transformers")
    made: dict[str, Theirs] = {}

    def get(kind: str) -> Theirs:
        if kind not in made:
            folder = tmp_path_factory.mktemp("transformers") / "model"
            model = make_transformers_model(**TRANSFORMERS_KINDS[kind])  # type: ignore[arg-type]
            model.save_pretrained(folder)
            write_tokenizer(folder)
            made[kind] = Theirs(model, folder)
        return made[kind]

    return get
