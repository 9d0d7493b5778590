"""Open mutated files in every way there is, and see that nothing but our errors comes out.

    python tests/fuzz_files.py --count 20000 --kind symc --seed 1

Each mutant is opened in a process of its own for a thousand of them, on a clock, and with its
memory watched. What fails is kept in --folder with the seed that makes it again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from children import Child
from fuzzing import KINDS, mutant

SECONDS = 5.0  # of processor time that one way to open a file may take
STALLED = 120.0  # seconds without any of it
MEMORY = 512 * 2**20
TOGETHER = 1000
DONE = "all of them opened"
FORMATS = ("text", "md", "json", "github", "html")
ENDINGS = {"symc": ".symc", "manifest": ".json", "onnx": ".onnx", "recording": ".safetensors"}


class HangError(BaseException):
    """A way to open a file took too long; no wall may catch it."""


# --- one mutant ----------------------------------------------------------------------------------


def ways(kind: str, path: Path, base: Path, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What can be done with a file, by name."""
    import symcompile
    from symcompile.cli.summary import summary
    from symcompile.diff import diff
    from symcompile.diff.readers import read
    from symcompile.diff.textconv import lines
    from symcompile.storage.recording import Recording

    if kind == "recording":
        yield "Recording.load", lambda: Recording.load(path)
        return
    if kind == "journal":
        yield "journal", lambda: found_in_journal(path)
        return
    pair = (path, base) if seed % 2 else (base, path)
    format = FORMATS[seed % len(FORMATS)]
    yield "show", lambda: summary(path)
    yield "show --lines", lambda: lines(read(path))
    yield f"diff --format {format}", lambda: diff(*pair, proof_steps=2_000).render(format)
    if kind == "symc":
        yield "load", lambda: used(symcompile.load(path), seed)


def used(compiled: Any, seed: int) -> None:
    """What people do first with a model that could be loaded."""
    from symcompile import exporters

    str(compiled.report)
    repr(compiled)
    compiled.report.to_dict()
    if seed % 20 == 0:
        with contextlib.suppress(Exception):
            exporters.manifest(compiled)


def found_in_journal(path: Path) -> None:
    from symcompile.storage.journal import _read
    from symcompile.storage.reading import or_none

    found = or_none(lambda: _read(path))
    if found is not None:
        str(found)


def problem(kind: str, path: Path, base: Path, seed: int) -> str | None:
    """What is wrong with how a file is opened, None if nothing."""
    for name, open_ in ways(kind, path, base, seed):
        before = _reset_peak()
        found = _on_the_clock(open_)
        growth = _peak() - before
        if found is None and growth > MEMORY:
            found = f"grew by {growth >> 20} MiB"
        if found is not None:
            return f"{name}: {found}"
    return None


def _on_the_clock(open_: Callable[[], Any]) -> str | None:
    from symcompile.errors import SymCompileError

    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            open_()
    except SymCompileError as error:
        return None if str(error).isprintable() else f"control characters in {str(error)!r}"
    except HangError:
        return f"took over {SECONDS:g} s\n{traceback.format_exc(limit=-12)}"
    except BaseException:
        return traceback.format_exc(limit=-12)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _too_long(*_: Any) -> None:
    raise HangError


def _reset_peak() -> int:
    """Bytes in memory now; the peak is counted from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- many ----------------------------------------------------------------------------------------


def fuzz(kind: str, bases: list[Path], seeds: range, folder: Path) -> list[str]:
    """Open the mutants with these seeds in this process; the problems, of which each is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGPROF, _too_long)
    path = folder / f"mutant-{os.getpid()}{ENDINGS.get(kind, '.json')}"
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            mutant(kind, seed, bases, path)
            trouble = problem(kind, path, bases[0], seed)
            if trouble is not None:
                kept = path.rename(folder / f"{kind}-{seed}{path.suffix}")
                found.append(f"{kind} {seed} ({kept}): {trouble}")
            print(f"at {seed}", file=sys.stderr, flush=True) if seed % 50 == 0 else None
    path.unlink(missing_ok=True)
    return found


def bases_in(folder: Path) -> dict[str, list[Path]]:
    """Valid files of each kind, made where there are none yet."""
    import fuzz_bases

    return fuzz_bases.made(folder)


def _worker(options: argparse.Namespace) -> int:
    bases = bases_in(options.folder / "bases")[options.kind[0]]
    seeds = range(options.seed, options.seed + options.count)
    limit = 24 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(options.folder)
    found = fuzz(options.kind[0], bases, seeds, options.folder)
    for line in found:
        print(line, flush=True)
    print(DONE, flush=True)
    return int(bool(found))


def _run(kind: str, start: int, count: int, folder: Path) -> list[str]:
    """A process for some mutants; what it said."""
    options = ["--worker", "--kind", kind, "--folder", str(folder)]
    options += ["--seed", str(start), "--count", str(count)]
    with Child(Path(__file__), *options) as worker:
        try:
            ended = worker.finished(timeout=STALLED + count * SECONDS / 5)
        except TimeoutError:
            out, err = worker.said()
            return [f"{kind} from {start}: stalled after {err.strip().splitlines()[-1:]}\n{out}"]
    out, err = ended.stdout, ended.stderr
    said, done, _ = out.rpartition(DONE)
    if not done:  # it was killed, or the mutator itself failed
        return [f"{kind} from {start}: ended with {ended.returncode}: {err[-2000:]}\n{out}"]
    return [said.strip()] if said.strip() else []


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--count", type=int, default=20_000, help="mutants of each kind")
    parser.add_argument("--seed", type=int, default=1, help="of the first one")
    parser.add_argument("--folder", type=Path, default=Path("fuzzed"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.folder = options.folder.resolve()
    if options.worker:
        return _worker(options)
    bases_in(options.folder / "bases")
    trouble = 0
    for kind in options.kind:
        start, found = time.monotonic(), []
        last = options.seed + options.count
        for first in range(options.seed, last, TOGETHER):
            found += _run(kind, first, min(TOGETHER, last - first), options.folder)
        for line in itertools.islice(found, 20):
            print(line)
        seconds = time.monotonic() - start
        print(f"{kind}: {options.count} mutants from seed {options.seed} in {seconds:.0f} s,"
              f" {len(found) or 'no'} trouble", flush=True)  # fmt: skip
        trouble += len(found)
    return int(bool(trouble))


if __name__ == "__main__":
    raise SystemExit(main())
