"""transformers' configs of MusicGen and EnCodec, as dataclasses.

Names and defaults are transformers'. A type that allows one value only is a setting whose other values are not
supported; a key that is neither in a class nor in ``IGNORED_KEYS`` is an error.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from descant import config as configs
from descant.codec.encodec import EnCodecConfig
from descant.errors import ConfigError
from descant.lm.model import LMConfig
from descant.nn.conv import PaddingMode
from descant.nn.transformer import TransformerConfig

Section = TypeVar("Section")

IGNORED_KEYS = frozenset(
    """
    _attn_implementation_autoset _commit_hash _name_or_path architectures auto_map dtype torch_dtype torchscript
    transformers_version use_cache output_attentions output_hidden_states return_dict is_encoder_decoder is_decoder
    add_cross_attention tie_encoder_decoder use_bfloat16 tf_legacy_loss chunk_size_feed_forward pruned_heads
    finetuning_task id2label label2id num_labels problem_type task_specific_params tokenizer_class prefix
    sep_token_id decoder_start_token_id initializer_factor initializer_range classifier_dropout
    max_position_embeddings dropout attention_dropout activation_dropout layerdrop overlap bad_words_ids
    begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length min_length
    no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores remove_invalid_values
    repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p typical_p tie_word_embeddings
    """.split()  # noqa: SIM905
)
"""Keys of transformers' configs that do not change what a released model computes: metadata, training, generation."""

RATE = 1_000


@dataclass(frozen=True, kw_only=True)
class EncodecSection:
    """transformers' EncodecConfig."""

    model_type: Literal["encodec"] = "encodec"
    sampling_rate: int = 24_000
    audio_channels: int = 1
    hidden_size: int = 128
    num_filters: int = 32
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    num_residual_layers: int = 1
    dilation_growth_rate: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    use_conv_shortcut: bool = True
    pad_mode: PaddingMode = "reflect"
    use_causal_conv: bool = True
    codebook_size: int = 1_024
    codebook_dim: int | None = None
    target_bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    normalize: Literal[False] = False
    chunk_length_s: Literal[None] = None
    norm_type: Literal["weight_norm"] = "weight_norm"
    trim_right_ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.codebook_dim not in (None, self.hidden_size):
            raise ConfigError(f"codebook_dim={self.codebook_dim}: must be hidden_size={self.hidden_size}, or null")
        if self.trim_right_ratio != 1:
            raise ConfigError(f"trim_right_ratio={self.trim_right_ratio:g}: only 1 is allowed")

    @property
    def ours(self) -> EnCodecConfig:
        """Our config of the codec."""
        return EnCodecConfig(
            **{our: getattr(self, their) for our, their in CODEC_FIELDS.items()}, num_codebooks=self.num_codebooks
        )

    @property
    def num_codebooks(self) -> int:
        """The number of codebooks of the largest bandwidth (kbit/s, whole bits per code)."""
        frame_rate = math.ceil(self.sampling_rate / max(math.prod(self.upsampling_ratios), 1))
        bits = frame_rate * max((self.codebook_size - 1).bit_length(), 1)
        return int(RATE * self.target_bandwidths[-1] // max(bits, 1)) if self.target_bandwidths else 0


CODEC_FIELDS = {
    "sample_rate_hz": "sampling_rate",
    "num_channels": "audio_channels",
    "latent_dim": "hidden_size",
    "filters": "num_filters",
    "strides": "upsampling_ratios",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "residual_layers": "num_residual_layers",
    "dilation_growth": "dilation_growth_rate",
    "compress": "compress",
    "lstm_layers": "num_lstm_layers",
    "has_conv_shortcut": "use_conv_shortcut",
    "padding_mode": "pad_mode",
    "is_causal": "use_causal_conv",
    "codebook_size": "codebook_size",
}


@dataclass(frozen=True, kw_only=True)
class DecoderSection:
    """transformers' MusicgenDecoderConfig and MusicgenMelodyDecoderConfig."""

    model_type: Literal["musicgen_decoder", "musicgen_melody_decoder"] = "musicgen_decoder"
    vocab_size: int = 2_048
    hidden_size: int = 1_024
    ffn_dim: int = 4_096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_codebooks: int = 4
    audio_channels: Literal[1, 2] = 1
    activation_function: Literal["gelu"] = "gelu"
    scale_embedding: Literal[False] = False
    tie_word_embeddings: Literal[False] = False
    cross_attention_hidden_size: int | None = None
    pad_token_id: int = 2_048
    bos_token_id: int = 2_048
    eos_token_id: Literal[None] = None

    def __post_init__(self) -> None:
        if self.hidden_size < 1 or self.ffn_dim % self.hidden_size:
            raise ConfigError(f"ffn_dim={self.ffn_dim}: must be a multiple of hidden_size={self.hidden_size}")
        if not self.pad_token_id == self.bos_token_id == self.vocab_size:
            raise ConfigError(
                f"pad_token_id={self.pad_token_id}, bos_token_id={self.bos_token_id}: both must be "
                f"vocab_size={self.vocab_size}, the special code"
            )
        if self.num_codebooks < 1 or self.num_codebooks % self.audio_channels:
            raise ConfigError(
                f"num_codebooks={self.num_codebooks}: must be as many for each of audio_channels={self.audio_channels}"
            )

    @property
    def ours(self) -> LMConfig:
        """Our config of the language model."""
        return LMConfig(
            num_codebooks=self.num_codebooks,
            codebook_size=self.vocab_size,
            transformer=TransformerConfig(
                width=self.hidden_size,
                num_heads=self.num_attention_heads,
                num_layers=self.num_hidden_layers,
                mlp_scale=self.ffn_dim // self.hidden_size,
                has_cross_attention=self.model_type == "musicgen_decoder",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class MusicGenSection:
    """transformers' MusicgenConfig and MusicgenMelodyConfig."""

    model_type: Literal["musicgen", "musicgen_melody"]
    text_encoder: dict[str, Any]
    audio_encoder: EncodecSection
    decoder: DecoderSection
    num_chroma: int = 12
    chroma_length: int = 235


def section_of(kind: type[Section], plain: dict[str, Any], path: str) -> Section:
    """A section from JSON, without ignored keys and nulls."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known: dict[str, Any] = {}
    for name, value in plain.items():
        kind_inside = {"audio_encoder": EncodecSection, "decoder": DecoderSection}.get(name)
        if name in fields and kind_inside is not None and isinstance(value, dict):
            known[name] = configs.to_dict(section_of(kind_inside, value, name))
        elif name in fields or (name not in IGNORED_KEYS and value is not None):
            known[name] = value
    return configs.from_dict(kind, known, path)
