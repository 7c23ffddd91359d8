"""The compiled rounds of Griffin-Lim: from a wave to its spectra, from these to their target magnitudes, and back.

Spectra are linear in the wave, so what fast Griffin-Lim adds to them, a share of the change since the round before, is
added to the wave, and no spectrum is kept: it gets its target magnitudes where it was transformed. Some windows are
transformed at once, a lane each.

In memory a wave is [hop, columns], a column for each of its hops. So a sample of neighbouring windows is one vector, in
reading and in adding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from descant.codec.fourier_code import FIRST_RADIX, Complex, FourierCode
from descant.codec.lane_math import cosine_and_sine, inverse_root, lanes_below
from descant.codec.phase_shape import NUM_GROUPS, GroupWord, RoundShape, ScaleWord, SpectraWord
from descant.compiled.code import F32, I32, I64, POINTER, Code, numbers


def add_rounds(module: ir.Module, shape: RoundShape) -> None:
    """Adds ``aim`` and ``begin``, which synthesise windows from a wave's directions and from given phases;
    ``scale``, which divides sums of windows by those of the squared windows; and ``move``, which copies columns."""
    rest, rest_back = (_add_rest(module, shape, is_back=is_back) for is_back in (False, True))
    last = _add_last(module, shape)
    _add_aim(_Spectra(module, "aim", shape, has_turns=False), rest, rest_back, last)
    _add_begin(_Spectra(module, "begin", shape, has_turns=True), rest_back, last)
    _add_scale(module, shape)
    _add_move(module, shape)


def _add_aim(spectra: "_Spectra", rest: ir.Function, rest_back: ir.Function, last: ir.Function) -> None:
    """``aim(words)``: each group of frequencies goes to its spectra and back while it is in the fastest cache."""
    code, groups = spectra.code, spectra.pointer(SpectraWord.GROUPS)
    with spectra.windows() as first:
        spectra.fourier.first_pass(lambda element: spectra.samples(first, element))
        with code.for_range(I64(0), I64(NUM_GROUPS * len(GroupWord)), len(GroupWord)) as group:

            def word(index: int, group: ir.Value = group) -> ir.Value:
                return code.read(groups, code.add(group, I64(index)), I64)

            def transform(function: ir.Function, group: ir.Value = group) -> None:
                with code.for_range(I64(0), word(GroupWord.NUM_TRANSFORMS)) as index:
                    start = code.read(groups, code.add(code.add(group, I64(GroupWord.TRANSFORMS)), index), I64)
                    code.call(function, [spectra.memory, spectra.twiddles, start])

            transform(rest)
            with code.for_range(I64(0), word(GroupWord.HAS_ENDS)):
                spectra.turn_ends(first)
            with code.for_range(word(GroupWord.FIRST_PAIR), word(GroupWord.END_PAIR)) as pair:
                spectra.turn_pair(first, pair)
            transform(rest_back)
        code.call(last, [spectra.words, first])
    code.ret_void()


def _add_begin(spectra: "_Spectra", rest_back: ir.Function, last: ir.Function) -> None:
    """``begin(words)``."""
    code, shape = spectra.code, spectra.shape
    with spectra.windows() as first:
        spectra.turn_ends(first)
        with code.for_range(I64(0), I64(len(shape.pairs()))) as pair:
            spectra.turn_pair(first, pair)
        with code.for_range(I64(0), I64(shape.plan.size), shape.plan.size // FIRST_RADIX) as start:
            code.call(rest_back, [spectra.memory, spectra.twiddles, start])
        code.call(last, [spectra.words, first])
    code.ret_void()


def _add_rest(module: ir.Module, shape: RoundShape, *, is_back: bool) -> ir.Function:
    """A function that does all passes but the first over one of the small transforms: (memory, twiddles, element)."""
    code = Code(module, "rest_back" if is_back else "rest", [POINTER, POINTER, I64])
    _make_internal(code)
    memory, twiddles, start = code.function.args
    fourier = FourierCode(code, shape.plan, memory, twiddles, shape.lanes)
    (fourier.rest_back if is_back else fourier.rest)(start)
    code.ret_void()
    return code.function


def _add_last(module: ir.Module, shape: RoundShape) -> ir.Function:
    """A function that does the last pass on the way back and adds the windows: (words, first window).

    Earlier windows are added first, as a stream has to add them.
    """
    code = Code(module, "last", [POINTER, I64])
    _make_internal(code)
    words, first = code.function.args
    memory, twiddles, sums, window = (
        code.pointer_at(words, word)
        for word in (SpectraWord.MEMORY, SpectraWord.TWIDDLES, SpectraWord.SUMS, SpectraWord.SYNTHESIS_WINDOW)
    )
    FourierCode(code, shape.plan, memory, twiddles, shape.lanes).first_pass_back()
    columns = code.read(words, I64(SpectraWord.COLUMNS), I64)
    is_there = lanes_below(code, code.sub(code.read(words, I64(SpectraWord.COUNT), I64), first), shape.lanes)
    for column in reversed(range(-(-shape.window_samples // shape.hop_samples))):
        samples = min(shape.hop_samples, shape.window_samples - column * shape.hop_samples)
        with code.for_range(I64(0), I64(samples)) as sample:
            of_window = code.add(sample, I64(column * shape.hop_samples))
            value = code.read(memory, code.mul(of_window, I64(shape.lanes)), F32, shape.lanes)
            at = code.add(code.mul(sample, columns), code.add(first, I64(column)))
            before = code.read(sums, at, F32, shape.lanes)
            after = code.fma(value, code.splat(code.read(window, of_window), shape.lanes), before)
            code.write(code.select(is_there, after, before), sums, at)
    code.ret_void()
    return code.function


def _make_internal(code: Code) -> None:
    code.function.linkage = "internal"
    code.function.attributes.add("noinline")


class _Spectra:
    """The code that gives spectra their magnitudes.

    Args:
        has_turns: whether phases are given.
    """

    def __init__(self, module: ir.Module, name: str, shape: RoundShape, *, has_turns: bool) -> None:
        self.code = code = Code(module, name, [POINTER])
        self.words = code.function.args[0]
        self.shape, self.lanes, self.has_turns = shape, shape.lanes, has_turns
        self.memory, self.twiddles = self.pointer(SpectraWord.MEMORY), self.pointer(SpectraWord.TWIDDLES)
        self.columns = code.read(self.words, I64(SpectraWord.COLUMNS), I64)
        self.fourier = FourierCode(code, shape.plan, self.memory, self.twiddles, shape.lanes)

    def pointer(self, word: SpectraWord) -> ir.Value:
        """A word as a pointer."""
        return self.code.pointer_at(self.words, word)

    @contextmanager
    def windows(self) -> Iterator[ir.Value]:
        """A loop over the first of some windows at once."""
        with self.code.for_range(I64(0), self.code.read(self.words, I64(SpectraWord.COUNT), I64), self.lanes) as first:
            yield first

    def samples(self, first: ir.Value, element: ir.Value) -> Complex:
        """Two samples of each window as a complex number."""
        code = self.code
        at = code.add(code.read(self.pointer(SpectraWord.PLACES), element, I64), first)
        source = self.pointer(SpectraWord.SOURCE)
        one = code.read(source, at, F32, self.lanes)
        other = code.read(source, code.add(at, self.columns), F32, self.lanes)
        weights = self.fourier.scalar(self.pointer(SpectraWord.ANALYSIS_WINDOW), code.mul(element, I64(2)))
        return code.fmul(one, weights[0]), code.fmul(other, weights[1])

    def turn_pair(self, first: ir.Value, pair: ir.Value) -> None:
        """Gives frequencies k and N - k of the windows' spectra their magnitudes."""
        code, fourier = self.code, self.fourier
        row = code.mul(pair, I64(4))
        pairs = self.pointer(SpectraWord.PAIRS)
        place, other_place, k, other_k = (code.read(pairs, code.add(row, I64(index)), I64) for index in range(4))
        twiddle = fourier.scalar(self.pointer(SpectraWord.PAIR_TWIDDLES), code.mul(pair, I64(2)))
        if self.has_turns:
            one, other = self._begin(first, k), self._begin(first, other_k)
        else:
            (a, b), (c, d) = fourier.read(place), fourier.read(other_place)
            real, imaginary = code.fadd(a, c), code.fsub(b, d)
            odd = fourier.times((code.fadd(b, d), code.fsub(c, a)), twiddle, 1)
            one = self._aim(code.fadd(real, odd[0]), code.fadd(imaginary, odd[1]), first, k)
            other = self._aim(code.fsub(real, odd[0]), code.fsub(odd[1], imaginary), first, other_k)
        (a, b), (c, d) = one, other
        real, imaginary = code.fadd(a, c), code.fsub(b, d)
        odd = fourier.times((code.fneg(code.fadd(b, d)), code.fsub(a, c)), twiddle, -1)
        fourier.write((code.fadd(real, odd[0]), code.fadd(imaginary, odd[1])), place)
        fourier.write((code.fsub(real, odd[0]), code.fsub(odd[1], imaginary)), other_place)

    def turn_ends(self, first: ir.Value) -> None:
        """The same for frequencies 0 and N, which are real and lie in one element."""
        code, last = self.code, I64(self.shape.plan.size)
        if self.has_turns:
            low, high = self._begin(first, I64(0))[0], self._begin(first, last)[0]
        else:
            real, imaginary = self.fourier.read(I64(0))
            low, high = (
                self._aim(value, None, first, k)[0]
                for value, k in ((code.fadd(real, imaginary), I64(0)), (code.fsub(real, imaginary), last))
            )
        self.fourier.write((code.fadd(low, high), code.fsub(low, high)), I64(0))

    def _aim(self, real: ir.Value, imaginary: ir.Value | None, first: ir.Value, k: ir.Value) -> Complex:
        """Numbers of the target magnitudes in the direction of others; of 0 they are 0."""
        code = self.code
        square = code.fmul(real, real)
        if imaginary is not None:
            square = code.fma(imaginary, imaginary, square)
        factor = code.fmul(self._targets(first, k), inverse_root(code, square))
        return code.fmul(real, factor), real if imaginary is None else code.fmul(imaginary, factor)

    def _begin(self, first: ir.Value, k: ir.Value) -> Complex:
        """Numbers of the target magnitudes with the phases to begin with."""
        target = self._targets(first, k)
        cosine, sine = cosine_and_sine(self.code, self._row(SpectraWord.SOURCE, first, k))
        return self.code.fmul(cosine, target), self.code.fmul(sine, target)

    def _targets(self, first: ir.Value, k: ir.Value) -> ir.Value:
        return self._row(SpectraWord.TARGETS, first, k)

    def _row(self, word: SpectraWord, first: ir.Value, k: ir.Value) -> ir.Value:
        code, stride = self.code, self.code.read(self.words, I64(SpectraWord.TARGET_STRIDE), I64)
        return code.read(self.pointer(word), code.add(code.mul(k, stride), first), F32, self.lanes)


def _add_scale(module: ir.Module, shape: RoundShape) -> None:
    """``scale(words)``."""
    code = Code(module, "scale", [POINTER])
    words = code.function.args[0]
    wave, before, changed, scales, kinds = (
        code.pointer_at(words, word)
        for word in (ScaleWord.WAVE, ScaleWord.BEFORE, ScaleWord.CHANGED, ScaleWord.SCALES, ScaleWord.KINDS)
    )
    count, first_usual, end_usual, columns = (
        code.read(words, I64(word), I64)
        for word in (ScaleWord.COUNT, ScaleWord.FIRST_USUAL, ScaleWord.END_USUAL, ScaleWord.COLUMNS)
    )
    share = code.fneg(code.bitcast(code.trunc(code.read(words, I64(ScaleWord.SHARE), I64), I32), F32))

    def scale(at: ir.Value, factor: ir.Value, is_there: ir.Value | None, lanes: int) -> None:
        value = code.read(wave, at, F32, lanes)
        scaled = code.fmul(value, factor)
        if is_there is not None:
            scaled = code.select(is_there, scaled, value)
        code.write(scaled, wave, at)
        difference = code.fma(code.read(before, at, F32, lanes), code.splat(share, lanes) if lanes else share, scaled)
        code.write(difference, changed, at)

    with code.for_range(I64(0), I64(shape.hop_samples)) as sample:
        row = code.mul(sample, columns)
        with code.for_range(first_usual, end_usual, shape.lanes) as column:
            is_there = lanes_below(code, code.sub(end_usual, column), shape.lanes)
            factor = code.splat(code.read(scales, sample), shape.lanes)
            scale(code.add(row, column), factor, is_there, shape.lanes)
        # After the vectors, the last of which reaches beyond.
        for start, end in ((I64(0), first_usual), (end_usual, count)):
            with code.for_range(start, end) as column:
                kind = code.read(kinds, column, I64)
                factor = code.read(scales, code.add(code.mul(kind, I64(shape.hop_samples)), sample))
                scale(code.add(row, column), factor, None, 0)
    code.ret_void()


def _add_move(module: ir.Module, shape: RoundShape) -> None:
    """``move(from, columns there, to, columns there, count, end)``: the first ``count`` columns of a wave elsewhere,
    then zeros up to the column ``end``."""
    code = Code(module, "move", [POINTER, I64, POINTER, I64, I64, I64])
    source, source_columns, result, columns, count, end = code.function.args
    lanes = shape.kept_columns
    zeros = numbers(ir.VectorType(F32, lanes), 0.0)
    is_there = lanes_below(code, count, lanes)
    with code.for_range(I64(0), I64(shape.hop_samples)) as sample:
        row = code.mul(sample, columns)
        kept = code.read(source, code.mul(sample, source_columns), F32, lanes)
        code.write(code.select(is_there, kept, zeros), result, row)
        with code.for_range(I64(lanes), end, lanes) as column:
            code.write(zeros, result, code.add(row, column))
    code.ret_void()
