"""For test suites: a model's equations have to stay those of a file beside the test.

    from symcompile.testing import assert_same_equations

    def test_equations():
        assert_same_equations(symcompile(...), "model.manifest.json", rtol=1e-3)

`pytest --update-equations` writes the files anew, and SYMCOMPILE_UPDATE=1 under other test runners.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from symcompile.errors import ComparisonError

VARIABLE = "SYMCOMPILE_UPDATE"
OPTION = "--update-equations"

# Set by the pytest plugin: whether this run has OPTION, None where there is no plugin.
updating: bool | None = None
# Files written since the pytest plugin last looked.
written: list[str] = []


def assert_same_equations(
    compiled: Any,
    golden: str | os.PathLike[str],
    *,
    rtol: float = 1e-6,
    atol: float = 0.0,
    fail_on: str | Collection[str] = ("structure", "coefficient", "signature"),
    max_fidelity_drop: float = 0.0,
    update: bool | None = None,
) -> None:
    """Fail with a readable comparison if the equations (of a Compiled, or whatever else `diff`
    takes) are not those of a golden file.

    Args:
        golden: a manifest, `.symc` artifact or ONNX file, relative to the folder of the file that
            calls this function; in a notebook or a shell to the current folder.
        rtol, atol: a constant that moved by up to `atol + rtol * |old|` is the same.
        fail_on, max_fidelity_drop: what counts as a difference, see `symcompile.diff.Rules`.
        update: write the golden file instead of comparing with it. None means: if pytest runs with
            `--update-equations`, or SYMCOMPILE_UPDATE is set in the environment.

    Raises AssertionError (what to type to accept the equations comes last) if they differ or there
    is no golden file yet, ArtifactError if it is damaged, ComparisonError for rules that make no
    sense or an object that can't be compared or written.
    """
    __tracebackhide__ = True
    path = _place(golden, sys._getframe(1))
    if _wants_update(update):
        _update(compiled, path)
        return
    limits = {"rtol": rtol, "atol": atol, "max_fidelity_drop": max_fidelity_drop}
    problem = _problem(path, compiled, fail_on, limits)
    if problem:
        raise AssertionError(f"{problem}:\n\n    {_command()}\n")


def _problem(
    path: Path, compiled: Any, fail_on: str | Collection[str], limits: Mapping[str, float]
) -> str:
    """Why the equations are not accepted, and what to do about it; "" where they are."""
    if not path.exists():
        return (
            f"there is no golden file {str(path)!r} to compare the equations with."
            " To write it, read it, and commit it"
        )
    from symcompile.diff import diff

    comparison = diff(path, compiled, fail_on=fail_on, **limits)
    if comparison.same:
        return ""
    return (
        f"the equations are not those of {str(path)!r}\n\n{comparison}\n\n"
        "To accept them, write the file anew and commit it"
    )


def _place(golden: str | os.PathLike[str], caller: FrameType) -> Path:
    file = Path(caller.f_code.co_filename)
    folder = file.parent if file.is_file() else Path()
    return Path(os.path.abspath(folder / os.fspath(golden)))


def _wants_update(update: bool | None) -> bool:
    if update is not None:
        return update
    return bool(updating) or os.environ.get(VARIABLE, "").lower() not in ("", "0", "false", "no")


def _command() -> str:
    """What to type to write the golden file of the test that is running."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if not test:
        return f"{VARIABLE}=1 {shlex.join(['python', *sys.argv])}"
    if updating is None:
        return f"{VARIABLE}=1 pytest {shlex.quote(test)}"
    return f"pytest {OPTION} {shlex.quote(test)}"


# --- writing -------------------------------------------------------------------------------------


def _update(compiled: Any, path: Path) -> None:
    """Write the golden file if its bytes change, and say so."""
    from symcompile.storage.files import replacing

    before = path.read_bytes() if path.is_file() else None
    with suppress(OSError):  # whatever is wrong with the place is told below
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, with_others=True) as draft:
        _write(compiled, draft)
        if draft.read_bytes() == before:
            draft.unlink()
            return
    what = "new" if before is None else "changed"
    written.append(f"{path} ({what})")
    print(f"symcompile: wrote {path} ({what}), nothing was compared", file=sys.stderr)


def _write(compiled: Any, path: Path) -> None:
    if isinstance(compiled, (str, os.PathLike)):
        _copy(Path(compiled), path)
    elif not hasattr(compiled, "outcomes"):
        raise ComparisonError(
            f"can't write a golden file of a {type(compiled).__name__}: expected a Compiled or the"
            " path of a file"
        )
    elif path.suffix == ".symc":
        compiled.save(path)
    elif path.suffix == ".onnx":
        compiled.export(path)
    elif path.suffix == ".json":
        from symcompile import exporters

        exporters.manifest(compiled, path)
    else:
        raise ComparisonError(
            f"can't tell the format of a golden file that ends in {path.suffix!r}: end it in .symc,"
            " .onnx, or .json for a manifest"
        )


def _copy(source: Path, path: Path) -> None:
    if source.suffix != path.suffix:
        raise ComparisonError(
            f"{str(source)!r} can't become a golden file that ends in {path.suffix!r}: a copy keeps"
            " its format"
        )
    from symcompile.storage.files import opened

    with opened(source) as file, open(path, "wb") as copy:
        shutil.copyfileobj(file, copy)
