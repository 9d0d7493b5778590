"""PySR's Julia: whether it is set up, and the one place that starts it.

Importing pysr imports juliacall, which asks juliapkg for a Julia and a project, and then starts
Julia inside of this process. Where either is missing, juliapkg downloads and compiles for minutes.
So nothing here imports pysr before it is known that the import only has to start Julia.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from symcompile.errors import EngineError

_SET_UP = (
    "run this once where there is network: python -c 'import pysr' (it fetches Julia and PySR's"
    " packages), or import pysr at the top of your program, or use engine='operon', which needs no"
    " Julia"
)

_forked = False  # whether this process is a fork of one in which Julia ran
_home: int | None = None  # the thread in which Julia was started here
_starting = threading.Lock()


def julia_is_ready() -> bool:
    """Whether `import pysr` would start a Julia that is already here, and download nothing.

    Looks at files only: quick, starts no process, never raises. It would rather say no than guess:
    a wrong no leaves "auto" with operon, a wrong yes ends in a download or an error.
    """
    try:
        if "pysr" in sys.modules:
            return True
        if not (find_spec("pysr") and find_spec("juliacall")):
            return False
        exe, project = _juliacall_option("exe"), _juliacall_option("project")
        if exe and project:  # then juliacall never asks juliapkg
            return shutil.which(exe) is not None and _has_packages(Path(project))
        # With only one of the two it refuses to start.
        return not (exe or project) and _juliapkg_has_resolved()
    except Exception:  # a half-removed or newer juliapkg fails in ways of its own
        return False


def load_pysr() -> ModuleType:
    """Import pysr, which starts Julia the first time.

    Raises EngineError if pysr or Julia is not there, or in a place where Julia would hang.
    """
    global _home
    with _starting:
        if _forked:
            raise EngineError(
                "Julia was started before this process was forked: use a pool of spawned processes,"
                " multiprocessing.get_context('spawn')"
            )
        # Called from one Python thread while the one that started it waits in another, Julia hangs
        # at its next garbage collection (PythonCall.jl issue 578). Whoever imported pysr before us
        # most likely did so in the main thread.
        home = _home or threading.main_thread().ident
        if "pysr" in sys.modules and home != threading.get_ident():
            raise EngineError(
                "engine 'pysr' was called from a second thread, where Julia hangs: search in one"
                " thread, or give an executor of spawned processes"
            )
        if find_spec("pysr") is None:
            raise EngineError("engine 'pysr' needs the package: pip install pysr")
        if not julia_is_ready():
            raise EngineError(f"engine 'pysr' needs Julia, which is not set up here: {_SET_UP}")
        if "pysr" not in sys.modules:
            _home = threading.get_ident()
        try:
            import pysr
        except Exception as error:
            raise EngineError(f"PySR can't start Julia ({error}): {_SET_UP}") from error
        return pysr


def _note_fork() -> None:
    global _forked
    _forked = "juliacall" in sys.modules


if hasattr(os, "register_at_fork"):  # POSIX; Windows always spawns
    os.register_at_fork(after_in_child=_note_fork)


def _juliacall_option(name: str) -> str | None:
    value = sys._xoptions.get(f"juliacall-{name}") or os.getenv(f"PYTHON_JULIACALL_{name.upper()}")
    return value if isinstance(value, str) else None


def _juliapkg_has_resolved() -> bool:
    """What juliapkg itself checks before it skips resolving (`juliapkg.deps.can_skip_resolve`),
    except that it also runs `julia --version`, and takes a lock file to do so."""
    from juliapkg import deps
    from juliapkg.state import STATE

    if STATE["resolved"]:
        return True
    meta = deps.load_meta()  # None too if another version of juliapkg wrote it
    if meta is None or not os.access(meta["executable"], os.X_OK):
        return False
    if any(meta[key] != STATE[key] for key in ("dev", "override_executable")):
        return False
    # Once resolved offline, juliapkg resolves again as soon as it is online; and whenever a package
    # that has a juliapkg.json was installed, removed or updated since.
    recorded = {name: info["hash_sha256"] for name, info in meta["deps_files"].items()}
    current = {
        name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in deps.deps_files()
    }
    online_again = meta["offline"] and not STATE["offline"]
    return not online_again and recorded == current and _has_packages(Path(STATE["project"]))


def _has_packages(project: Path) -> bool:
    """Whether a project was resolved with PySR's backend, and the backend is on this machine: an
    image may hold the Python environment, and the project in it, without Julia's depot."""
    manifests = [path.read_text(errors="replace") for path in project.glob("*Manifest*.toml")]
    needed = ("SymbolicRegression", "PythonCall")
    if not any(all(f"[[deps.{name}]]" in text for name in needed) for text in manifests):
        return False
    entries = os.environ.get("JULIA_DEPOT_PATH", "").split(os.pathsep)
    depots = [Path(entry) if entry else Path.home() / ".julia" for entry in entries]
    return any((depot / "packages" / needed[0]).is_dir() for depot in depots)
