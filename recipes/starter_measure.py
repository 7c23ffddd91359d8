"""The figures of the starter's model card: ``python recipes/starter_measure.py MODEL MANIFEST OUT``.

Generates for 64 held-out captions, lets the judges listen, compares the codec with Opus, and writes report.md and
report.json into OUT; then does the same for prompts as people type them (OUT/typed). What was generated before a stop
is not generated again.
"""

import sys
from pathlib import Path

from descant.studies import starter_report, typed_report


def main(model: str, manifest: Path, out_dir: Path) -> None:
    """Writes both reports and prints them."""
    print(starter_report.markdown(starter_report.run(model, manifest, out_dir)))
    print(typed_report.markdown(typed_report.run(model, manifest, out_dir / "typed", out_dir / "tagger.json")))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
