"""``python -m descant`` is the command ``descant``."""

import sys

from descant.apps.cli.main import main

sys.exit(main())
