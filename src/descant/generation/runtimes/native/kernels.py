"""The functions of a step that are not products: layer norm, heads, the KV cache, and attention.

Each is called with the words that describe it, the state of the step, and a tile: a token, or a head of a token. Keys
are kept in blocks of 32 positions, coordinate after coordinate, so that 32 scores are summed at once; values are kept
position after position.
"""

from dataclasses import dataclass
from enum import IntEnum

from llvmlite import ir

from descant.compiled.code import F16, F32, I32, I64, LANES, POINTER, Code, numbers
from descant.nn.attention import NORM_EPSILON

LAYER_NORM_EPSILON = 1e-5


class TokenWord(IntEnum):
    """The 64-bit words that describe a token. Two caches follow each other in the same form: that of the steps and that
    of the conditions. Sizes count elements."""

    POSITION = 0
    OUTPUT = 1
    STEPS = 2
    CONDITIONS = 7
    NUM_WORDS = 12


class CacheWord(IntEnum):
    """The words of one cache of a token, from `TokenWord.STEPS` or `TokenWord.CONDITIONS` on. ``LENGTH`` counts the
    positions that the token reads; it writes at its own."""

    KEYS = 0
    VALUES = 1
    LENGTH = 2
    HEAD_SIZE = 3
    LAYER_SIZE = 4


class NormWord(IntEnum):
    """The words of a layer norm."""

    X = 0
    X_STRIDE = 1
    Y = 2
    Y_STRIDE = 3
    WEIGHT = 4
    BIAS = 5


class HeadWord(IntEnum):
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
    """What the code of the heads depends on.

    Args:
        cache_type: float32 or float16, of keys and values that are kept.
    """

    width: int
    num_heads: int
    qk_norm: bool
    is_rotary: bool
    cache_type: ir.Type = F32

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.width // self.num_heads


def token_word(code: Code, state: ir.Value, token: ir.Value, word: int) -> ir.Value:
    """A word of a token."""
    return code.read(code.pointer_at(state, 1), code.add(code.mul(token, I64(TokenWord.NUM_WORDS)), I64(word)), I64)


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
        centred = code.select(_lanes_below(code, code.sub(I64(width), at)), centred, numbers(vector, 0.0))
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


def _lanes_below(code: Code, limit: ir.Value) -> ir.Value:
    """Which places of a vector are below a limit."""
    places = ir.Constant(ir.VectorType(I32, LANES), [*range(LANES)])
    return code.icmp_signed("<", places, code.splat(code.trunc(limit, I32)))


class Heads:
    """The code that prepares queries, keys and values of one token, for the cache of the steps or of the conditions."""

    def __init__(self, module: ir.Module, name: str, shape: HeadShape, cache: TokenWord) -> None:
        self.code = code = Code(module, name, [POINTER, POINTER, I64])
        self.shape = shape
        self.words, state, token = code.function.args
        self.cache = [token_word(code, state, token, cache + word) for word in CacheWord]
        self.position = token_word(code, state, token, TokenWord.POSITION)
        self.source = code.pointer_at(self.words, HeadWord.SOURCE)
        self.from_source = code.mul(token, code.read(self.words, I64(HeadWord.SOURCE_STRIDE), I64))
        self.queries = code.pointer_at(self.words, HeadWord.QUERIES)
        self.to_queries = code.mul(token, code.read(self.words, I64(HeadWord.QUERY_STRIDE), I64))
        self.layer = code.read(self.words, I64(HeadWord.LAYER), I64)

    def write_queries(self, head: ir.Value, at: int) -> None:
        """Scaled queries; ``at`` is where all queries begin in the source."""
        code, size = self.code, self.shape.head_dim
        queries = self._normed(self._of_source(head, at), HeadWord.QUERY_GAIN)
        queries = code.fmul(self._rotated(queries), numbers(queries.type, size**-0.5))
        code.write(queries, self.queries, code.add(self.to_queries, code.mul(head, I64(size))))

    def write_keys(self, head: ir.Value, at: int) -> None:
        """Keys into their block of the cache."""
        code, size = self.code, self.shape.head_dim
        keys = self._rotated(self._normed(self._of_source(head, at), HeadWord.KEY_GAIN))
        block = code.mul(code.sdiv(self.position, I64(LANES)), I64(LANES * size))
        place = code.add(self._of_cache(head), code.add(block, code.srem(self.position, I64(LANES))))
        pointer = code.inttoptr(self.cache[CacheWord.KEYS], POINTER)
        for coordinate in range(size):
            code.write(
                self._stored(code.extract_element(keys, I32(coordinate))),
                pointer,
                code.add(place, I64(LANES * coordinate)),
            )

    def write_values(self, head: ir.Value, at: int) -> None:
        """Values into the cache."""
        code, size = self.code, self.shape.head_dim
        place = code.add(self._of_cache(head), code.mul(self.position, I64(size)))
        values = self._stored(self._of_source(head, at))
        code.write(values, code.inttoptr(self.cache[CacheWord.VALUES], POINTER), place)

    def _of_source(self, head: ir.Value, at: int) -> ir.Value:
        size = self.shape.head_dim
        place = self.code.add(self.from_source, self.code.add(self.code.mul(head, I64(size)), I64(at)))
        return self.code.read(self.source, place, F32, size)

    def _of_cache(self, head: ir.Value) -> ir.Value:
        code = self.code
        of_layer = code.mul(self.layer, self.cache[CacheWord.LAYER_SIZE])
        return code.add(of_layer, code.mul(head, self.cache[CacheWord.HEAD_SIZE]))

    def _stored(self, values: ir.Value) -> ir.Value:
        if self.shape.cache_type == F32:
            return values
        is_vector = isinstance(values.type, ir.VectorType)
        return self.code.fptrunc(values, ir.VectorType(F16, values.type.count) if is_vector else F16)

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


def add_attention(module: ir.Module, name: str, shape: HeadShape, cache: TokenWord) -> None:
    """Attention of one head of a token to the positions of a cache; with none of them the result is zero.

    The softmax is taken block by block, and what was summed before is scaled down when a larger score appears.
    """
    code = Code(module, name, [POINTER, POINTER, I64])
    words, state, tile = code.function.args
    size, kept = shape.head_dim, shape.cache_type
    token, head = code.sdiv(tile, I64(shape.num_heads)), code.srem(tile, I64(shape.num_heads))
    keys, values, length, head_size, layer_size = (token_word(code, state, token, cache + word) for word in CacheWord)
    of_cache = code.add(code.mul(code.read(words, I64(HeadWord.LAYER), I64), layer_size), code.mul(head, head_size))
    keys = code.bitcast(code.address(code.inttoptr(keys, POINTER), of_cache, kept), POINTER)
    values = code.bitcast(code.address(code.inttoptr(values, POINTER), of_cache, kept), POINTER)
    of_head = code.mul(head, I64(size))
    query = code.add(code.mul(token, code.read(words, I64(HeadWord.QUERY_STRIDE), I64)), of_head)
    queries = code.pointer_at(words, HeadWord.QUERIES)
    vector, wide = ir.VectorType(F32, LANES), ir.VectorType(F32, size)
    largest, weight_sum = code.variable(F32(float("-inf"))), code.variable(F32(0.0))
    result = code.variable(numbers(wide, 0.0))
    weights = code.bitcast(code.alloca(F32, LANES), POINTER)
    with code.for_range(I64(0), length, LANES) as start:
        scores = code.variable(numbers(vector, 0.0))
        code.store(numbers(vector, 0.0), scores)
        with code.for_range(I64(0), I64(size)) as coordinate:
            row = code.add(code.mul(start, I64(size)), code.mul(coordinate, I64(LANES)))
            of_query = code.splat(code.read(queries, code.add(query, coordinate)))
            code.store(code.fma(of_query, _kept(code, keys, row, kept, LANES), code.load(scores)), scores)
        is_there = _lanes_below(code, code.sub(length, start))
        masked = code.select(is_there, code.load(scores), numbers(vector, float("-inf")))
        of_block = code.reduce(masked, lambda left, right: code.call_llvm("maxnum", left, right))
        new_largest = code.call_llvm("maxnum", code.load(largest), of_block)
        shrink = code.exp(code.fsub(code.load(largest), new_largest))
        exponentials = code.exp(code.fsub(masked, code.splat(new_largest)))
        exponentials = code.select(is_there, exponentials, numbers(vector, 0.0))
        code.store(new_largest, largest)
        code.store(code.fma(code.load(weight_sum), shrink, code.total(exponentials)), weight_sum)
        code.store(code.fmul(code.load(result), code.splat(shrink, size)), result)
        code.write(exponentials, weights, I64(0))
        left = code.sub(length, start)
        count = code.select(code.icmp_signed("<", left, I64(LANES)), left, I64(LANES))
        with code.for_range(I64(0), count) as index:
            weight = code.splat(code.read(weights, index), size)
            of_values = _kept(code, values, code.mul(code.add(start, index), I64(size)), kept, size)
            code.store(code.fma(weight, of_values, code.load(result)), result)
    is_empty = code.icmp_signed("==", length, I64(0))
    divisor = code.select(is_empty, F32(1.0), code.load(weight_sum))
    to = code.add(code.mul(token, code.read(words, I64(HeadWord.ATTENDED_STRIDE), I64)), of_head)
    code.write(code.fdiv(code.load(result), code.splat(divisor, size)), code.pointer_at(words, HeadWord.ATTENDED), to)
    code.ret_void()


def _kept(code: Code, pointer: ir.Value, at: ir.Value, type: ir.Type, lanes: int) -> ir.Value:
    """Cached keys or values as float32."""
    vector = code.read(pointer, at, type, lanes)
    return vector if type == F32 else code.fpext(vector, ir.VectorType(F32, lanes))
