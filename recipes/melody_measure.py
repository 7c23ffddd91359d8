"""How well a melody model follows: ``python recipes/melody_measure.py MODEL MANIFEST OUT [THRESHOLDS]``.

Tells 64 held-out captions with their clip's melody, with none and with another, and writes melody.md and melody.json
into OUT. THRESHOLDS is the tagger.json that ``starter_measure.py`` wrote; without it the tagger is calibrated again and
its thresholds kept in OUT. What was generated before a stop is not generated again.
"""

import sys
from pathlib import Path

from descant.studies import melody_report


def main(model: str, manifest: Path, out_dir: Path, thresholds_file: Path) -> None:
    """Writes the report and prints it."""
    print(melody_report.markdown(melody_report.run(model, manifest, out_dir, thresholds_file)))


if __name__ == "__main__":
    folder = Path(sys.argv[3])
    main(sys.argv[1], Path(sys.argv[2]), folder, Path(sys.argv[4]) if len(sys.argv) > 4 else folder / "tagger.json")
