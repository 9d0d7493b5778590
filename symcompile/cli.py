"""The command line: `symcompile demo | show FILE | export FILE.symc OUT`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from symcompile._version import __version__
from symcompile.errors import ExportError, SymCompileError

TROUBLE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; errors of our family are one line on stderr."""
    options = _parser().parse_args(argv)
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a closed pipe is an answer and not a complaint at exit
        return status
    except SymCompileError as error:
        print(f"symcompile: {error}", file=sys.stderr)
        return TROUBLE
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
    show.add_argument("file", help="a .symc artifact, a manifest, or an ONNX file of symcompile")
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
    return parser


def _demo(options: argparse.Namespace) -> int:
    from symcompile import demo

    return demo.main(options.output, quick=options.quick)


def _show(options: argparse.Namespace) -> int:
    from symcompile.summary import summary

    print(summary(options.file))
    return 0


def _export(options: argparse.Namespace) -> int:
    if not options.out.endswith((".onnx", ".json")):
        raise ExportError(
            f"can't tell the format of {options.out!r}: end it in .onnx, or .json for a manifest"
        )
    from symcompile import exporters, load

    compiled = load(options.file)
    if options.out.endswith(".json"):
        exporters.manifest(compiled, options.out)
    else:
        exporters.onnx(
            compiled,
            options.out,
            opset=options.opset,
            dtype=options.dtype,
            functions=not options.flat,
        )
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
