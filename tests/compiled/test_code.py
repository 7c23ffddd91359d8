"""Writing machine code."""

from pathlib import Path

import descant
from descant.compiled.code import I64, Word


class Place(Word):
    FIRST = 0
    SECOND = 1


def test_the_place_of_a_word_is_written_as_a_number():
    """Python 3.10 writes a member of an ``IntEnum`` as its name, which is no constant of LLVM."""
    assert str(I64(Place.SECOND)) == "i64 1"
    assert f"{Place.SECOND}" == "1"


def test_no_words_are_written_by_name_on_older_pythons():
    """Newer ones write every ``IntEnum`` as its number, so there the test above says nothing."""
    assert vars(Word)["__str__"] is int.__repr__
    package = Path(descant.__file__).parent
    names = [file for file in package.rglob("*.py") if "IntEnum" in file.read_text(encoding="utf-8")]
    assert [file.relative_to(package).as_posix() for file in names] == ["compiled/code.py"]
