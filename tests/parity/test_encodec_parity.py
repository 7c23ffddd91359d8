"""Our EnCodec against transformers', from a small random config: no weights, no network."""

import pytest
import torch

from descant.codec.encodec import EnCodec, EnCodecConfig

transformers = pytest.importorskip("transformers", reason="transformers")

LENGTHS = [1, 3, 7, 8, 61, 200]


def pair(*, padding_mode: str, is_causal: bool, has_conv_shortcut: bool, residual_layers: int):
    """transformers' codec with random codebooks, and ours holding the same numbers."""
    torch.manual_seed(0)
    theirs = transformers.EncodecModel(
        transformers.EncodecConfig(
            # 100 frames a second of 4 bits: 0.8 kbit/s is exactly the two codebooks there are.
            sampling_rate=800,
            target_bandwidths=[0.8],
            upsampling_ratios=[4, 2],
            num_filters=4,
            num_residual_layers=residual_layers,
            num_lstm_layers=2,
            hidden_size=8,
            codebook_dim=8,
            codebook_size=16,
            pad_mode=padding_mode,
            use_causal_conv=is_causal,
            use_conv_shortcut=has_conv_shortcut,
            chunk_length_s=None,
            normalize=False,
        )
    ).eval()
    ours = EnCodec(
        EnCodecConfig(
            sample_rate_hz=800,
            strides=(4, 2),
            filters=4,
            residual_layers=residual_layers,
            latent_dim=8,
            num_codebooks=2,
            codebook_size=16,
            padding_mode=padding_mode,
            is_causal=is_causal,
            has_conv_shortcut=has_conv_shortcut,
        )
    ).eval()
    for layer in theirs.quantizer.layers:
        layer.codebook.embed.normal_()
    with torch.no_grad():
        for parameter in theirs.parameters():
            # Biases start near zero in transformers: a wrong place would go unseen.
            parameter.add_(0.1 * torch.randn_like(parameter))
    halves = {name: value for name, value in theirs.state_dict().items() if not name.startswith("quantizer.")}
    codebooks = {
        f"quantizer.levels.{index}.codebook": layer.codebook.embed
        for index, layer in enumerate(theirs.quantizer.layers)
    }
    missing, unexpected = ours.load_state_dict({**halves, **codebooks}, strict=False)
    assert not unexpected
    assert all(name.endswith((".codebook_sum", ".usage", ".is_initialized", ".batches_seen")) for name in missing)
    return ours, theirs


SHAPES = [
    {"padding_mode": "reflect", "is_causal": False, "has_conv_shortcut": False, "residual_layers": 1},
    {"padding_mode": "constant", "is_causal": False, "has_conv_shortcut": False, "residual_layers": 2},
    {"padding_mode": "reflect", "is_causal": True, "has_conv_shortcut": True, "residual_layers": 1},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(str(value) for value in shape.values()))
def test_our_codec_is_transformers_codec(shape):
    ours, theirs = pair(**shape)
    for num_samples in LENGTHS:
        wave = torch.randn(2, 1, num_samples)
        with torch.no_grad():
            torch.testing.assert_close(ours.encoder(wave), theirs.encoder(wave), rtol=0, atol=1e-5)
            encoded = theirs.encode(wave)
            codes = ours.encode(wave)
            assert torch.equal(codes, encoded.audio_codes[0])
            decoded = theirs.decode(encoded.audio_codes, encoded.audio_scales).audio_values
            torch.testing.assert_close(ours.decode(codes), decoded, rtol=0, atol=1e-5)


def test_the_shortcut_and_the_padding_are_what_the_parity_sees():
    """A reference that no setting moves would agree with anything."""
    wave = torch.randn(1, 1, 61)
    outputs = []
    for shape in SHAPES[:2]:
        ours, _ = pair(**{**shape, "residual_layers": 1})
        outputs.append(ours.encoder(wave))
    assert not torch.allclose(*outputs, atol=1e-3)
