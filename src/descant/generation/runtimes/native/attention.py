"""Attention of one token to the keys and values of a cache."""

from llvmlite import ir

from descant.compiled.code import F32, I64, POINTER, Code, numbers
from descant.generation.runtimes.native.cache import BLOCK
from descant.generation.runtimes.native.kernels import (
    CacheWord,
    HeadShape,
    HeadWord,
    TokenWord,
    cache_of,
    lanes_below,
    token_word,
)


def add_attention(module: ir.Module, name: str, shape: HeadShape, cache: TokenWord) -> None:
    """Attention of one head of a token to the positions of a cache; with none of them the result is zero.

    The softmax is taken block by block, and what was summed before is scaled down when a larger score appears. While
    the keys of a block are read its values are asked for, and meanwhile the next keys.
    """
    code = Code(module, name, [POINTER, POINTER, I64])
    words, state, tile = code.function.args
    size = shape.head_dim
    token, head = code.sdiv(tile, I64(shape.num_heads)), code.srem(tile, I64(shape.num_heads))
    of_head = code.mul(head, I64(size))
    keys, values = (
        cache_of(code, shape, code.function.args, token, head, cache, word)
        for word in (CacheWord.KEYS, CacheWord.VALUES)
    )
    length = token_word(code, state, token, cache + CacheWord.LENGTH)
    query = code.add(code.mul(token, code.read(words, I64(HeadWord.QUERY_STRIDE), I64)), of_head)
    queries = code.pointer_at(words, HeadWord.QUERIES)
    vector, wide = ir.VectorType(F32, BLOCK), ir.VectorType(F32, size)
    largest, weight_sum = code.variable(F32(float("-inf"))), code.variable(F32(0.0))
    result, scores = code.variable(numbers(wide, 0.0)), code.variable(numbers(vector, 0.0))
    weights = code.bitcast(code.alloca(F32, BLOCK), POINTER)
    with code.for_range(I64(0), length, BLOCK) as start:
        index, left = code.sdiv(start, I64(BLOCK)), code.sub(length, start)
        count = code.select(code.icmp_signed("<", left, I64(BLOCK)), left, I64(BLOCK))
        keys_block, values_block = keys.block(index), values.block(index)
        code.store(numbers(vector, 0.0), scores)
        with code.for_range(I64(0), I64(size)) as coordinate:
            values.prefetch(values_block, coordinate, size, count)
            of_query = code.splat(code.read(queries, code.add(query, coordinate)), BLOCK)
            code.store(code.fma(of_query, keys.keys(keys_block, coordinate), code.load(scores)), scores)
        is_there = lanes_below(code, left, BLOCK)
        masked = code.select(is_there, keys.scaled(code.load(scores), keys_block), numbers(vector, float("-inf")))
        of_block = code.reduce(masked, lambda left, right: code.call_llvm("maxnum", left, right))
        new_largest = code.call_llvm("maxnum", code.load(largest), of_block)
        shrink = code.exp(code.fsub(code.load(largest), new_largest))
        exponentials = code.exp(code.fsub(masked, code.splat(new_largest, BLOCK)))
        exponentials = code.select(is_there, exponentials, numbers(vector, 0.0))
        code.store(new_largest, largest)
        code.store(code.fma(code.load(weight_sum), shrink, code.total(exponentials)), weight_sum)
        code.store(code.fmul(code.load(result), code.splat(shrink, size)), result)
        code.write(values.scaled(exponentials, values_block), weights, I64(0))
        is_last = code.icmp_signed("<=", left, I64(BLOCK))
        next_keys = keys.block(code.select(is_last, index, code.add(index, I64(1))))
        with code.for_range(I64(0), count) as place:
            keys.prefetch(next_keys, place, BLOCK, I64(BLOCK))
            weight = code.splat(code.read(weights, place), size)
            code.store(code.fma(weight, values.values(values_block, place), code.load(result)), result)
    is_empty = code.icmp_signed("==", length, I64(0))
    divisor = code.select(is_empty, F32(1.0), code.load(weight_sum))
    to = code.add(code.mul(token, code.read(words, I64(HeadWord.ATTENDED_STRIDE), I64)), of_head)
    code.write(code.fdiv(code.load(result), code.splat(divisor, size)), code.pointer_at(words, HeadWord.ATTENDED), to)
    code.ret_void()
