"""Numbers with what they count, as messages say them."""


def counted(number: int, one: str, several: str = "") -> str:
    """``1 clip``, ``2 clips``.

    Args:
        several: what follows another number than 1; by default ``one`` with an s.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
