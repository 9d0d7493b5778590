"""The commands `symcompile git ...`: what git and pre-commit call, and how git is told to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from symcompile.errors import SymCompileError, one_line

DIFFERENT, TROUBLE = 1, 2

_FILES = ".symc artifacts, manifests, or ONNX files"


def add_git(commands: Any, add_rules: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the group to the command line; `add_rules` gives a parser the options of the rules."""
    group = commands.add_parser("git", help="git diff and pre-commit speak of equations")
    inner = group.add_subparsers(metavar="COMMAND", required=True)

    diff = inner.add_parser(
        "diff",
        help="compare files with what they were in a commit",
        epilog="exit status: 0 the same within the rules, or new; 1 they differ; 2 trouble",
    )
    diff.add_argument("files", nargs="+", help=_FILES)
    diff.add_argument("--since", metavar="COMMIT", help="any name of a commit (default HEAD)")
    diff.add_argument("--format", choices=("text", "md", "github"), default="text")
    add_rules(diff)
    diff.set_defaults(run=_diff)

    check = inner.add_parser("check", help="read files to the end; exit status 2 if one is damaged")
    check.add_argument("files", nargs="+", help=_FILES)
    check.set_defaults(run=_check)

    setup = inner.add_parser("setup", help="make git diff, log and difftool speak of equations")
    setup.add_argument(
        "--global", action="store_true", dest="everywhere", help="in all repositories of this user"
    )
    setup.set_defaults(run=_setup)

    textconv = inner.add_parser("textconv", help="git calls this: a model as text, a fact a line")
    textconv.add_argument("file")
    textconv.set_defaults(run=_textconv)

    driver = inner.add_parser("driver", help="git calls this: the comparison that git diff shows")
    driver.add_argument("arguments", nargs="+", help="those of an external diff driver of git")
    driver.set_defaults(run=_driver)


def _diff(options: argparse.Namespace) -> int:
    return max(_answered(partial(_compare, file, options)) for file in options.files)


def _compare(file: str, options: argparse.Namespace) -> int:
    from symcompile.cli import git

    rules = {name: getattr(options, name) for name in ("fail_on", "rtol", "atol")}
    found = git.since(file, options.since, **rules, max_fidelity_drop=options.max_fidelity_drop)
    if found is None:
        print(f"{one_line(file)}: new, there is nothing to compare it with")
        return 0
    text = options.format == "text"
    shown = found.render(options.format, **({"color": git.wants_color()} if text else {}))
    print(shown.rstrip("\n"))
    return 0 if found.same else DIFFERENT


def _check(options: argparse.Namespace) -> int:
    from symcompile.cli import git

    return max(_answered(partial(git.check, file)) for file in options.files)


def _answered(run: Callable[[], int | None]) -> int:
    """The status of one file; trouble with it leaves the others their turn."""
    try:
        return run() or 0
    except SymCompileError as error:
        print(f"symcompile: {one_line(str(error))}", file=sys.stderr)
        return TROUBLE


def _setup(options: argparse.Namespace) -> int:
    from symcompile.cli import git

    print(git.setup(everywhere=options.everywhere))
    return 0


def _textconv(options: argparse.Namespace) -> int:
    from symcompile.cli import git

    print(git.textconv(options.file), end="")
    return 0


def _driver(options: argparse.Namespace) -> int:
    """Name, old file, hash, mode, new file, hash, mode; and new name, likeness of a renamed one.

    Of a file that waits to be merged git gives the name alone.
    """
    from symcompile.cli import git

    given = options.arguments
    if len(given) < 7:
        print(f"{git.headline(given[0], given[0])}\nnot merged yet")
    else:
        print(git.driver(given[0], given[1], given[4], renamed=(given[7:8] or [None])[0]), end="")
    return 0
