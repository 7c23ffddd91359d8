"""audiocraft's layout: what it says is what is computed, and what is written there is read back bit for bit."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from descant.checkpoints import audiocraft, native
from descant.checkpoints.audiocraft_codec import read_codec, write_codec
from descant.checkpoints.audiocraft_config import read_model, write_model
from descant.codec.any import StereoCodecConfig
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError
from descant.lm.model import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.rvq import RVQConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import CoarseFirst, Delay, Flatten, Grouped, PartialFlatten, delay, parallel, stereo_partial_delay
from descant.presets import medium, melody, small, stereo_melody, stereo_small, style, tiny
from tests.checkpoints.audiocraft_files import (
    BOOKS,
    CONFIG,
    DESCRIPTION,
    ENTRIES,
    LAYERS,
    LM_SETTINGS,
    SMALL_STYLE,
    TEXT_WIDTH,
    WIDTH,
    as_t5,
    assert_close_at_scale,
    bits,
    changed,
    codec_tensors,
    lm_tensors,
    stored,
    write,
)

yaml = pytest.importorskip("yaml")


PREPENDED = changed(changed(LM_SETTINGS, "fuser.cross", []), "fuser.prepend", ["description"])

pytestmark = pytest.mark.usefixtures("stand_ins")


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


def test_from_their_layout_to_ours_and_back_every_tensor_keeps_its_bits(folder, tmp_path):
    native.save_model(audiocraft.load_model(folder), tmp_path / "ours")
    audiocraft.save_model(native.load_model(tmp_path / "ours"), tmp_path / "again")
    before, after = stored(folder), stored(tmp_path / "again")
    for name in (audiocraft.LM, audiocraft.CODEC):
        assert bits(after[name]) == bits(before[name])
    assert audiocraft.read_model_config(tmp_path / "again") == audiocraft.read_model_config(folder)


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
