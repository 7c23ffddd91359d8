"""The figures of the starter's model card: ``python recipes/starter_measure.py MODEL MANIFEST OUT``.

Generates for 64 held-out captions, lets the judges listen, compares the codec with Opus, and writes report.md and
report.json into OUT. What was generated before a stop is not generated again.
"""

import sys
from pathlib import Path

from descant.studies.starter_report import markdown, run

if __name__ == "__main__":
    print(markdown(run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
