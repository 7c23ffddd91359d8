"""``python -m descant``, the same as the command ``descant``."""

import sys

from descant_command import main

if __name__ == "__main__":
    sys.exit(main())
