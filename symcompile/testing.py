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
from collections.abc import Collection
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
    """Fail with a readable comparison if the equations are not those of a golden file.

    Args:
        compiled: a Compiled, or whatever else `diff` takes.
        golden: a manifest, `.symc` artifact or ONNX file. A relative path starts at the folder of
            the file that calls this function, wherever the test runner was started; in a notebook
            or a shell it starts at the current folder.
        rtol, atol: a constant that moved by up to `atol + rtol * |old|` is the same. A machine with
            another processor may fit the last digits otherwise.
        fail_on: what counts as a difference, see `symcompile.diff.Rules`.
        max_fidelity_drop: with "fidelity" among `fail_on`, how far R2 may fall and a relative L2
            error may rise.
        update: write the golden file instead of comparing with it. None means: if pytest runs with
            `--update-equations`, or SYMCOMPILE_UPDATE is set in the environment.

    Raises:
        AssertionError: the equations differ, or there is no golden file yet; its message ends with
            what to type to accept them.
        ArtifactError: the golden file is damaged.
        ComparisonError: rules that make no sense, or an object that can't be compared or written.
    """
    __tracebackhide__ = True
    path = _place(golden, sys._getframe(1))
    if _wants_update(update):
        _update(compiled, path)
        return
    if not path.exists():
        raise AssertionError(
            f"there is no golden file {str(path)!r} to compare the equations with."
            f" To write it, read it, and commit it:\n\n    {_command()}\n"
        )
    from symcompile.diff import diff

    rules = {"rtol": rtol, "atol": atol, "max_fidelity_drop": max_fidelity_drop}
    comparison = diff(path, compiled, fail_on=fail_on, **rules)
    if not comparison.same:
        raise AssertionError(
            f"the equations are not those of {str(path)!r}\n\n{comparison}\n\n"
            f"To accept them, write the file anew and commit it:\n\n    {_command()}\n"
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
    with replacing(path) as draft:
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
