"""The names of our tensors in the released layouts: one table per layout and part, used for reading and writing.

A table maps our names to theirs. A fused projection maps to several of their tensors, which stacked row by row are
ours. Reading starts from the tensors of a config and looks up each in the file; whatever is missing, left over or of
another shape is an error that names it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from torch import Tensor

from descant.codec.seanet import SEANetConfig
from descant.errors import CheckpointError

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """The names of one layout. In patterns ``{p}`` is one part of a name, ``{rest}`` any parts, other letters numbers.

    Args:
        rules: our pattern to theirs, or to several of theirs that ours concatenates by rows; the first match counts.
        fresh: ours that the layout does not have and that start at zero.
        ignored: theirs that add nothing to a config, each with the reason.
        spellings: suffixes of their names in some files, to the suffixes in the rules.
    """

    rules: Mapping[str, str | tuple[str, ...]]
    fresh: tuple[str, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)

    def under(self, ours: str = "", theirs: str = "") -> "KeyMap":
        """The same table with a prefix for our names and one for theirs."""
        rules = {
            ours + our: theirs + their if isinstance(their, str) else tuple(theirs + part for part in their)
            for our, their in self.rules.items()
        }
        ignored = {theirs + name: why for name, why in self.ignored.items()}
        return replace(self, rules=rules, fresh=tuple(ours + name for name in self.fresh), ignored=ignored)

    def __or__(self, other: "KeyMap") -> "KeyMap":
        """Both tables as one."""
        return KeyMap(
            rules={**self.rules, **other.rules},
            fresh=self.fresh + other.fresh,
            ignored={**self.ignored, **other.ignored},
            spellings={**self.spellings, **other.spellings},
        )

    def names(self, ours: str) -> tuple[str, ...]:
        """Their names for one of ours: one, several for a fused tensor, or none for a fresh one.

        Raises:
            CheckpointError: the layout has no such tensor.
        """
        if any(_matched(pattern, ours) is not None for pattern in self.fresh):
            return ()
        for pattern, theirs in self.rules.items():
            parts = _matched(pattern, ours)
            if parts is not None:
                return tuple(name.format(**parts) for name in ((theirs,) if isinstance(theirs, str) else theirs))
        raise CheckpointError(f"{ours} has no place in that layout: released models have no such part")

    def plan(self, expected: Mapping[str, Shape], found: Mapping[str, Shape], where: str) -> dict[str, tuple[str, ...]]:
        """For each of our names the names in a file that it concatenates by rows.

        No tensor is read: only the shapes of a config and those in a file are compared.

        Args:
            where: the file, for messages.

        Raises:
            CheckpointError: a tensor is missing, unknown, repeated, or of another shape.
        """
        spelled: dict[str, str] = {}
        for name in sorted(found):
            usual = self._usual(name)
            if usual in spelled:
                raise CheckpointError(f"{where}: {spelled[usual]} and {name} are the same tensor in two spellings")
            spelled[usual] = name
        sources = {name: self.names(name) for name in expected}
        used = {their for theirs in sources.values() for their in theirs}
        unknown = {name for name in set(spelled) - used if not self._is_ignored(name)}
        for problem, odd in (("unknown", unknown), ("missing", used - set(spelled))):
            if odd:
                first = sorted(odd)[0]
                raise CheckpointError(f"{where}: {len(odd)} {problem} tensors, first {spelled.get(first, first)}")
        for ours, theirs in sources.items():
            for name in theirs:
                shape, needed = tuple(found[spelled[name]]), _part(expected[ours], len(theirs))
                if shape != needed:
                    raise CheckpointError(f"{where}: {spelled[name]} is {shape}, its config makes it {needed}")
        return {ours: tuple(spelled[name] for name in theirs) for ours, theirs in sources.items()}

    def exported(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors from ours, without copies: parts of fused ones are views.

        Raises:
            CheckpointError: the layout has no place for one of ours.
        """
        theirs: dict[str, Tensor] = {}
        for name, tensor in ours.items():
            names = self.names(name)
            if names:
                parts = tensor.detach().chunk(len(names)) if len(names) > 1 else [tensor.detach()]
                theirs.update(zip(names, parts, strict=True))
        return theirs

    def _usual(self, name: str) -> str:
        for odd, usual in self.spellings.items():
            if name.endswith(odd):
                return name.removesuffix(odd) + usual
        return name

    def _is_ignored(self, name: str) -> bool:
        return any(_matched(pattern, name) is not None for pattern in self.ignored)


def _part(shape: Shape, count: int) -> Shape:
    return shape if count == 1 else (shape[0] // count, *shape[1:])


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> re.Pattern[str]:
    kinds = {"p": r"[^.]+", "rest": r".+"}
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile(
        "".join(
            f"(?P<{part}>{kinds.get(part, r'[0-9]+')})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )


def _matched(pattern: str, name: str) -> dict[str, str] | None:
    match = _compiled(pattern).fullmatch(name)
    return None if match is None else match.groupdict()


# Language models. Our names without the prefix "lm." of a whole model.

_HF_LAYER = "model.decoder.layers.{i}"
HUGGINGFACE_LM = KeyMap(
    rules={
        "embeddings.{k}.weight": "model.decoder.embed_tokens.{k}.weight",
        "blocks.{i}.norm1.{p}": f"{_HF_LAYER}.self_attn_layer_norm.{{p}}",
        "blocks.{i}.self_attention.qkv.weight": tuple(f"{_HF_LAYER}.self_attn.{x}_proj.weight" for x in "qkv"),
        "blocks.{i}.self_attention.out.weight": f"{_HF_LAYER}.self_attn.out_proj.weight",
        "blocks.{i}.norm_cross.{p}": f"{_HF_LAYER}.encoder_attn_layer_norm.{{p}}",
        "blocks.{i}.cross_attention.qkv.weight": tuple(f"{_HF_LAYER}.encoder_attn.{x}_proj.weight" for x in "qkv"),
        "blocks.{i}.cross_attention.out.weight": f"{_HF_LAYER}.encoder_attn.out_proj.weight",
        "blocks.{i}.norm2.{p}": f"{_HF_LAYER}.final_layer_norm.{{p}}",
        "blocks.{i}.mlp.up.weight": f"{_HF_LAYER}.fc1.weight",
        "blocks.{i}.mlp.down.weight": f"{_HF_LAYER}.fc2.weight",
        "norm.{p}": "model.decoder.layer_norm.{p}",
        "heads.{k}.weight": "lm_heads.{k}.weight",
    },
    ignored={"model.decoder.embed_positions.weights": "a table of sinusoids, computed where it is needed"},
)

_AC_LAYER = "transformer.layers.{i}"
_AC_BLOCKS: dict[str, str | tuple[str, ...]] = {
    "blocks.{i}.norm1.{p}": f"{_AC_LAYER}.norm1.{{p}}",
    "blocks.{i}.self_attention.qkv.weight": f"{_AC_LAYER}.self_attn.in_proj_weight",
    "blocks.{i}.self_attention.out.weight": f"{_AC_LAYER}.self_attn.out_proj.weight",
    "blocks.{i}.norm_cross.{p}": f"{_AC_LAYER}.norm_cross.{{p}}",
    "blocks.{i}.cross_attention.qkv.weight": f"{_AC_LAYER}.cross_attention.in_proj_weight",
    "blocks.{i}.cross_attention.out.weight": f"{_AC_LAYER}.cross_attention.out_proj.weight",
    "blocks.{i}.norm2.{p}": f"{_AC_LAYER}.norm2.{{p}}",
    "blocks.{i}.mlp.up.weight": f"{_AC_LAYER}.linear1.weight",
    "blocks.{i}.mlp.down.weight": f"{_AC_LAYER}.linear2.weight",
}
AUDIOCRAFT_LM = KeyMap(
    rules={
        "embeddings.{k}.weight": "emb.{k}.weight",
        **_AC_BLOCKS,
        "norm.{p}": "out_norm.{p}",
        "heads.{k}.weight": "linears.{k}.weight",
    },
)


def _codebooks(theirs: str) -> dict[str, str | tuple[str, ...]]:
    """The names of a quantiser's codebooks."""
    return {
        "quantizer.levels.{k}.codebook": f"{theirs}.embed",
        "quantizer.levels.{k}.codebook_sum": f"{theirs}.embed_avg",
        "quantizer.levels.{k}.usage": f"{theirs}.cluster_size",
        "quantizer.levels.{k}.is_initialized": f"{theirs}.inited",
    }


_FRESH = ("quantizer.batches_seen",)

# Conditioners. Our names as in a whole model.

HUGGINGFACE_CONDITIONS = KeyMap(
    rules={"text.project.{p}": "enc_to_dec_proj.{p}", "melody.project.{p}": "audio_enc_to_dec_proj.{p}"}
)
HUGGINGFACE_MUSICGEN = HUGGINGFACE_LM.under("lm.", "decoder.") | HUGGINGFACE_CONDITIONS
"""A whole model without its codec and its text encoder, by our names in a whole model."""

_AC_PROJECTION = KeyMap(rules={"project.{p}": "output_proj.{p}"})
_AC_STYLE = KeyMap(
    rules={
        "embed.{p}": "embed.{p}",
        **_AC_BLOCKS,
        "batch_norm.{p}": "batch_norm.{p}",
        **_codebooks("rvq.vq.layers.{k}._codebook"),
    },
    fresh=_FRESH,
    ignored={"chroma.{rest}": "the chromagram's window, computed where it is needed"},
)
_AC_CONDITIONER = "condition_provider.conditioners"
# A model has melody or style conditioning, never both.
AUDIOCRAFT_CONDITIONS = (
    _AC_PROJECTION.under("text.", f"{_AC_CONDITIONER}.description.")
    | _AC_PROJECTION.under("melody.", f"{_AC_CONDITIONER}.self_wav.")
    | (_AC_PROJECTION | _AC_STYLE).under("style.", f"{_AC_CONDITIONER}.self_wav.")
)

# Codecs. Our names without the prefix "codec." or "codec.mono." of a whole model.

_NORMS = ("weight_g", "weight_v")
_PARAMETRIZED = ("parametrizations.weight.original0", "parametrizations.weight.original1")

HUGGINGFACE_CODEC = KeyMap(
    rules={
        "encoder.layers.{rest}": "encoder.layers.{rest}",
        "decoder.layers.{rest}": "decoder.layers.{rest}",
        **_codebooks("quantizer.layers.{k}.codebook"),
    },
    fresh=_FRESH,
    spellings=dict(zip(_NORMS, _PARAMETRIZED, strict=True)),
)


def audiocraft_codec_keys(config: SEANetConfig) -> KeyMap:
    """The names of an EnCodec of this shape in audiocraft, where transposed convolutions have another name."""
    rules: dict[str, str | tuple[str, ...]] = {}
    for layer in _transposed_layers(config):
        rules |= _audiocraft_conv(f"decoder.layers.{layer}.conv", f"decoder.model.{layer}.convtr.convtr")
    for half in ("encoder", "decoder"):
        for place in ("", ".block.{j}", ".shortcut"):
            rules |= _audiocraft_conv(f"{half}.layers.{{i}}{place}.conv", f"{half}.model.{{i}}{place}.conv.conv")
        rules[f"{half}.layers.{{i}}.lstm.{{p}}"] = f"{half}.model.{{i}}.lstm.{{p}}"
    rules |= _codebooks("quantizer.vq.layers.{k}._codebook")
    return KeyMap(rules=rules, fresh=_FRESH, spellings=dict(zip(_PARAMETRIZED, _NORMS, strict=True)))


def _audiocraft_conv(ours: str, theirs: str) -> dict[str, str]:
    norms = {f"{ours}.{our}": f"{theirs}.{their}" for our, their in zip(_PARAMETRIZED, _NORMS, strict=True)}
    return {f"{ours}.bias": f"{theirs}.bias", **norms}


def _transposed_layers(config: SEANetConfig) -> list[int]:
    """The decoder's layers that are transposed convolutions: after an activation, before residual blocks."""
    first = 2 + (config.lstm_layers > 0)
    return [first + stage * (2 + config.residual_layers) for stage in range(len(config.strides))]
