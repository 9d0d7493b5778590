"""The command line: `symcompile demo | show FILE | export FILE.symc OUT | diff OLD NEW | git`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from symcompile._version import __version__
from symcompile.diff.formats import FORMATS
from symcompile.diff.rules import CATEGORIES, Rules
from symcompile.errors import ExportError, SymCompileError, one_line
from symcompile.storage.files import without_waiting

DIFFERENT, TROUBLE = 1, 2
INTERRUPTED = 130  # as shells tell that Ctrl-C ended a command

_ENDINGS = {".md": "md", ".json": "json", ".html": "html"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; errors of our family are one line on stderr."""
    options = _parser().parse_args(argv)
    if sys.stdout.encoding and sys.stdout.encoding.lower() != "utf-8":
        # Names of files and blocks may have letters that a terminal has not.
        getattr(sys.stdout, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        status = _status(partial(options.run, options))
        sys.stdout.flush()  # here, where a closed pipe is an answer and not a complaint at exit
        return status
    except KeyboardInterrupt:
        print("symcompile: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE


def _status(run: Callable[[], int | None]) -> int:
    try:
        return int(run() or 0)
    except SymCompileError as error:
        print(f"symcompile: {one_line(str(error))}", file=sys.stderr)
        return TROUBLE


# --- what can be typed ---------------------------------------------------------------------------

_FILE = {"help": "a .symc artifact, a manifest, or an ONNX file"}
_FILES = {"nargs": "+", "help": ".symc artifacts, manifests, or ONNX files"}
_RULES = {
    "rtol": "relative change of a constant that is allowed",
    "atol": "absolute change of a constant that is allowed",
    "max_fidelity_drop": "how far R2 may fall and a relative L2 error may rise",
}


class _Command(NamedTuple):
    """`arguments` as `add_argument` takes them, by name."""

    run: Callable[[argparse.Namespace], int | None]
    about: str
    arguments: dict[str, dict[str, Any]]
    epilog: str | None = None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symcompile",
        description="Replace parts of a trained PyTorch model by closed-form equations.",
    )
    parser.add_argument("--version", action="version", version=f"symcompile {__version__}")
    outer = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(outer, _commands())
    git = outer.add_parser("git", help="git diff and pre-commit speak of equations")
    _add(git.add_subparsers(metavar="COMMAND", required=True), _git_commands())
    return parser


def _add(group: Any, commands: Mapping[str, _Command]) -> None:
    for name, command in commands.items():
        parser = group.add_parser(name, help=command.about, epilog=command.epilog)
        for argument, options in command.arguments.items():
            parser.add_argument(argument, **options)
        parser.set_defaults(run=command.run)


def _commands() -> dict[str, _Command]:
    demo = {
        "--quick": _flag("train for a tenth of the epochs"),
        "--output": _value("FOLDER", "where its files go", default="symcompile-demo"),
    }
    show = {"file": _FILE, "--lines": _flag("everything that is known, a fact a line")}
    export: dict[str, dict[str, Any]] = {
        "file": {"help": "a .symc artifact"},
        "out": {"help": "OUT.onnx, or OUT.json for the manifest"},
        "--opset": {"type": int, "help": "version of the ONNX operators"},
        "--dtype": {"choices": ("float32", "float64"), "help": "convert to this type"},
        "--flat": _flag("no local functions, for toolchains without them"),
    }
    colors = {"choices": ("auto", "always", "never"), "default": "auto"}
    diff: dict[str, dict[str, Any]] = {
        "old": _FILE,
        "new": _FILE,
        "--format": {"choices": FORMATS, "help": "text, or what the ending of --output says"},
        "--output": _value("FILE", "write there instead of to the terminal"),
        "--color": {**colors, "help": "of the text format"},
        **_rules(),
    }
    exits = "exit status: 0 the same within the rules, 1 they differ, 2 trouble"
    about = "compile a small physics-informed network end to end"
    return {
        "demo": _Command(_demo, about, demo),
        "show": _Command(_show, "print the equations in a file and how well they do", show),
        "export": _Command(_export, "write a .symc artifact in another format", export),
        "diff": _Command(_diff, "compare two models: equations, graph, fidelity", diff, exits),
    }


def _git_commands() -> dict[str, _Command]:
    diff = {
        "files": _FILES,
        "--since": _value("COMMIT", "any name of a commit (default HEAD)"),
        "--format": {"choices": ("text", "md", "github"), "default": "text"},
        **_rules(),
    }
    about = "compare files with what they were in a commit"
    exits = "exit status: 0 the same within the rules, or new; 1 they differ; 2 trouble"
    check = "read files to the end; exit status 2 if one is damaged"
    setup = "make git diff, log and difftool speak of equations"
    everywhere = {"dest": "everywhere", **_flag("in all repositories of this user")}
    textconv = "git calls this: a model as text, a fact a line"
    driver = "git calls this: the comparison that git diff shows"
    arguments = {"nargs": "+", "help": "those of an external diff driver of git"}
    return {
        "diff": _Command(_git_diff, about, diff, exits),
        "check": _Command(_git_check, check, {"files": _FILES}),
        "setup": _Command(_git_setup, setup, {"--global": everywhere}),
        "textconv": _Command(_git_textconv, textconv, {"file": {}}),
        "driver": _Command(_git_driver, driver, {"arguments": arguments}),
    }


def _flag(about: str) -> dict[str, Any]:
    return {"action": "store_true", "help": about}


def _value(name: str, about: str, **options: Any) -> dict[str, Any]:
    return {"metavar": name, "help": about, **options}


def _rules() -> dict[str, dict[str, Any]]:
    """The options of `symcompile.diff.rules.Rules`."""
    names = f"any of {','.join(CATEGORIES)} (all by default), none"
    arguments = {"--fail-on": _value("NAMES", f"what makes the exit status 1: {names}")}
    for name, meaning in _RULES.items():
        default = getattr(Rules(), name)
        about = f"{meaning} (default {default:g})"
        arguments[f"--{name.replace('_', '-')}"] = _value("X", about, type=float, default=default)
    return arguments


def _chosen_rules(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("fail_on", *_RULES)}


# --- what it does --------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    from symcompile.cli import demo

    return demo.main(options.output, quick=options.quick)


def _show(options: argparse.Namespace) -> None:
    if options.lines:
        from symcompile.diff.lines import lines
        from symcompile.diff.readers import read
        from symcompile.storage.reading import reading

        with reading(options.file):
            shown = lines(read(options.file))
        print(shown, end="")
    else:
        from symcompile.cli.summary import summary

        print(summary(options.file))


def _export(options: argparse.Namespace) -> None:
    from symcompile import load
    from symcompile.exporters import by_ending
    from symcompile.storage.reading import wall

    by_ending.format_of(options.out)  # before anything is read
    wanted = {
        "opset": options.opset,
        "dtype": options.dtype,
        "functions": False if options.flat else None,
    }
    chosen = {name: value for name, value in wanted.items() if value is not None}
    with wall("can't export", options.file, kind=ExportError):
        by_ending.export(load(options.file), options.out, **chosen)
    print(f"wrote {one_line(options.out)}")


def _diff(options: argparse.Namespace) -> int:
    from symcompile.diff import diff

    comparison = diff(options.old, options.new, **_chosen_rules(options))
    format_ = options.format or _ENDINGS.get(os.path.splitext(options.output or "")[1], "text")
    shown = comparison.render(format_, **({"color": _color(options)} if format_ == "text" else {}))
    if options.output is None:
        print(shown.removesuffix("\n"))
    else:
        _write(options.output, shown)
    return 0 if comparison.same else DIFFERENT


def _color(options: argparse.Namespace) -> bool:
    """As https://no-color.org asks, and only where a person reads."""
    if options.color != "auto":
        return bool(options.color == "always")
    plain = options.output is not None or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain and not os.environ.get("NO_COLOR")


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", opener=without_waiting) as file:
            os.set_blocking(file.fileno(), True)
            file.write(text if text.endswith("\n") else text + "\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"can't write {path!r}: {reason}") from error


# --- what git and pre-commit call ----------------------------------------------------------------


def _git_diff(options: argparse.Namespace) -> int:
    """Trouble with one file leaves the others their turn."""
    return max(_status(partial(_since, file, options)) for file in options.files)


def _since(file: str, options: argparse.Namespace) -> int:
    from symcompile.cli import git

    comparison = git.since(file, options.since, **_chosen_rules(options))
    if comparison is None:
        print(f"{one_line(file)}: new, there is nothing to compare it with")
        return 0
    color = {"color": git.wants_color()} if options.format == "text" else {}
    print(comparison.render(options.format, **color).rstrip("\n"))
    return 0 if comparison.same else DIFFERENT


def _git_check(options: argparse.Namespace) -> int:
    from symcompile.cli import git

    return max(_status(partial(git.check, file)) for file in options.files)


def _git_setup(options: argparse.Namespace) -> None:
    from symcompile.cli import git

    print(git.setup(everywhere=options.everywhere))


def _git_textconv(options: argparse.Namespace) -> None:
    from symcompile.cli import git

    print(git.textconv(options.file), end="")


def _git_driver(options: argparse.Namespace) -> None:
    """Name, old file, hash, mode, new file, hash, mode; and new name, likeness of a renamed one.

    Of a file that waits to be merged git gives the name alone.
    """
    from symcompile.cli import git

    path, *rest = options.arguments
    if len(rest) < 6:
        print(f"{git.headline(path, path)}\nnot merged yet")
    else:
        print(git.driver(path, rest[0], rest[3], renamed=(rest[6:7] or [None])[0]), end="")


if __name__ == "__main__":
    raise SystemExit(main())
