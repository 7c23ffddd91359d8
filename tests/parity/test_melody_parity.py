"""Our melody model against transformers' MusicgenMelodyForConditionalGeneration, from a tiny random config.

transformers 4.57 to 5.5 ignored the melody (huggingface/transformers#45647): where its own logits do not change with
the melody there is nothing to agree with, and the tests of agreement are skipped.
"""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.codec.encodec import EnCodecConfig
from descant.conditioning.base import TextEncoder
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.melody import null_melody
from descant.conditioning.text import T5Text
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.lm.model import LMConfig
from descant.model import MusicGenConfig, MusicGenModel
from descant.nn.transformer import TransformerConfig
from descant.patterns import delay

transformers = pytest.importorskip("transformers")

WIDTH, HEADS, LAYERS, CODEBOOKS, SIZE, TEXT_DIM = 32, 4, 3, 4, 32, 16
MELODY = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11)


class TheirText(TextEncoder):
    """Their text encoder, read one text at a time; a text is the numbers of its tokens."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    @property
    def dim(self) -> int:
        return TEXT_DIM

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> "TheirText":
        del device
        return self

    @torch.no_grad()
    def states(self, text: str) -> Float[Tensor, "L D"]:
        tokens = torch.tensor([[int(word) for word in text.split()]])
        return self.network(input_ids=tokens).last_hidden_state[0]


def renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names for their language model and projections; every one of theirs must be used."""
    theirs = {name: tensor for name, tensor in theirs.items() if not name.startswith(("text_encoder", "audio_encoder"))}
    ours = {}
    for our, their in (("text", "enc_to_dec_proj"), ("melody", "audio_enc_to_dec_proj")):
        for part in ("weight", "bias"):
            ours[f"{our}.project.{part}"] = theirs.pop(f"{their}.{part}")
    for k in range(CODEBOOKS):
        ours[f"lm.embeddings.{k}.weight"] = theirs.pop(f"decoder.model.decoder.embed_tokens.{k}.weight")
        ours[f"lm.heads.{k}.weight"] = theirs.pop(f"decoder.lm_heads.{k}.weight")
    names = {"self_attention.out": "self_attn.out_proj", "mlp.up": "fc1", "mlp.down": "fc2"}
    norms = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
    for i in range(LAYERS):
        there, here = f"decoder.model.decoder.layers.{i}", f"lm.blocks.{i}"
        parts = [theirs.pop(f"{there}.self_attn.{part}_proj.weight") for part in "qkv"]
        ours[f"{here}.self_attention.qkv.weight"] = torch.cat(parts)
        for our, their in names.items():
            ours[f"{here}.{our}.weight"] = theirs.pop(f"{there}.{their}.weight")
        for our, their in norms.items():
            for part in ("weight", "bias"):
                ours[f"{here}.{our}.{part}"] = theirs.pop(f"{there}.{their}.{part}")
    for part in ("weight", "bias"):
        ours[f"lm.norm.{part}"] = theirs.pop(f"decoder.model.decoder.layer_norm.{part}")
    assert not [name for name in theirs if "embed_positions" not in name]
    return ours


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(1)
    config = transformers.MusicgenMelodyConfig(
        text_encoder=transformers.T5Config(
            vocab_size=30, d_model=TEXT_DIM, d_kv=4, d_ff=32, num_layers=1, num_heads=4, decoder_start_token_id=0
        ).to_dict(),
        audio_encoder=transformers.EncodecConfig(
            num_filters=2, hidden_size=8, codebook_dim=8, codebook_size=SIZE, sampling_rate=32_000, num_lstm_layers=1
        ).to_dict(),
        decoder=transformers.MusicgenMelodyDecoderConfig(
            vocab_size=SIZE,
            max_position_embeddings=64,
            num_hidden_layers=LAYERS,
            ffn_dim=4 * WIDTH,
            num_attention_heads=HEADS,
            hidden_size=WIDTH,
            num_codebooks=CODEBOOKS,
            pad_token_id=SIZE,
            bos_token_id=SIZE,
            dropout=0.0,
        ).to_dict(),
        chroma_length=MELODY.num_frames,
    )
    model = transformers.MusicgenMelodyForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if not name.startswith("audio_encoder"):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def ours(theirs) -> MusicGenModel:
    config = MusicGenConfig(
        codec=EnCodecConfig(filters=2, latent_dim=8, lstm_layers=1, codebook_size=SIZE, kmeans_iterations=1),
        lm=LMConfig(
            num_codebooks=CODEBOOKS,
            codebook_size=SIZE,
            transformer=TransformerConfig(width=WIDTH, num_heads=HEADS, num_layers=LAYERS, has_cross_attention=False),
        ),
        pattern=delay(CODEBOOKS),
        text=T5Text(name="theirs", dim=TEXT_DIM),
        melody=MELODY,
    )
    model = MusicGenModel(config, TheirText(theirs.text_encoder)).eval().requires_grad_(False)
    codec = {f"codec.{name}": tensor for name, tensor in model.codec.state_dict().items()}
    model.load_state_dict({**codec, **renamed(theirs.state_dict())})
    return model


def one_hot(pitches: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(pitches, 12).float()


@torch.no_grad()
def their_logits(theirs, tokens, mask, melody, sequence) -> Tensor:
    logits = theirs(
        input_ids=tokens, attention_mask=mask, input_features=melody, decoder_input_ids=sequence.flatten(0, 1)
    ).logits
    # Theirs are those of the prefix too.
    return logits.unflatten(0, (len(sequence), CODEBOOKS))[:, :, -sequence.shape[-1] :]


TOKENS = torch.tensor([[5, 6, 7, 1], [9, 1, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
TEXTS = ("5 6 7 1", "9 1")


def levels(pitches: Tensor) -> Tensor:
    return 255 * torch.nn.functional.one_hot(pitches, 12)


@pytest.fixture(scope="module")
def obeyed(theirs) -> None:
    sequence = torch.full((2, CODEBOOKS, 1), SIZE)
    melodies = [one_hot(torch.full((2, MELODY.num_frames), pitch)) for pitch in (3, 8)]
    first, second = (their_logits(theirs, TOKENS, MASK, melody, sequence) for melody in melodies)
    if torch.equal(first, second):
        pytest.skip(f"transformers {transformers.__version__} ignores the melody (huggingface/transformers#45647)")


@torch.no_grad()
@pytest.mark.usefixtures("obeyed")
@pytest.mark.parametrize("is_cached", [False, True], ids=["one pass", "cached"])
def test_our_logits_are_theirs_with_melody_and_text(ours, theirs, is_cached):
    generator = torch.Generator().manual_seed(0)
    sequence = torch.randint(0, SIZE + 1, (2, CODEBOOKS, 9), generator=generator)
    pitches = torch.randint(0, 12, (2, MELODY.num_frames), generator=generator)
    inputs = ours.inputs(
        ours.prepare([{"text": text, "melody": row} for text, row in zip(TEXTS, levels(pitches), strict=True)]),
        ours.span(),
    )
    expected = their_logits(theirs, TOKENS, MASK, one_hot(pitches), sequence)
    if is_cached:
        cache = ours.lm.new_cache(2, 9, inputs)
        logits = torch.cat([ours.lm(step, inputs, cache) for step in sequence.split(1, dim=-1)], dim=2)
    else:
        logits = ours.lm(sequence, inputs)
    scale = float(expected.abs().max())
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * scale)


@torch.no_grad()
@pytest.mark.usefixtures("obeyed")
def test_no_melody_is_theirs(ours, theirs):
    sequence = torch.randint(0, SIZE + 1, (2, CODEBOOKS, 5), generator=torch.Generator().manual_seed(0))
    expected = their_logits(theirs, TOKENS, MASK, None, sequence)
    logits = ours.lm(sequence, ours.inputs(ours.prepare([{"text": text} for text in TEXTS]), ours.span()))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(null_melody(MELODY), levels(torch.zeros(MELODY.num_frames, dtype=torch.long)))


@torch.no_grad()
@pytest.mark.usefixtures("obeyed")
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_greedy_generation_gives_their_codes(ours, theirs, scale):
    """Their greedy loop, less what it does around a single prompt: the language model alone, step by step."""
    num_frames, pitches = 6, torch.arange(MELODY.num_frames)
    null = torch.zeros(MELODY.num_frames, dtype=torch.long)
    melody = one_hot(torch.stack([pitches, null]))
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    steps = delay(CODEBOOKS).steps(num_frames)
    codes = torch.zeros(CODEBOOKS, num_frames, dtype=torch.long)
    for step in range(1, int(steps.max()) + 1):
        sequence = torch.full((2, CODEBOOKS, step), SIZE)
        for codebook, frame in (steps < step).nonzero():
            sequence[:, codebook, steps[codebook, frame]] = codes[codebook, frame]
        towards, against = their_logits(theirs, TOKENS[:1].repeat(2, 1), mask, melody, sequence)[:, :, -1]
        guided = against + scale * (towards - against)
        for codebook, frame in (steps == step).nonzero():
            codes[codebook, frame] = guided[codebook].argmax()
    request = Request(
        text=TEXTS[0],
        melody_chroma=levels(pitches),
        duration_s=num_frames * 0.02,
        sampling=Sampling(greedy=True),
        guidance=Guidance(scale=scale),
    )
    assert torch.equal(Engine(ours).generate([request])[0].codes, codes)


def test_two_melodies_of_sound_give_two_pieces(ours):
    times = torch.arange(8_000) / 8_000
    clips = [Clip(0.5 * torch.sin(2 * torch.pi * rate * times)[None], 8_000) for rate in (330.0, 440.0)]
    requests = [Request(text="5 1", melody=clip, duration_s=0.2, seed=1) for clip in clips]
    first, second = (made.codes for made in Engine(ours).generate(requests))
    assert not torch.equal(first, second)
