"""The functions of a step that are not products: layer norm, and what prepares the heads. Attention has its own file.

Each is called with the words that describe it, the state of the step, and a tile: a token, or a head of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Word, numbers
from descant.generation.runtimes.native.cache import CacheCode, CacheFormat, CacheLayout
from descant.nn.attention import NORM_EPSILON

LAYER_NORM_EPSILON = 1e-5


class StateWord(Word):
    """The 64-bit words of the state of a step: the number of tokens, where their words are, and the number of tokens
    up to the last one that has conditions to attend to."""

    NUM_TOKENS = 0
    TOKENS = 1
    NUM_CONDITIONED = 2


class TokenWord(Word):
    """The 64-bit words that describe a token: its position, and where its codes are (0 for none) and the vectors that
    are added to their embeddings and to the last norm. Two caches follow each other in the same form: that of the steps
    and that of the conditions."""

    POSITION = 0
    CODES = 1
    SUM = 2
    OUTPUT = 3
    STEPS = 4
    CONDITIONS = 9
    NUM_WORDS = 14


class EmbedWord(Word):
    """The words of what embeds a token. Strides count floats; ``POSITIONS`` is not read where they are rotary."""

    EMBEDDINGS = 0
    STRIDE = 1
    NUM_CODEBOOKS = 2
    NUM_ENTRIES = 3
    POSITIONS = 4
    HIDDEN = 5


class CacheWord(Word):
    """The words of one cache of a token, from `TokenWord.STEPS` or `TokenWord.CONDITIONS` on. ``LENGTH`` counts the
    positions that the token reads; it writes at its own."""

    KEYS = 0
    VALUES = 1
    LENGTH = 2
    HEAD_BYTES = 3
    LAYER_BYTES = 4


class NormWord(Word):
    """The words of a layer norm."""

    X = 0
    X_STRIDE = 1
    Y = 2
    Y_STRIDE = 3
    WEIGHT = 4
    BIAS = 5


class HeadWord(Word):
    """The words of what prepares the heads, and of attention, for one layer. The source holds queries, keys and values
    side by side."""

    SOURCE = 0
    SOURCE_STRIDE = 1
    QUERIES = 2
    QUERY_STRIDE = 3
    LAYER = 4
    QUERY_GAIN = 5
    KEY_GAIN = 6
    ROTARY = 7
    ATTENDED = 8
    ATTENDED_STRIDE = 9


@dataclass(frozen=True)
class HeadShape:
    """What the code of the heads depends on."""

    width: int
    num_heads: int
    qk_norm: bool
    is_rotary: bool
    cache: CacheFormat

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.width // self.num_heads

    @property
    def layout(self) -> CacheLayout:
        """Of the keys and values that are kept."""
        return CacheLayout(self.cache, self.head_dim)


def token_word(code: Code, state: ir.Value, token: ir.Value, word: int) -> ir.Value:
    """A word of a token."""
    return code.read(
        code.pointer_at(state, StateWord.TOKENS), code.add(code.mul(token, I64(TokenWord.NUM_WORDS)), I64(word)), I64
    )


def cache_of(
    code: Code,
    shape: HeadShape,
    arguments: Sequence[ir.Value],
    token: ir.Value,
    head: ir.Value,
    cache: TokenWord,
    word: CacheWord,
) -> CacheCode:
    """The keys or values of one head of a token's cache, in the layer that the words of the heads name."""
    words, state, _ = arguments
    start, of_head, of_layer = (
        token_word(code, state, token, cache + index) for index in (word, CacheWord.HEAD_BYTES, CacheWord.LAYER_BYTES)
    )
    layer = code.read(words, I64(HeadWord.LAYER), I64)
    at = code.add(code.mul(layer, of_layer), code.mul(head, of_head))
    return CacheCode(code, shape.layout, code.gep(code.inttoptr(start, POINTER), [at]))


def add_embed(module: ir.Module, name: str, shape: HeadShape) -> None:
    """The embeddings of a token's codes in the order of the codebooks, then the vector that is added to them, then its
    position."""
    code = Code(module, name, [POINTER, POINTER, I64])
    words, state, token = code.function.args
    embeddings, positions, hidden = (
        code.pointer_at(words, word) for word in (EmbedWord.EMBEDDINGS, EmbedWord.POSITIONS, EmbedWord.HIDDEN)
    )
    stride, num_codebooks, num_entries = (
        code.read(words, I64(word), I64) for word in (EmbedWord.STRIDE, EmbedWord.NUM_CODEBOOKS, EmbedWord.NUM_ENTRIES)
    )
    codes, summed, position = (
        token_word(code, state, token, word) for word in (TokenWord.CODES, TokenWord.SUM, TokenWord.POSITION)
    )
    num_codes = code.select(code.icmp_signed("==", codes, I64(0)), I64(0), num_codebooks)
    total = code.variable(numbers(ir.VectorType(F32, LANES), 0.0))
    with code.for_range(I64(0), stride, LANES) as at:
        code.store(numbers(ir.VectorType(F32, LANES), 0.0), total)
        with code.for_range(I64(0), num_codes) as codebook:
            entry = code.read(code.inttoptr(codes, POINTER), codebook, I64)
            row = code.mul(code.add(code.mul(codebook, num_entries), entry), stride)
            code.store(code.fadd(code.load(total), code.read(embeddings, code.add(row, at), F32, LANES)), total)
        code.store(code.fadd(code.load(total), code.read(code.inttoptr(summed, POINTER), at, F32, LANES)), total)
        if not shape.is_rotary:
            of_position = code.read(positions, code.add(code.mul(position, stride), at), F32, LANES)
            code.store(code.fadd(code.load(total), of_position), total)
        code.write(code.load(total), hidden, code.add(code.mul(token, stride), at))
    code.ret_void()


def add_norm(module: ir.Module, name: str, width: int, *, adds_output: bool = False) -> None:
    """Layer norm of a token. With ``adds_output`` the token's output condition is added."""
    code = Code(module, name, [POINTER, POINTER, I64])
    words, state, token = code.function.args
    x, y, weight, bias = (
        code.pointer_at(words, word) for word in (NormWord.X, NormWord.Y, NormWord.WEIGHT, NormWord.BIAS)
    )
    from_x = code.mul(token, code.read(words, I64(NormWord.X_STRIDE), I64))
    from_y = code.mul(token, code.read(words, I64(NormWord.Y_STRIDE), I64))
    vector = ir.VectorType(F32, LANES)
    end = I64(-(-width // LANES) * LANES)
    total = code.variable(numbers(vector, 0.0))
    with code.for_range(I64(0), end, LANES) as at:
        code.store(code.fadd(code.load(total), code.read(x, code.add(from_x, at), F32, LANES)), total)
    mean = code.splat(code.fmul(code.total(code.load(total)), F32(1 / width)))
    squares = code.variable(numbers(vector, 0.0))
    with code.for_range(I64(0), end, LANES) as at:
        centred = code.fsub(code.read(x, code.add(from_x, at), F32, LANES), mean)
        centred = code.select(lanes_below(code, code.sub(I64(width), at)), centred, numbers(vector, 0.0))
        code.store(code.fma(centred, centred, code.load(squares)), squares)
    variance = code.fmul(code.total(code.load(squares)), F32(1 / width))
    inverse = code.fdiv(F32(1.0), code.call_llvm("sqrt", code.fadd(variance, F32(LAYER_NORM_EPSILON))))
    with code.for_range(I64(0), end, LANES) as at:
        centred = code.fsub(code.read(x, code.add(from_x, at), F32, LANES), mean)
        result = code.fma(
            code.fmul(centred, code.splat(inverse)),
            code.read(weight, at, F32, LANES),
            code.read(bias, at, F32, LANES),
        )
        if adds_output:
            output = code.inttoptr(token_word(code, state, token, TokenWord.OUTPUT), POINTER)
            result = code.fadd(result, code.read(output, at, F32, LANES))
        code.write(result, y, code.add(from_y, at))
    code.ret_void()


def lanes_below(code: Code, limit: ir.Value, lanes: int = LANES) -> ir.Value:
    """Which places of a vector are below a limit."""
    places = ir.Constant(ir.VectorType(I32, lanes), [*range(lanes)])
    return code.icmp_signed("<", places, code.splat(code.trunc(limit, I32), lanes))


class Heads:
    """The code that prepares queries, keys and values of one token, for the cache of the steps or of the conditions."""

    def __init__(self, module: ir.Module, name: str, shape: HeadShape, cache: TokenWord) -> None:
        self.code = code = Code(module, name, [POINTER, POINTER, I64])
        self.shape, self.cache = shape, cache
        self.words, state, token = code.function.args
        self.token = token
        self.position = token_word(code, state, token, TokenWord.POSITION)
        self.source = code.pointer_at(self.words, HeadWord.SOURCE)
        self.from_source = code.mul(token, code.read(self.words, I64(HeadWord.SOURCE_STRIDE), I64))
        self.queries = code.pointer_at(self.words, HeadWord.QUERIES)
        self.to_queries = code.mul(token, code.read(self.words, I64(HeadWord.QUERY_STRIDE), I64))

    def write_queries(self, head: ir.Value, at: int) -> None:
        """Scaled queries; ``at`` is where all queries begin in the source."""
        code, size = self.code, self.shape.head_dim
        queries = self._normed(self._of_source(head, at), HeadWord.QUERY_GAIN)
        queries = code.fmul(self._rotated(queries), numbers(queries.type, size**-0.5))
        code.write(queries, self.queries, code.add(self.to_queries, code.mul(head, I64(size))))

    def write_keys(self, head: ir.Value, at: int) -> None:
        """Keys into the cache."""
        keys = self._rotated(self._normed(self._of_source(head, at), HeadWord.KEY_GAIN))
        self._cache_of(head, CacheWord.KEYS).write_keys(self.position, keys)

    def write_values(self, head: ir.Value, at: int) -> None:
        """Values into the cache."""
        self._cache_of(head, CacheWord.VALUES).write_values(self.position, self._of_source(head, at))

    def _of_source(self, head: ir.Value, at: int) -> ir.Value:
        size = self.shape.head_dim
        place = self.code.add(self.from_source, self.code.add(self.code.mul(head, I64(size)), I64(at)))
        return self.code.read(self.source, place, F32, size)

    def _cache_of(self, head: ir.Value, word: CacheWord) -> CacheCode:
        return cache_of(self.code, self.shape, self.code.function.args, self.token, head, self.cache, word)

    def _normed(self, vectors: ir.Value, gain: HeadWord) -> ir.Value:
        if not self.shape.qk_norm:
            return vectors
        code, size = self.code, self.shape.head_dim
        mean = code.fmul(code.total(code.fmul(vectors, vectors)), F32(1 / size))
        inverse = code.fdiv(F32(1.0), code.call_llvm("sqrt", code.fadd(mean, F32(NORM_EPSILON))))
        gains = code.read(code.pointer_at(self.words, gain), I64(0), F32, size)
        return code.fmul(code.fmul(vectors, code.splat(inverse, size)), gains)

    def _rotated(self, vectors: ir.Value) -> ir.Value:
        if not self.shape.is_rotary:
            return vectors
        code, size = self.code, self.shape.head_dim
        table, row = code.pointer_at(self.words, HeadWord.ROTARY), code.mul(self.position, I64(size))
        cosines, sines = (code.read(table, code.add(row, I64(start)), F32, size // 2) for start in (0, size // 2))
        first, second = (code.part(vectors, start, size // 2) for start in (0, size // 2))
        rotated = (
            code.fma(first, cosines, code.fneg(code.fmul(second, sines))),
            code.fma(second, cosines, code.fmul(first, sines)),
        )
        return code.shuffle_vector(*rotated, ir.Constant(ir.VectorType(I32, size), [*range(size)]))


def add_heads(module: ir.Module, name: str, shape: HeadShape, cache: TokenWord, parts: str) -> None:
    """A function that prepares the ``parts`` of a token's heads, of ``qkv``, which lie in this order in the source."""
    heads = Heads(module, name, shape, cache)
    writers = {"q": heads.write_queries, "k": heads.write_keys, "v": heads.write_values}
    with heads.code.for_range(I64(0), I64(shape.num_heads)) as head:
        for index, part in enumerate(parts):
            writers[part](head, index * shape.width)
    heads.code.ret_void()
