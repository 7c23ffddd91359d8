"""Seeds: which numbers they are, and those that follow one."""

from descant.errors import InvalidRequest

MAX_SEED = 2**32 - 1
"""torch's CPU generator reads 32 bits of a seed: two larger ones that agree in them would give the same music."""


def successive_seeds(first: int, count: int) -> range:
    """So many seeds from ``first`` on.

    Raises:
        InvalidRequest: there are not so many; none is used twice.
    """
    if first + count - 1 > MAX_SEED:
        raise InvalidRequest(
            f"seed={first}: {count} seeds are needed from there on, and {MAX_SEED} is the last; "
            f"give at most {MAX_SEED - count + 1}"
        )
    return range(first, first + count)
