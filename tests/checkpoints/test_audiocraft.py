"""audiocraft's layout: what it says is what is computed, and what is written there is read back bit for bit.

The files are made here from the names that released ones have, in tiny shapes; nothing of audiocraft is needed.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from descant.checkpoints import audiocraft, hub, native
from descant.checkpoints.audiocraft_codec import read_codec, write_codec
from descant.checkpoints.audiocraft_config import read_model, write_model
from descant.codec.any import StereoCodecConfig
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError, ConfigError
from descant.lm.model import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.rvq import RVQConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import CoarseFirst, Delay, Flatten, Grouped, PartialFlatten, delay, parallel, stereo_partial_delay
from descant.presets import medium, melody, small, stereo_melody, stereo_small, style, tiny

yaml = pytest.importorskip("yaml")

WIDTH, LAYERS, BOOKS, ENTRIES, TEXT_WIDTH = 16, 2, 4, 32, 12
FILTERS, LATENT, STRIDES = 2, 8, (8, 5, 4, 4)
DESCRIPTION = "condition_provider.conditioners.description.output_proj"

LM_SETTINGS = f"""
lm_model: transformer_lm
sample_rate: 32000
channels: 1
dtype: float16
dataset: {{segment_duration: 30, batch_size: 192}}
optim: {{lr: 1.0}}
codebooks_pattern:
  modeling: delay
  delay: {{delays: [0, 1, 2, 3], flatten_first: 0, empty_initial: 0}}
  unroll: {{flattening: [0, 1, 2, 3], delays: [0, 0, 0, 0]}}
transformer_lm:
  {{dim: {WIDTH}, num_heads: 2, num_layers: {LAYERS}, hidden_scale: 4, n_q: {BOOKS}, card: {ENTRIES}, dropout: 0.0,
   emb_lr: null, activation: gelu, norm_first: true, bias_ff: false, bias_attn: false, bias_proj: false,
   past_context: null, causal: true, custom: false, memory_efficient: true, attention_as_float32: false,
   layer_scale: null, positional_embedding: sin, xpos: false, checkpointing: torch, weight_init: gaussian,
   depthwise_init: current, zero_bias_init: true, norm: layer_norm, cross_attention: false, qk_layer_norm: false,
   qk_layer_norm_cross: false, attention_dropout: null, kv_repeat: 1, two_step_cfg: false}}
fuser:
  {{cross_attention_pos_emb: false, cross_attention_pos_emb_scale: 1, sum: [], prepend: [], cross: [description],
   input_interpolate: []}}
conditioners:
  args: {{}}
  description: {{model: t5, t5: {{name: t5-base, finetune: false, word_dropout: 0.3, normalize_text: false}}}}
interleave_stereo_codebooks: {{use: false, per_timestep: false}}
"""
CODEC_SETTINGS = f"""
compression_model: encodec
sample_rate: 32000
channels: 1
encodec:
  {{autoencoder: seanet, quantizer: rvq, sample_rate: '${{sample_rate}}', channels: '${{channels}}', causal: false,
   renormalize: false}}
seanet:
  {{dimension: {LATENT}, channels: '${{channels}}', causal: '${{encodec.causal}}', n_filters: {FILTERS},
   n_residual_layers: 1, ratios: {list(STRIDES)}, activation: ELU, activation_params: {{alpha: 1.0}}, norm: weight_norm,
   norm_params: {{}}, kernel_size: 7, residual_kernel_size: 3, last_kernel_size: 7, dilation_base: 2,
   pad_mode: constant, true_skip: true, compress: 2, lstm: 1, disable_norm_outer_blocks: 0, encoder: {{}},
   decoder: {{trim_right_ratio: 1.0, final_activation: null, final_activation_params: null}}}}
rvq:
  {{n_q: {BOOKS}, q_dropout: false, bins: {ENTRIES}, decay: 0.99, kmeans_init: true, kmeans_iters: 50,
   threshold_ema_dead_code: 2, orthogonal_reg_weight: 0.0, orthogonal_reg_active_codes_only: false}}
"""
SMALL_STYLE = StyleConfig(width=256, num_heads=8, num_layers=4)
CONFIG = EnCodecConfig(
    filters=FILTERS,
    latent_dim=LATENT,
    lstm_layers=1,
    codebook_size=ENTRIES,
    padding_mode="constant",
)


def lm_tensors(has_cross: bool = True, books: int = BOOKS) -> dict[str, Tensor]:
    """A language model as audiocraft names it."""
    made: dict[str, Tensor] = {}
    for k in range(books):
        made[f"emb.{k}.weight"] = torch.randn(ENTRIES + 1, WIDTH)
        made[f"linears.{k}.weight"] = torch.randn(ENTRIES, WIDTH)
    norms = ("norm1", "norm2", "norm_cross") if has_cross else ("norm1", "norm2")
    attentions = ("self_attn", "cross_attention") if has_cross else ("self_attn",)
    for i in range(LAYERS):
        layer = f"transformer.layers.{i}"
        for norm in norms:
            made[f"{layer}.{norm}.weight"], made[f"{layer}.{norm}.bias"] = torch.randn(2, WIDTH)
        for attention in attentions:
            made[f"{layer}.{attention}.in_proj_weight"] = torch.randn(3 * WIDTH, WIDTH)
            made[f"{layer}.{attention}.out_proj.weight"] = torch.randn(WIDTH, WIDTH)
        made[f"{layer}.linear1.weight"] = torch.randn(4 * WIDTH, WIDTH)
        made[f"{layer}.linear2.weight"] = torch.randn(WIDTH, 4 * WIDTH)
    made["out_norm.weight"], made["out_norm.bias"] = torch.randn(2, WIDTH)
    made[f"{DESCRIPTION}.weight"], made[f"{DESCRIPTION}.bias"] = torch.randn(WIDTH, TEXT_WIDTH), torch.randn(WIDTH)
    return {name: tensor.clone() for name, tensor in made.items()}


def conv(name: str, channels_in: int, channels_out: int, kernel: int, *, kind: str = "conv") -> dict[str, Tensor]:
    first, second = (channels_out, channels_in) if kind == "conv" else (channels_in, channels_out)
    return {
        f"{name}.{kind}.{kind}.weight_g": torch.rand(first, 1, 1) + 0.5,
        f"{name}.{kind}.{kind}.weight_v": torch.randn(first, second, kernel),
        f"{name}.{kind}.{kind}.bias": torch.randn(channels_out),
    }


def block(name: str, channels: int) -> dict[str, Tensor]:
    half = channels // 2
    return {**conv(f"{name}.block.1", channels, half, 3), **conv(f"{name}.block.3", half, channels, 1)}


def lstm(name: str, channels: int) -> dict[str, Tensor]:
    matrices = {f"{name}.lstm.weight_{x}h_l0": torch.randn(4 * channels, channels) for x in "ih"}
    return {**matrices, **{f"{name}.lstm.bias_{x}h_l0": torch.randn(4 * channels) for x in "ih"}}


def codec_tensors() -> dict[str, Tensor]:
    """A codec as audiocraft names it; layers without weights count too."""
    made = conv("encoder.model.0", 1, FILTERS, 7)
    channels = FILTERS
    for stage, stride in enumerate(reversed(STRIDES)):
        made |= block(f"encoder.model.{1 + 3 * stage}", channels)
        made |= conv(f"encoder.model.{3 + 3 * stage}", channels, 2 * channels, 2 * stride)
        channels *= 2
    made |= lstm("encoder.model.13", channels) | conv("encoder.model.15", channels, LATENT, 7)
    made |= conv("decoder.model.0", LATENT, channels, 7) | lstm("decoder.model.1", channels)
    for stage, stride in enumerate(STRIDES):
        made |= conv(f"decoder.model.{3 + 3 * stage}", channels, channels // 2, 2 * stride, kind="convtr")
        channels //= 2
        made |= block(f"decoder.model.{4 + 3 * stage}", channels)
    made |= conv("decoder.model.15", channels, 1, 7)
    for k in range(BOOKS):
        codebook = f"quantizer.vq.layers.{k}._codebook"
        made[f"{codebook}.inited"] = torch.ones(1)
        made[f"{codebook}.cluster_size"] = torch.rand(ENTRIES)
        made[f"{codebook}.embed"] = torch.randn(ENTRIES, LATENT)
        made[f"{codebook}.embed_avg"] = torch.randn(ENTRIES, LATENT)
    return made


def write(folder: Path, lm: object, codec: object, lm_settings: str = LM_SETTINGS) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(
        {"best_state": lm, "xp.cfg": lm_settings, "version": "1.2.0a2", "exported": True}, folder / audiocraft.LM
    )
    write_codec_file(folder, codec)
    return folder


def write_codec_file(folder: Path, codec: object, settings: str = CODEC_SETTINGS) -> None:
    package = {"best_state": codec, "xp.cfg": settings, "version": "0.0.2a0", "exported": True}
    torch.save(package, folder / audiocraft.CODEC)


def changed(settings: str, path: str, value: Any) -> str:
    """The settings with one value replaced."""
    plain = inner = yaml.safe_load(settings)
    *parents, last = path.split(".")
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return yaml.safe_dump(plain)


PREPENDED = changed(changed(LM_SETTINGS, "fuser.cross", []), "fuser.prepend", ["description"])


@pytest.fixture(autouse=True)
def _seeded_and_without_t5(monkeypatch, word_hashes):
    torch.manual_seed(0)
    for module in (audiocraft, native):
        monkeypatch.setattr(module, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))
        monkeypatch.setattr(module, "load_style_features", lambda *_: None)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "theirs", lm_tensors(), codec_tensors())


def stored(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {
        name: torch.load(folder / name, weights_only=True)["best_state"] for name in (audiocraft.LM, audiocraft.CODEC)
    }


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def assert_close_at_scale(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def lm_by_hand(theirs: dict[str, Tensor], has_cross: bool) -> MusicLM:
    transformer = TransformerConfig(width=WIDTH, num_heads=2, num_layers=LAYERS, has_cross_attention=has_cross)
    lm = MusicLM(LMConfig(num_codebooks=BOOKS, codebook_size=ENTRIES, transformer=transformer))
    with torch.no_grad():
        for k in range(BOOKS):
            lm.embeddings[k].weight.copy_(theirs[f"emb.{k}.weight"])
            lm.heads[k].weight.copy_(theirs[f"linears.{k}.weight"])
        for i, layer in enumerate(lm.blocks):
            name = f"transformer.layers.{i}"
            layer.self_attention.qkv.weight.copy_(theirs[f"{name}.self_attn.in_proj_weight"])
            layer.self_attention.out.weight.copy_(theirs[f"{name}.self_attn.out_proj.weight"])
            layer.mlp.up.weight.copy_(theirs[f"{name}.linear1.weight"])
            layer.mlp.down.weight.copy_(theirs[f"{name}.linear2.weight"])
            norms = [(layer.norm1, "norm1"), (layer.norm2, "norm2")]
            if has_cross:
                layer.cross_attention.qkv.weight.copy_(theirs[f"{name}.cross_attention.in_proj_weight"])
                layer.cross_attention.out.weight.copy_(theirs[f"{name}.cross_attention.out_proj.weight"])
                norms.append((layer.norm_cross, "norm_cross"))
            for norm, their in norms:
                norm.weight.copy_(theirs[f"{name}.{their}.weight"])
                norm.bias.copy_(theirs[f"{name}.{their}.bias"])
        lm.norm.weight.copy_(theirs["out_norm.weight"])
        lm.norm.bias.copy_(theirs["out_norm.bias"])
    return lm.eval()


@pytest.mark.parametrize("has_cross", [True, False], ids=["text attended to", "text before the codes"])
def test_the_logits_are_those_of_the_same_weights_placed_by_hand(tmp_path, has_cross):
    theirs = lm_tensors(has_cross)
    model = audiocraft.load_model(
        write(tmp_path / "m", theirs, codec_tensors(), LM_SETTINGS if has_cross else PREPENDED)
    )
    assert model.config.pattern == delay(BOOKS)
    assert model.config.max_duration_s == 30.0
    assert model.config.text == T5Text(name="t5-base", dim=TEXT_WIDTH)
    sequence = torch.randint(0, ENTRIES + 1, (2, BOOKS, 9))
    with torch.no_grad():
        inputs = model.inputs(model.prepare([{"text": "a slow waltz"}, {}]), model.span())
        words = model.text.encoder.encode(["a slow waltz", None])
        projected = words.values @ theirs[f"{DESCRIPTION}.weight"].T + theirs[f"{DESCRIPTION}.bias"]
        values = projected * words.mask[:, :, None]
        by_hand = LMInputs(cross=values, cross_mask=words.mask) if has_cross else LMInputs(prefix=values)
        expected = lm_by_hand(theirs, has_cross)(sequence, by_hand)
        assert_close_at_scale(model.lm(sequence, inputs), expected)


def codec_by_hand(theirs: dict[str, Tensor]) -> EnCodec:
    """Weights put where they belong one after another; a plain weight is what its direction and length make."""
    codec = EnCodec(CONFIG)
    convs = {"encoder": {0, 3, 6, 9, 12, 15}, "decoder": {0, 3, 6, 9, 12, 15}}
    blocks = {"encoder": {1, 4, 7, 10}, "decoder": {4, 7, 10, 13}}

    def fill(layer: Any, name: str) -> None:
        direction, length = theirs[f"{name}.weight_v"], theirs[f"{name}.weight_g"]
        layer.conv.weight = length * direction / direction.norm(dim=(1, 2), keepdim=True)
        layer.conv.bias.copy_(theirs[f"{name}.bias"])

    with torch.no_grad():
        for half, recurrent in (("encoder", 13), ("decoder", 1)):
            layers = getattr(codec, half).layers
            for i in convs[half]:
                kind = "convtr" if half == "decoder" and i in (3, 6, 9, 12) else "conv"
                fill(layers[i], f"{half}.model.{i}.{kind}.{kind}")
            for i in blocks[half]:
                for j in (1, 3):
                    fill(layers[i].block[j], f"{half}.model.{i}.block.{j}.conv.conv")
            for name, parameter in layers[recurrent].lstm.named_parameters():
                parameter.copy_(theirs[f"{half}.model.{recurrent}.lstm.{name}"])
        for k, level in enumerate(codec.quantizer.levels):
            level.codebook.copy_(theirs[f"quantizer.vq.layers.{k}._codebook.embed"])
    return codec.eval()


def test_the_codec_is_that_of_the_same_weights_placed_by_hand(folder):
    codec, expected = audiocraft.load_model(folder).codec, codec_by_hand(stored(folder)[audiocraft.CODEC])
    wave = torch.randn(1, 1, 3_333)
    with torch.no_grad():
        codes = codec.encode(wave)
        assert torch.equal(codes, expected.encode(wave))
        assert_close_at_scale(codec.decode(codes), expected.decode(codes))


def test_a_stereo_model_is_read_from_its_settings(tmp_path):
    settings = LM_SETTINGS
    for path, value in (
        ("transformer_lm.n_q", 8),
        ("channels", 2),
        ("interleave_stereo_codebooks.use", True),
        ("codebooks_pattern.delay.delays", [0, 0, 1, 1, 2, 2, 3, 3]),
    ):
        settings = changed(settings, path, value)
    model = audiocraft.load_model(write(tmp_path / "m", lm_tensors(books=8), codec_tensors(), settings))
    assert model.config.codec == StereoCodecConfig(mono=CONFIG)
    assert model.config.pattern == stereo_partial_delay(8)
    assert model.codec.num_channels == 2


# Written and read.


def test_from_their_layout_to_ours_and_back_every_tensor_keeps_its_bits(folder, tmp_path):
    native.save_model(audiocraft.load_model(folder), tmp_path / "ours")
    audiocraft.save_model(native.load_model(tmp_path / "ours"), tmp_path / "again")
    before, after = stored(folder), stored(tmp_path / "again")
    for name in (audiocraft.LM, audiocraft.CODEC):
        assert bits(after[name]) == bits(before[name])
    assert audiocraft.read_model_config(tmp_path / "again") == audiocraft.read_model_config(folder)


def as_t5(make_model: Callable[..., Any], **changes: object) -> Any:
    return make_model(text=T5Text(name="t5-base", dim=TEXT_WIDTH), **changes)


@pytest.mark.parametrize("kind", ["mono", "stereo", "prefix", "melody", "style", "odd codec"])
def test_what_is_written_is_read_back_bit_for_bit(make_model, tmp_path, kind):
    base = tiny()
    changes: dict[str, Any] = {
        "mono": {},
        "stereo": {
            "codec": StereoCodecConfig(mono=base.codec),
            "lm": replace(base.lm, num_codebooks=8),
            "pattern": stereo_partial_delay(8),
        },
        "prefix": {"lm_changes": {"has_cross_attention": False}, "max_duration_s": 12.5},
        "melody": {"lm_changes": {"has_cross_attention": False}, "melody": MelodyConfig()},
        "style": {"lm_changes": {"has_cross_attention": False}, "style": SMALL_STYLE},
        "odd codec": {
            "codec": replace(
                base.codec, decoder_filters=4, residual_layers=2, has_conv_shortcut=True, is_causal=True, lstm_layers=0
            )
        },
    }[kind]
    model = as_t5(make_model, **changes)
    audiocraft.save_model(model, tmp_path / "m")
    again = audiocraft.load_model(tmp_path / "m")
    assert again.config == model.config
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert {file.name for file in (tmp_path / "m").iterdir()} == {audiocraft.LM, audiocraft.CODEC}


def test_half_precision_in_a_file_is_read_exactly_and_the_precision_asked_for_is_the_language_models_alone(tmp_path):
    halves = {name: tensor.half() for name, tensor in lm_tensors().items()}
    folder = write(tmp_path / "m", halves, codec_tensors())
    assert torch.equal(audiocraft.load_model(folder).lm.norm.weight, halves["out_norm.weight"].float())
    model = audiocraft.load_model(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.lm.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.codec.parameters()} == {torch.float32}


@pytest.mark.parametrize("preset", [small, medium, stereo_small, melody, stereo_melody, style])
def test_the_settings_of_a_released_shape_survive(preset):
    config = preset()
    mono = config.codec.mono if isinstance(config.codec, StereoCodecConfig) else config.codec
    assert read_codec(write_codec(mono)) == mono
    assert read_model(write_model(config), mono, 768) == config


PATTERNS = (
    *(delay(4), parallel(4), Delay((0, 1, 1, 1)), Flatten(4), PartialFlatten(4), CoarseFirst((0, 0, 1, 2))),
    Grouped(4, 2),
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_every_pattern_survives(pattern):
    config = replace(small(), pattern=pattern)
    assert read_model(write_model(config), EnCodecConfig(), 768).pattern == pattern


def test_what_the_layout_has_no_place_for_is_not_written(make_model, tmp_path):
    text = T5Text(dim=TEXT_WIDTH)
    spectral = SpectralCodecConfig(
        hop_samples=160,
        window_samples=320,
        encoder_width=8,
        decoder_width=8,
        quantizer=RVQConfig(dim=4, codebook_dim=4, codebook_size=32),
    )
    refused = {
        "only T5 as text encoder": {},
        "qk_norm=True": {"text": text, "lm_changes": {"qk_norm": True}},
        "positions='rotary'": {"text": text, "lm_changes": {"positions": "rotary"}},
        "residual_scale=True": {"text": text, "lm_changes": {"residual_scale": True}},
        "supports only EnCodec": {"text": text, "codec": spectral},
        r"text\.has_pooled_text=True": {"text": replace(text, has_pooled_text=True)},
        "activation='snake'": {"text": text, "codec": replace(tiny().codec, activation="snake")},
        "codebook_dim=4": {"text": text, "codec": replace(tiny().codec, codebook_dim=4)},
    }
    for message, changes in refused.items():
        with pytest.raises(CheckpointError, match=message):
            audiocraft.save_model(make_model(**copy.deepcopy(changes)), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(make_model, folder):
    before = stored(folder)
    with pytest.raises(CheckpointError, match="choose another folder"):
        audiocraft.save_model(as_t5(make_model), folder)
    assert bits(stored(folder)[audiocraft.LM]) == bits(before[audiocraft.LM])


# Unsupported settings are named.

REFUSED_LM: dict[str, tuple[str, Any, str]] = {
    "another model": ("lm_model", "transformer_lm_magnet", "lm_model='transformer_lm_magnet': allowed"),
    "rope": ("transformer_lm.positional_embedding", "rope", "positional_embedding='rope': allowed are 'sin'"),
    "post-norm": ("transformer_lm.norm_first", False, "norm_first=False"),
    "biases": ("transformer_lm.bias_ff", True, "bias_ff=True"),
    "window": ("transformer_lm.past_context", 500, "past_context=500"),
    "relu": ("transformer_lm.activation", "relu", "activation='relu'"),
    "unknown key": ("transformer_lm.depth", 3, r"transformer_lm\.depth: unknown key"),
    "a key that is no text": ("transformer_lm", {1: 2, "dim": 16}, "unknown key"),
    "no section": ("transformer_lm", None, r"transformer_lm\..*: missing"),
    "text for a number": ("transformer_lm.dim", "wide", r"transformer_lm\.dim='wide'"),
    "two steps a frame": ("codebooks_pattern.delay.flatten_first", 2, "flatten_first=2"),
    "unknown pattern": ("codebooks_pattern.modeling", "spiral", "modeling='spiral'"),
    "no pattern": ("codebooks_pattern.modeling", None, "modeling=None"),
    "delays of words": ("codebooks_pattern.delay.delays", ["a"], "whole numbers"),
    "style by EnCodec": (
        "conditioners.self_wav",
        {"model": "style", "style": {"model_name": "encodec", "sample_rate": 32_000, "length": 3.0}},
        "model_name",
    ),
    "another sound": ("conditioners.self_wav", {"model": "beat"}, r"self_wav\.model='beat'"),
    "melody nowhere": (
        *("conditioners.self_wav", {"model": "chroma_stem", "chroma_stem": {"sample_rate": 32_000, "argmax": True}}),
        "self_wav in prepend",
    ),
    "chords": ("conditioners.chords", {"model": "chords_emb"}, r"conditioners\.chords"),
    "tags": ("conditioners.description", {"model": "lut"}, r"description\.model='lut'"),
    "trained T5": ("conditioners.description.t5.finetune", True, "finetune=True"),
    "text summed": ("fuser", {"sum": ["description"]}, "must be in cross or in prepend"),
    "text twice": ("fuser.prepend", ["description"], "must be in cross or in prepend"),
    "eight books of four": ("transformer_lm.n_q", 8, "the codec has 4 codebooks"),
    "endlessly many books": ("transformer_lm.n_q", 10**12, "the codec has 4 codebooks"),
    "endlessly many layers": ("transformer_lm.num_layers", 10**12, "num_layers=1000000000000: at most"),
    "absurd width": ("transformer_lm.dim", 10**18, "no model can be made of its config"),
    "a number of 31 digits": ("transformer_lm.dim", 10**30, "more than 64 bits"),
    "another width": ("transformer_lm.dim", 32, "its config makes it"),
    "one book of the codec": ("compression_model_n_q", 1, "compression_model_n_q=1"),
    "per timestep": ("interleave_stereo_codebooks.per_timestep", True, "per_timestep=True"),
    "stereo of mono weights": ("interleave_stereo_codebooks.use", True, "the codec has 8 codebooks"),
    "no length": ("dataset.segment_duration", None, "segment_duration=None"),
    "endless length": ("dataset.segment_duration", float("inf"), "finite"),
    "reference to nothing": ("dataset.segment_duration", "${no.such}", "that does not exist"),
    "reference to itself": ("dataset.segment_duration", "${dataset.segment_duration}", "that does not exist"),
}


@pytest.mark.parametrize("fault", REFUSED_LM)
def test_settings_of_the_language_model_that_are_not_supported_are_named(tmp_path, fault):
    path, value, message = REFUSED_LM[fault]
    folder = write(tmp_path / "m", lm_tensors(), codec_tensors(), changed(LM_SETTINGS, path, value))
    with pytest.raises(CheckpointError, match=message) as caught:
        audiocraft.load_model(folder)
    assert audiocraft.LM in str(caught.value)


REFUSED_CODEC: dict[str, tuple[str, Any, str]] = {
    "DAC": ("compression_model", "dac", "compression_model='dac'"),
    "renormalised": ("encodec.renormalize", True, "renormalize=True"),
    "another norm": ("seanet.norm", "time_group_norm", "norm='time_group_norm'"),
    "tanh at the end": ("seanet.decoder.final_activation", "Tanh", "final_activation='Tanh'"),
    "half a trim": ("seanet.decoder.trim_right_ratio", 0.5, "trim_right_ratio=0.5"),
    "another slope": ("seanet.activation_params", {"alpha": 2.0}, "activation_params"),
    "an encoder of its own": ("seanet.encoder", {"n_filters": 4}, r"seanet\.encoder"),
    "causal by half": ("seanet.causal", True, "seanet says otherwise"),
    "no stride": ("seanet.ratios", [], "strides"),
    "endlessly many books": ("rvq.n_q", 10**12, "at most"),
    "endlessly many layers": ("seanet.n_residual_layers", 10**12, "residual_layers"),
    "another width": ("seanet.n_filters", 4, "its config makes it"),
}


@pytest.mark.parametrize("fault", REFUSED_CODEC)
def test_settings_of_the_codec_that_are_not_supported_are_named(folder, fault):
    path, value, message = REFUSED_CODEC[fault]
    write_codec_file(folder, codec_tensors(), changed(CODEC_SETTINGS, path, value))
    with pytest.raises(CheckpointError, match=message):
        audiocraft.load_model(folder)


def test_settings_are_data_and_nothing_else(folder):
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    for settings, message in (
        ("!!python/object/apply:os.getcwd []", "not YAML of plain data"),
        ("[" * 5_000, "not YAML of plain data"),
        ("a: [", "not YAML of plain data"),
        ("- a list", "expected a mapping, got list"),
        ("", "expected a mapping, got NoneType"),
        (bomb, "aliases"),
        ("x" * (2**20 + 1), "up to 1048576 characters"),
        (7, "got int"),
    ):
        write(folder, lm_tensors(), codec_tensors(), settings)  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match=message):
            audiocraft.load_model(folder)


# Names.


def style_tensors(width: int = 256, layers: int = 4) -> dict[str, Tensor]:
    """The conditions of a style model as audiocraft names them."""
    where = "condition_provider.conditioners.self_wav"
    made = {
        f"{where}.output_proj.weight": torch.randn(WIDTH, width),
        f"{where}.output_proj.bias": torch.randn(WIDTH),
        f"{where}.embed.weight": torch.randn(width, 768),
        f"{where}.embed.bias": torch.randn(width),
        f"{where}.batch_norm.running_mean": torch.randn(width),
        f"{where}.batch_norm.running_var": torch.rand(width),
        f"{where}.batch_norm.num_batches_tracked": torch.tensor(7),
    }
    for i in range(layers):
        layer = f"{where}.transformer.layers.{i}"
        for norm in ("norm1", "norm2"):
            made[f"{layer}.{norm}.weight"], made[f"{layer}.{norm}.bias"] = torch.randn(2, width)
        made[f"{layer}.self_attn.in_proj_weight"] = torch.randn(3 * width, width)
        made[f"{layer}.self_attn.out_proj.weight"] = torch.randn(width, width)
        made[f"{layer}.linear1.weight"] = torch.randn(4 * width, width)
        made[f"{layer}.linear2.weight"] = torch.randn(width, 4 * width)
    for k in range(6):
        codebook = f"{where}.rvq.vq.layers.{k}._codebook"
        made[f"{codebook}.inited"] = torch.ones(1)
        made[f"{codebook}.cluster_size"] = torch.rand(1_024)
        made[f"{codebook}.embed"] = torch.randn(1_024, width)
        made[f"{codebook}.embed_avg"] = torch.randn(1_024, width)
    return {name: tensor.clone() for name, tensor in made.items()}


def style_settings(scale: str) -> str:
    """As config/conditioner/style2music.yaml has them."""
    section = yaml.safe_load(f"""
        {{model_name: mert, transformer_scale: {scale}, sample_rate: '${{sample_rate}}', length: 3.0, ds_factor: 15,
         encodec_checkpoint: '//pretrained/facebook/encodec_32khz', encodec_n_q: 3, n_q_out: 6, eval_q: 3,
         q_dropout: true, bins: 1024, varying_lengths: [1.5, 4.5], batch_norm: true, compute_mask: true,
         num_codebooks_lm: '${{transformer_lm.n_q}}', ds_rate_compression: 640, use_middle_of_segment: false,
         rvq_threshold_ema_dead_code: 0.1}}
    """)
    settings = changed(PREPENDED, "fuser.prepend", ["self_wav", "description"])
    return changed(settings, "conditioners.self_wav", {"model": "style", "style": section})


def test_a_style_model_is_read_and_uses_its_own_weights(tmp_path):
    assert read_model(yaml.safe_load(style_settings("default")), CONFIG, TEXT_WIDTH).style == StyleConfig()
    theirs = lm_tensors(has_cross=False) | style_tensors()
    model = audiocraft.load_model(write(tmp_path / "m", theirs, codec_tensors(), style_settings("xsmall")))
    assert model.config.style == SMALL_STYLE
    embedded = model.style([torch.tensor([[3], [5], [8]])], model.span())["prefix"].values[0, 0]
    where = "condition_provider.conditioners.self_wav"
    summed = sum(theirs[f"{where}.rvq.vq.layers.{k}._codebook.embed"][code] for k, code in enumerate((3, 5, 8)))
    torch.testing.assert_close(
        embedded, theirs[f"{where}.output_proj.weight"] @ summed + theirs[f"{where}.output_proj.bias"]
    )
    assert model.style.batch_norm.num_batches_tracked == 7
    audiocraft.save_model(model, tmp_path / "again")
    again = stored(tmp_path / "again")[audiocraft.LM]
    assert bits(again) == bits(theirs)


def test_a_model_with_melody_and_style_has_no_place(make_model, tmp_path):
    model = as_t5(make_model, lm_changes={"has_cross_attention": False}, melody=MelodyConfig(), style=SMALL_STYLE)
    with pytest.raises(CheckpointError, match="one audio condition"):
        audiocraft.save_model(model, tmp_path / "m")


def test_the_window_of_a_chromagram_is_ignored(folder):
    window = {"condition_provider.conditioners.self_wav.chroma.spec.window": torch.hann_window(16)}
    audiocraft.load_model(write(folder, lm_tensors() | window, codec_tensors()))


def test_a_missing_or_left_over_tensor_is_named(folder):
    for change, message in (
        (lambda t: t.pop("linears.2.weight"), r"1 missing tensors, first linears\.2\.weight"),
        (
            lambda t: t.update({"transformer.layers.0.layer_scale_1.scale": torch.ones(16)}),
            "1 unknown tensors, first tra",
        ),
        (lambda t: t.pop(f"{DESCRIPTION}.weight"), "models without text are not read"),
        (lambda t: t.update({"emb.0.weight": torch.zeros(32, 16)}), r"emb\.0\.weight is \(32, 16\), its config"),
    ):
        theirs = lm_tensors()
        change(theirs)
        with pytest.raises(CheckpointError, match=message):
            audiocraft.load_model(write(folder, theirs, codec_tensors()))


def test_a_codec_given_by_name_is_looked_for_next_to_the_model_and_on_the_hub(folder, tmp_path, monkeypatch):
    expected = bits(audiocraft.load_model(folder).codec.state_dict())
    for place in (tmp_path / "encodec_32khz", tmp_path / "cache"):
        place.mkdir()
        (folder / audiocraft.CODEC).replace(place / audiocraft.CODEC)
        torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, folder / audiocraft.CODEC)
        monkeypatch.setattr(hub, "find", lambda _, place=place: place)
        assert bits(audiocraft.load_model(folder).codec.state_dict()) == expected
        (place / audiocraft.CODEC).replace(folder / audiocraft.CODEC)
        place.rmdir()


def doubled(times: int) -> list[object]:
    """A few bytes in a pickle, 2 ** ``times`` words when it is said."""
    nest: list[object] = []
    for _ in range(times):
        nest = [nest, nest]
    return nest


@pytest.mark.parametrize("name", ["dac_44khz", "", "../../etc/passwd", 7, doubled(100)], ids=range(5))
def test_a_codec_that_is_no_encodec_of_the_hub_is_reported(folder, name):
    torch.save({"pretrained": name, "exported": True}, folder / audiocraft.CODEC)
    with pytest.raises(CheckpointError, match="not a hub id"):
        audiocraft.load_model(folder)


def test_a_codec_that_is_nowhere_is_reported(folder, monkeypatch):
    def nowhere(name: str) -> Path:
        raise CheckpointError(f"{name}: HF_HUB_OFFLINE is set")

    monkeypatch.setattr(hub, "find", nowhere)
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, folder / audiocraft.CODEC)
    with pytest.raises(CheckpointError, match=r"only the name of one.*HF_HUB_OFFLINE is set"):
        audiocraft.load_model(folder)


def test_a_training_checkpoint_is_not_an_export(folder):
    torch.save({"model": lm_tensors(), "history": []}, folder / audiocraft.LM)
    with pytest.raises(CheckpointError, match="has no 'best_state'; export"):
        audiocraft.load_model(folder)


def test_a_text_encoder_of_another_width_is_reported(folder, monkeypatch, word_hashes):
    monkeypatch.setattr(audiocraft, "load_text_encoder", lambda *_: word_hashes(99))
    with pytest.raises(CheckpointError, match="vectors 99 wide"):
        audiocraft.load_model(folder)


def test_a_config_error_of_the_settings_is_a_config_error():
    with pytest.raises(ConfigError, match="compression_model=None"):
        read_codec({})
