"""The operations of a language model's forward pass, as programs of compiled functions."""

from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int32
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import Target
from descant.compiled.library import Library, compiled_library
from descant.compiled.workers import Job, Operation
from descant.generation.runtimes.native.attention import add_attention
from descant.generation.runtimes.native.buffers import Buffers
from descant.generation.runtimes.native.cache import CacheFormat
from descant.generation.runtimes.native.integers import QuantizeWord
from descant.generation.runtimes.native.kernels import (
    EmbedWord,
    HeadShape,
    HeadWord,
    NormWord,
    StateWord,
    TokenWord,
    add_embed,
    add_heads,
    add_norm,
)
from descant.generation.runtimes.native.packing import (
    INTEGERS,
    PANEL,
    PackedFormat,
    PackedWeight,
    address_of,
    padded,
)
from descant.generation.runtimes.native.products import ProductWord, add_products
from descant.generation.runtimes.native.weights import PackedAttention, PackedLM, PackedNorm
from descant.lm.model import LMConfig

TILE_WEIGHTS = 2**15
"""About how many weights a tile of a product multiplies."""


@cache
def products_library(format: PackedFormat, target: Target) -> Library:
    """The products with one format of weights."""
    return compiled_library(target, add_products, format, target)


@cache
def kernels_library(shape: HeadShape, has_cross: bool, target: Target) -> Library:
    """Everything else, for one shape of model."""
    return compiled_library(target, add_kernels, shape, has_cross)


def add_kernels(module: ir.Module, shape: HeadShape, has_cross: bool) -> None:
    """All functions of a step but the products."""
    add_embed(module, "embed", shape)
    add_norm(module, "norm", shape.width)
    add_norm(module, "norm_output", shape.width, adds_output=True)
    add_heads(module, "heads", shape, TokenWord.STEPS, "qkv")
    add_attention(module, "attend", shape, TokenWord.STEPS)
    if has_cross:
        plain = replace(shape, is_rotary=False)
        add_heads(module, "cross_queries", plain, TokenWord.CONDITIONS, "q")
        add_heads(module, "cross_keys", plain, TokenWord.CONDITIONS, "kv")
        add_attention(module, "cross_attend", plain, TokenWord.CONDITIONS)


class ProgramBuilder:
    """Collects operations on the same buffers."""

    def __init__(
        self,
        shape: HeadShape,
        weights: PackedLM,
        buffers: Buffers,
        positions: Float[Tensor, "S _"],
        target: Target,
    ) -> None:
        self.shape, self.weights, self.buffers, self.positions = shape, weights, buffers, positions
        self.target = target
        self.kernels = kernels_library(shape, any(block.cross is not None for block in weights.blocks), target)
        self.operations: list[Operation] = []
        # Threads that begin at once may each compile them; the cache keeps only those of one thread.
        self._libraries: set[Library] = {self.kernels}

    def job(self) -> Job:
        """The collected operations as a job."""
        kept = (self.weights, self.buffers, self.positions, self._libraries)
        return Job(self.operations, self.buffers.state, kept)

    def embed(self) -> None:
        """The tokens' first hidden states."""
        words = np.zeros(len(EmbedWord), np.int64)
        words[EmbedWord.EMBEDDINGS] = address_of(self.weights.embeddings)
        words[EmbedWord.STRIDE] = self.buffers.hidden.shape[1]
        words[EmbedWord.NUM_CODEBOOKS] = self.weights.num_codebooks
        words[EmbedWord.NUM_ENTRIES] = len(self.weights.embeddings) // self.weights.num_codebooks
        words[EmbedWord.POSITIONS], words[EmbedWord.HIDDEN] = (
            address_of(self.positions),
            address_of(self.buffers.hidden),
        )
        self._add(self.kernels.address("embed"), words, tiles_per_token=1)

    def norm(self, norm: PackedNorm, name: str = "norm") -> None:
        """Layer norm of the hidden states."""
        words = np.zeros(len(NormWord), np.int64)
        words[[NormWord.X, NormWord.X_STRIDE]] = address_of(self.buffers.hidden), self.buffers.hidden.shape[1]
        words[[NormWord.Y, NormWord.Y_STRIDE]] = address_of(self.buffers.normed), self.buffers.normed.shape[1]
        words[[NormWord.WEIGHT, NormWord.BIAS]] = address_of(norm.weight), address_of(norm.bias)
        self._add(self.kernels.address(name), words, tiles_per_token=1)

    def product(
        self,
        x: Tensor,
        weight: PackedWeight,
        y: Tensor | None,
        epilogue: str = "store",
        gain: float = 1.0,
        rows: StateWord = StateWord.NUM_TOKENS,
    ) -> list[np.ndarray]:
        """y = x W with its change, its GELU, or y + gain * x W; gives the words of the products that write to y.
        Without ``y`` the caller puts in where it is. ``rows`` says how many tokens are multiplied."""
        if weight.change is None:
            return [self._product(x, weight, y, epilogue, gain, rows)]
        down, up = weight.change
        words = self._product(x, weight, y, "store" if epilogue == "gelu" else epilogue, gain, rows)
        self._product(x, down, self.buffers.low_rank, rows=rows)
        last = "add_gelu" if epilogue == "gelu" else "add"
        return [words, self._product(self.buffers.low_rank, up, y, last, gain, rows)]

    def _product(
        self,
        x: Tensor,
        weight: PackedWeight,
        y: Tensor | None,
        epilogue: str = "store",
        gain: float = 1.0,
        rows: StateWord = StateWord.NUM_TOKENS,
    ) -> np.ndarray:
        library = products_library(weight.format, self.target)
        self._libraries.add(library)
        if weight.format in INTEGERS:
            x = self._quantized(library, x, padded(weight.num_inputs))
        words = np.zeros(len(ProductWord), np.int64)
        num_panels, panel_bytes = weight.panels.shape
        per_tile = max(1, TILE_WEIGHTS // (PANEL * padded(weight.num_inputs)))
        words[ProductWord.X], words[ProductWord.X_STRIDE] = address_of(x), x.shape[1]
        if y is not None:
            words[ProductWord.Y], words[ProductWord.Y_STRIDE] = address_of(y), y.shape[1]
        words[ProductWord.WEIGHT] = address_of(weight.panels)
        words[ProductWord.SCALES] = 0 if weight.scales is None else address_of(weight.scales)
        words[ProductWord.NUM_INPUTS] = padded(weight.num_inputs)
        words[ProductWord.NUM_PANELS], words[ProductWord.PANELS_PER_TILE] = num_panels, per_tile
        words[ProductWord.PANEL_BYTES] = panel_bytes
        words[ProductWord.NUM_ROWS] = rows
        words[ProductWord.GAIN] = int(np.float32(gain).view(np.int32))
        self._add(library.address(f"product_{weight.format}_{epilogue}"), words, tiles=-(-num_panels // per_tile))
        return words

    def _quantized(self, library: Library, x: Float[Tensor, "T wide"], num_inputs: int) -> Int32[Tensor, "T words"]:
        """Where x is rounded to 8 or 16 bits, which it is from here on."""
        y, words = self.buffers.quantized, np.zeros(len(QuantizeWord), np.int64)
        words[QuantizeWord.X], words[QuantizeWord.X_STRIDE] = address_of(x), x.shape[1]
        words[QuantizeWord.Y], words[QuantizeWord.Y_STRIDE] = address_of(y), y.shape[1]
        words[QuantizeWord.NUM_INPUTS] = num_inputs
        self._add(library.address("quantize"), words, tiles_per_token=1)
        return y

    def heads(self, name: str, layer: int, attention: PackedAttention) -> None:
        """Queries, keys and values of one layer."""
        self._add(self.kernels.address(name), self._head_words(layer, attention), tiles_per_token=1)

    def attend(self, name: str, layer: int, attention: PackedAttention) -> None:
        """Attention of one layer."""
        words = self._head_words(layer, attention)
        self._add(self.kernels.address(name), words, tiles_per_token=self.shape.num_heads)

    def _head_words(self, layer: int, attention: PackedAttention) -> np.ndarray:
        buffers = self.buffers
        words = np.zeros(len(HeadWord), np.int64)
        words[HeadWord.SOURCE], words[HeadWord.SOURCE_STRIDE] = address_of(buffers.wide), buffers.wide.shape[1]
        words[HeadWord.QUERIES], words[HeadWord.QUERY_STRIDE] = address_of(buffers.queries), buffers.queries.shape[1]
        words[HeadWord.ATTENDED] = address_of(buffers.attended)
        words[HeadWord.ATTENDED_STRIDE] = buffers.attended.shape[1]
        words[HeadWord.LAYER] = layer
        words[HeadWord.QUERY_GAIN], words[HeadWord.KEY_GAIN] = (address_of(gain) for gain in attention.gains)
        words[HeadWord.ROTARY] = address_of(self.positions)
        return words

    def _add(self, function: int, words: np.ndarray, *, tiles: int = 0, tiles_per_token: int = 0) -> None:
        self.operations.append(Operation(function, words, tiles, tiles_per_token))


class Programs:
    """All that is run, on the same buffers.

    Attributes:
        layers: embeds tokens, and passes them through all layers.
        logits: the logits of hidden states.
        step: both, for tokens that all need their logits.
        step_operations: of ``step``.
        conditions: keys and values of the conditions in ``normed``, for all layers.
    """

    def __init__(
        self,
        shape: HeadShape,
        weights: PackedLM,
        buffers: Buffers,
        positions: Float[Tensor, "S _"],
        target: Target,
    ) -> None:
        layers, logits, step, conditions = (
            ProgramBuilder(shape, weights, buffers, positions, target) for _ in range(4)
        )
        for builder in (layers, step):
            add_layers(builder)
        self._to_logits = [words for builder in (logits, step) for words in add_logits(builder)]
        add_conditions(conditions)
        self.step_operations = step.operations
        self.layers, self.logits, self.step, self.conditions = (
            builder.job() for builder in (layers, logits, step, conditions)
        )

    def put_logits(self, rows: Float[Tensor, "n KV"]) -> None:
        """Where the next logits go."""
        for words in self._to_logits:
            words[ProductWord.Y], words[ProductWord.Y_STRIDE] = address_of(rows), rows.shape[1]


def add_layers(builder: ProgramBuilder) -> None:
    """The embeddings, and all layers."""
    buffers = builder.buffers
    builder.embed()
    for layer, block in enumerate(builder.weights.blocks):
        attention = block.attention
        builder.norm(attention.norm)
        builder.product(buffers.normed, attention.queries, buffers.wide)
        builder.heads("heads", layer, attention)
        builder.attend("attend", layer, attention)
        builder.product(buffers.attended, attention.out, buffers.hidden, "add", attention.gain)
        if block.cross is not None:
            # Where nothing can be attended to, zero would be added: these rows need no products.
            rows = StateWord.NUM_CONDITIONED
            builder.norm(block.cross.norm)
            builder.product(buffers.normed, block.cross.queries, buffers.wide, rows=rows)
            builder.heads("cross_queries", layer, block.cross)
            builder.attend("cross_attend", layer, block.cross)
            builder.product(buffers.attended, block.cross.out, buffers.hidden, "add", block.cross.gain, rows)
        builder.norm(block.norm)
        builder.product(buffers.normed, block.up, buffers.wide, "gelu")
        builder.product(buffers.wide, block.down, buffers.hidden, "add", block.gain)


def add_logits(builder: ProgramBuilder) -> list[np.ndarray]:
    """The last norm, output conditions, and the logits; gives the words that say where they go."""
    builder.norm(builder.weights.norm, "norm_output")
    return builder.product(builder.buffers.normed, builder.weights.heads, None)


def add_conditions(builder: ProgramBuilder) -> None:
    """Keys and values of the conditions."""
    for layer, block in enumerate(builder.weights.blocks):
        if block.cross is not None and block.cross.keys_values is not None:
            builder.product(builder.buffers.normed, block.cross.keys_values, builder.buffers.wide)
            builder.heads("cross_keys", layer, block.cross)


def head_shape(config: LMConfig, cache: CacheFormat) -> HeadShape:
    """The shape of a model's heads."""
    transformer = config.transformer
    return HeadShape(
        transformer.width,
        transformer.num_heads,
        transformer.qk_norm,
        is_rotary=transformer.positions == "rotary",
        cache=cache,
    )
