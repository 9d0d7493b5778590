"""The command line: `symcompile demo | show FILE | export FILE.symc OUT | diff OLD NEW | git`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from symcompile._version import __version__
from symcompile.diff.formats import FORMATS
from symcompile.diff.rules import CATEGORIES, Rules
from symcompile.errors import ExportError, SymCompileError, one_line
from symcompile.storage.files import replacing, without_waiting

DIFFERENT, TROUBLE = 1, 2
INTERRUPTED = 130  # as shells tell that Ctrl-C ended a command

_GROUPS = {"git": "git diff and pre-commit speak of equations"}
_FILE = "a .symc artifact, a manifest, or an ONNX file"
_FILES = ".symc artifacts, manifests, or ONNX files"
_COLORS = ("auto", "always", "never")
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

_Run = Callable[[argparse.Namespace], int | None]
# An argument as `add_argument` takes it.
_Argument = tuple[str, dict[str, Any]]

_COMMANDS: dict[str, tuple[_Run, tuple[_Argument, ...], str | None]] = {}


def _command(*arguments: _Argument, epilog: str | None = None) -> Callable[[_Run], _Run]:
    """Puts a function on the command line: `_git_diff` is `git diff`, its first line the help."""

    def add(run: _Run) -> _Run:
        _COMMANDS[run.__name__.strip("_").replace("_", " ")] = run, arguments, epilog
        return run

    return add


def _argument(name: str, about: str | None = None, **options: Any) -> _Argument:
    return name, {"help": about, **options}


def _flag(name: str, about: str, **options: Any) -> _Argument:
    return _argument(name, about, action="store_true", **options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symcompile",
        description="Replace parts of a trained PyTorch model by closed-form equations.",
    )
    parser.add_argument("--version", action="version", version=f"symcompile {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, (run, arguments, epilog) in _COMMANDS.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            inner = groups[""].add_parser(group, help=_GROUPS[group])
            groups[group] = inner.add_subparsers(metavar="COMMAND", required=True)
        about = str(run.__doc__).splitlines()[0]
        command = groups[group].add_parser(last, help=about, epilog=epilog)
        for argument, options in arguments:
            command.add_argument(argument, **options)
        command.set_defaults(run=run)
    return parser


def _limit(name: str, meaning: str) -> _Argument:
    default = getattr(Rules(), name)
    about = f"{meaning} (default {default:g})"
    option = f"--{name.replace('_', '-')}"
    return _argument(option, about, type=float, default=default, metavar="X")


_CATEGORIES = f"any of {','.join(CATEGORIES)} (all by default), none"
# The fields of Rules.
_RULES = {
    "fail_on": _argument(
        "--fail-on", f"what makes the exit status 1: {_CATEGORIES}", metavar="NAMES"
    ),
    "rtol": _limit("rtol", "relative change of a constant that is allowed"),
    "atol": _limit("atol", "absolute change of a constant that is allowed"),
    "max_fidelity_drop": _limit(
        "max_fidelity_drop", "how far R2 may fall and a relative L2 error may rise"
    ),
}


def _rules(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in _RULES}


# --- what it does --------------------------------------------------------------------------------


@_command(
    _flag("--quick", "train for a tenth of the epochs"),
    _argument("--output", "where its files go", default="symcompile-demo", metavar="FOLDER"),
)
def _demo(options: argparse.Namespace) -> None:
    """compile a small physics-informed network end to end"""
    from symcompile.cli import demo

    demo.main(options.output, quick=options.quick)


@_command(_argument("file", _FILE), _flag("--lines", "everything that is known, a fact a line"))
def _show(options: argparse.Namespace) -> None:
    """print the equations in a file and how well they do"""
    if options.lines:
        from symcompile.diff.readers import read
        from symcompile.diff.textconv import lines
        from symcompile.storage.reading import reading

        with reading(options.file):
            shown = lines(read(options.file))
        print(shown, end="")
    else:
        from symcompile.cli.summary import summary

        print(summary(options.file))


@_command(
    _argument("file", "a .symc artifact"),
    _argument("out", "OUT.onnx, or OUT.json for the manifest"),
    _argument("--opset", "version of the ONNX operators", type=int),
    _argument("--dtype", "convert to this type", choices=("float32", "float64")),
    _flag("--flat", "no local functions, for toolchains without them"),
)
def _export(options: argparse.Namespace) -> None:
    """write a .symc artifact in another format"""
    from symcompile import load
    from symcompile.exporters import export, format_of
    from symcompile.storage.reading import wall

    format_of(options.out)  # before anything is read
    settings = {
        "opset": options.opset,
        "dtype": options.dtype,
        "functions": False if options.flat else None,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    with wall("can't export", options.file, kind=ExportError):
        export(load(options.file), options.out, **settings)
    print(f"wrote {one_line(options.out)}")


@_command(
    _argument("old", _FILE),
    _argument("new", _FILE),
    _argument("--format", "text, or what the ending of --output says", choices=FORMATS),
    _argument("--output", "write there instead of to the terminal", metavar="FILE"),
    _argument("--color", "of the text format", choices=_COLORS, default=_COLORS[0]),
    *_RULES.values(),
    epilog="exit status: 0 the same within the rules, 1 they differ, 2 trouble",
)
def _diff(options: argparse.Namespace) -> int:
    """compare two models: equations, graph, fidelity"""
    from symcompile.diff import diff

    comparison = diff(options.old, options.new, **_rules(options))
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
    text = text if text.endswith("\n") else text + "\n"
    try:
        # A pipe or a device takes the text itself; of what a link leads to, the link knows nothing.
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path)):
            with open(path, "w", encoding="utf-8", opener=without_waiting) as file:
                os.set_blocking(file.fileno(), True)
                file.write(text)
        else:
            with replacing(path, ExportError) as draft:
                draft.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"can't write {path!r}: {reason}") from error


# --- what git and pre-commit call ----------------------------------------------------------------


@_command(
    _argument("files", _FILES, nargs="+"),
    _argument("--since", "any name of a commit (default HEAD)", metavar="COMMIT"),
    _argument("--format", choices=("text", "md", "github"), default="text"),
    *_RULES.values(),
    epilog="exit status: 0 the same within the rules, or new; 1 they differ; 2 trouble",
)
def _git_diff(options: argparse.Namespace) -> int:
    """compare files with what they were in a commit"""
    # Trouble with one file leaves the others their turn.
    return max(_status(partial(_since, file, options)) for file in options.files)


def _since(file: str, options: argparse.Namespace) -> int:
    from symcompile.cli import git

    comparison = git.since(file, options.since, **_rules(options))
    if comparison is None:
        print(f"{one_line(file)}: new, there is nothing to compare it with")
        return 0
    color = {"color": git.wants_color()} if options.format == "text" else {}
    print(comparison.render(options.format, **color).rstrip("\n"))
    return 0 if comparison.same else DIFFERENT


@_command(_argument("files", _FILES, nargs="+"))
def _git_check(options: argparse.Namespace) -> int:
    """read files to the end; exit status 2 if one is damaged"""
    from symcompile.cli import git

    return max(_status(partial(git.check, file)) for file in options.files)


@_command(_flag("--global", "in all repositories of this user", dest="everywhere"))
def _git_setup(options: argparse.Namespace) -> None:
    """make git diff, log and difftool speak of equations"""
    from symcompile.cli import git

    print(git.setup(everywhere=options.everywhere))


@_command(_argument("file"))
def _git_textconv(options: argparse.Namespace) -> None:
    """git calls this: a model as text, a fact a line"""
    from symcompile.cli import git

    print(git.textconv(options.file), end="")


@_command(_argument("arguments", "those of an external diff driver of git", nargs="+"))
def _git_driver(options: argparse.Namespace) -> None:
    """git calls this: the comparison that git diff shows

    Name, old file, hash, mode, new file, hash, mode; and new name, likeness of a renamed one. Of a
    file that waits to be merged git gives the name alone.
    """
    from symcompile.cli import git

    path, *rest = options.arguments
    if len(rest) < 6:
        print(f"{git.headline(path, path)}\nnot merged yet")
    else:
        print(git.driver(path, rest[0], rest[3], renamed=(rest[6:7] or [None])[0]), end="")


if __name__ == "__main__":
    raise SystemExit(main())
