"""Writing machine code."""

from descant.compiled.code import I64, Word


class Place(Word):
    FIRST = 0
    SECOND = 1


def test_the_place_of_a_word_is_written_as_a_number():
    """Python 3.10 writes a member of an ``IntEnum`` as its name, which is no constant of LLVM."""
    assert str(I64(Place.SECOND)) == "i64 1"
    assert f"{Place.SECOND}" == "1"
