"""Files in audiocraft's layout, made from the names that released ones have, in tiny shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from descant.checkpoints import audiocraft
from descant.codec.encodec import EnCodecConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.text import T5Text

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
    yaml = pytest.importorskip("yaml")
    plain = inner = yaml.safe_load(settings)
    *parents, last = path.split(".")
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return yaml.safe_dump(plain)


def stored(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {
        name: torch.load(folder / name, weights_only=True)["best_state"] for name in (audiocraft.LM, audiocraft.CODEC)
    }


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def assert_close_at_scale(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def as_t5(make_model: Callable[..., Any], **changes: object) -> Any:
    return make_model(text=T5Text(name="t5-base", dim=TEXT_WIDTH), **changes)
