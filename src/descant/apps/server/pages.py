"""Pages of lists, and where the next one begins."""

from descant.apps.server.problems import Problem, at_fault

PAGE = 50
MAX_PAGE = 200


def page_of(numbers: list[int], limit: int) -> tuple[int, str | None]:
    """How many of the rows that were found belong to the page, and where the next one begins.

    Args:
        numbers: of one row more than fits, if there is one.
    """
    if len(numbers) <= limit:
        return len(numbers), None
    return limit, str(numbers[limit - 1])


def cursor_number(cursor: str | None) -> int | None:
    """The number of the last row of the page before.

    Raises:
        Problem: the cursor is none of ours.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
        raise wrong_cursor(cursor)
    return int(cursor)


def wrong_cursor(cursor: str) -> Problem:
    """A cursor that no page of this list has given."""
    return at_fault("/cursor", "give the next_cursor of the page before", got=cursor[:40])
