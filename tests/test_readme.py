"""The README shows what the repository runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", ["quickstart", "explain_prediction"])
def test_an_example_is_what_can_be_run(name: str) -> None:
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert source.split('"""\n', 1)[1].strip() in {block.strip() for block in blocks("python")}


def test_every_python_block_can_be_read() -> None:
    for code in blocks("python"):
        ast.parse(code)


def test_files_that_are_named_exist() -> None:
    for path in re.findall(r"`((?:passes|exporters|examples|symcompile)/[\w/.]*)`", README):
        assert (ROOT / path).exists(), path
