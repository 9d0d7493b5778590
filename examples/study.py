"""What the experiments share: their options, their tables, and the files that they leave.

Every experiment writes three files into the folder that `--output` names: NAME.json (all figures,
with seeds and versions), NAME.md (the printed table) and NAME.png (the picture).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from symcompile import __version__

PACKAGES = ("torch", "pyoperon", "sympy", "numpy", "scipy", "pysindy", "transformers")


@dataclass(frozen=True)
class Study:
    """One run of an experiment: what was asked for, and where the results go.

    Attributes:
        name: stem of the files that are written.
        quick: a small version was asked for, one that CI can run.
        output: folder of the results.
    """

    name: str
    quick: bool
    output: Path
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def from_command_line(cls, name: str, doc: str, quick: str) -> Study:
        """Read the options; `quick` says in a few words what `--quick` leaves out."""
        options = cls.parser(doc, quick).parse_args()
        return cls(name, options.quick, options.output)

    @staticmethod
    def parser(doc: str, quick: str) -> argparse.ArgumentParser:
        """The options that every experiment has, for those that add options of their own."""
        parser = argparse.ArgumentParser(description=doc.splitlines()[0])
        parser.add_argument("--quick", action="store_true", help=quick)
        parser.add_argument(
            "--output", type=Path, default=Path("results"), help="folder of the results"
        )
        return parser

    @property
    def picture(self) -> Path:
        """Where the picture goes; its folder exists."""
        self.output.mkdir(parents=True, exist_ok=True)
        return self.output / f"{self.name}.png"

    def finish(
        self,
        table: str,
        results: Any,
        *,
        seeds: Mapping[str, Sequence[int]] | Sequence[int],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Print the table; write table and results beside the picture.

        Args:
            results: anything that JSON can hold, in the order in which it should be read.
            seeds: the seeds that were run, by their part of the experiment if there are several.
            settings: sizes and choices that a reader needs to repeat the run.
        """
        seconds = time.perf_counter() - self.started
        facts = {
            "experiment": self.name,
            "quick": self.quick,
            "seeds": seeds if isinstance(seeds, Mapping) else list(seeds),
            "settings": settings or {},
            "versions": versions(),
            "cores": os.cpu_count(),
            "seconds": round(seconds, 1),
            "results": results,
        }
        self.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(facts, indent=1, allow_nan=False)
        (self.output / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        (self.output / f"{self.name}.md").write_text(table + "\n", encoding="utf-8")
        print(f"{table}\n\n{self.name}: {seconds:.0f} s, results in {self.output}/")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the figures depend on."""
    own = {"python": platform.python_version(), "symcompile": __version__}
    return own | {name: version(name) for name in PACKAGES if find_spec(name) is not None}


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns padded so that it reads well in a terminal too."""
    lines = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    text = [f"| {' | '.join(cells)} |" for cells in padded]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def processes(n: int = 2) -> ProcessPoolExecutor:
    """Processes that start anew: forked ones would inherit locks of torch's threads."""
    return ProcessPoolExecutor(n, multiprocessing.get_context("spawn"))
