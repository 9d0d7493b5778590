"""The command line: `symcompile demo | show FILE | export FILE.symc OUT | diff OLD NEW | git`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from symcompile._version import __version__
from symcompile.cli.git_commands import add_git
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
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a closed pipe is an answer and not a complaint at exit
        return status
    except SymCompileError as error:
        print(f"symcompile: {one_line(str(error))}", file=sys.stderr)
        return TROUBLE
    except KeyboardInterrupt:
        print("symcompile: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symcompile",
        description="Replace parts of a trained PyTorch model by closed-form equations.",
    )
    parser.add_argument("--version", action="version", version=f"symcompile {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="compile a small physics-informed network end to end")
    demo.add_argument("--quick", action="store_true", help="train for a tenth of the epochs")
    demo.add_argument(
        "--output", default="symcompile-demo", metavar="FOLDER", help="where its files go"
    )
    demo.set_defaults(run=_demo)

    show = commands.add_parser("show", help="print the equations in a file and how well they do")
    show.add_argument("file", help="a .symc artifact, a manifest, or an ONNX file")
    show.add_argument(
        "--lines", action="store_true", help="everything that is known, a fact a line"
    )
    show.set_defaults(run=_show)

    export = commands.add_parser("export", help="write a .symc artifact in another format")
    export.add_argument("file", help="a .symc artifact")
    export.add_argument("out", help="OUT.onnx, or OUT.json for the manifest")
    export.add_argument("--opset", type=int, help="version of the ONNX operators")
    export.add_argument("--dtype", choices=("float32", "float64"), help="convert to this type")
    export.add_argument(
        "--flat", action="store_true", help="no local functions, for toolchains without them"
    )
    export.set_defaults(run=_export)

    _add_diff(commands)
    add_git(commands, _add_rules)
    return parser


def _add_diff(commands: Any) -> None:
    diff = commands.add_parser(
        "diff",
        help="compare two models: equations, graph, fidelity",
        epilog="exit status: 0 the same within the rules, 1 they differ, 2 trouble",
    )
    files = "a .symc artifact, a manifest, or an ONNX file"
    diff.add_argument("old", help=files)
    diff.add_argument("new", help=files)
    diff.add_argument("--format", choices=FORMATS, help="text, or what the ending of --output says")
    diff.add_argument("--output", metavar="FILE", help="write there instead of to the terminal")
    diff.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="of the text format"
    )
    _add_rules(diff)
    diff.set_defaults(run=_diff)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail-on",
        metavar="NAMES",
        help=f"what makes the exit status 1: any of {','.join(CATEGORIES)} (all by default), none",
    )
    rules = {name: getattr(Rules(), name) for name in ("rtol", "atol", "max_fidelity_drop")}
    meanings = {
        "rtol": "relative change of a constant that is allowed",
        "atol": "absolute change of a constant that is allowed",
        "max_fidelity_drop": "how far R2 may fall and a relative L2 error may rise",
    }
    for name, default in rules.items():
        option = f"--{name.replace('_', '-')}"
        help_ = f"{meanings[name]} (default {default:g})"
        parser.add_argument(option, type=float, default=default, metavar="X", help=help_)


def _demo(options: argparse.Namespace) -> int:
    from symcompile.cli import demo

    return demo.main(options.output, quick=options.quick)


def _show(options: argparse.Namespace) -> int:
    if options.lines:
        from symcompile.diff.lines import lines
        from symcompile.diff.readers import read
        from symcompile.storage.reading import reading

        with reading(options.file):
            shown = lines(read(options.file))
        print(shown, end="")
        return 0
    from symcompile.cli.summary import summary

    print(summary(options.file))
    return 0


def _export(options: argparse.Namespace) -> int:
    from symcompile import load
    from symcompile.exporters import by_ending
    from symcompile.storage.reading import wall

    by_ending.format_of(options.out)  # before anything is read
    given = {
        "opset": options.opset,
        "dtype": options.dtype,
        "functions": False if options.flat else None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    with wall("can't export", options.file, kind=ExportError):
        by_ending.export(load(options.file), options.out, **chosen)
    print(f"wrote {one_line(options.out)}")
    return 0


def _diff(options: argparse.Namespace) -> int:
    from symcompile.diff import diff

    found = diff(
        options.old,
        options.new,
        fail_on=options.fail_on,
        rtol=options.rtol,
        atol=options.atol,
        max_fidelity_drop=options.max_fidelity_drop,
    )
    format_ = options.format or _ENDINGS.get(os.path.splitext(options.output or "")[1], "text")
    shown = found.render(format_, **({"color": _color(options)} if format_ == "text" else {}))
    if options.output is None:
        print(shown.removesuffix("\n"))
    else:
        _write(options.output, shown)
    return 0 if found.same else DIFFERENT


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


if __name__ == "__main__":
    raise SystemExit(main())
