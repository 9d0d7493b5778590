"""The totals of the evaluation on laws, as the README shows them.

    python examples/laws_summary.py [FOLDER]    of the results in FOLDER, examples/results

Reads what `make laws` left and runs nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from laws_run import from_json
from laws_table import summary

RESULTS = Path(__file__).parent / "results"


def table(folder: Path = RESULTS) -> str:
    """Hits over all laws and seeds, and CPU seconds, by what was asked and who was."""
    stored = json.loads((folder / "laws.json").read_text(encoding="utf-8"))
    return summary([from_json(row) for row in stored["results"]])


if __name__ == "__main__":
    print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS))
