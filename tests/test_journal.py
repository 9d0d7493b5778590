"""The journal: what is finished is on disk at once, whatever was damaged counts as none."""

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from children import Child, wait_until
from fitting import distill

from symcompile.errors import ArtifactError, EngineError
from symcompile.expressions.equation import Equation
from symcompile.expressions.operator_set import OperatorSet
from symcompile.regression.dataset import Dataset
from symcompile.regression.fit import Fit
from symcompile.regression.pareto import ParetoFront
from symcompile.storage.files import PART, drafted
from symcompile.storage.journal import Journal, search_fingerprint

KEYS, RESTARTS = ("a", "b", "c", "d"), 3
OPERATORS = OperatorSet.of(["+", "*"])


@dataclass(frozen=True)
class Logging:
    """An engine that writes down when a search starts and ends."""

    log: str
    seconds: float = 0.0
    restarts: int = RESTARTS
    max_complexity: int = 30
    name: str = "logging"
    operators: OperatorSet = OPERATORS

    def fit(
        self, X: np.ndarray, y: np.ndarray, *, names: Sequence[str], seed: int = 0, **options: Any
    ) -> ParetoFront:
        self.note(f"start {y[0]} {seed}")
        time.sleep(self.seconds)
        expr = sympy.Float(1.1) * sympy.Symbol(names[0]) + sympy.Float(seed * 1e-9)
        self.note(f"end {y[0]} {seed}")
        return ParetoFront((Equation.of(expr, names, self.operators, 1.0),), 1.0)

    def note(self, text: str) -> None:
        with open(self.log, "a") as file:
            file.write(text + "\n")

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}


def fits(log: Path, seconds: float = 0.0, block: str = "") -> list[Fit]:
    X = np.random.default_rng(0).uniform(0, 1, (120, 2))
    engine, found = Logging(str(log), seconds), []
    for k, key in enumerate(KEYS):
        y = (k - 2.5) * X[:, 0] + 1.25
        halves = Dataset(X[:90], y[:90]), Dataset(X[90:], y[90:])
        found.append(Fit(key, *halves, ("a", "b"), engine, block=block, compute=False))
    return found


def noted(log: Path, what: str) -> list[tuple[str, ...]]:
    """First output and seed of each search that started, or ended."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [tuple(line[1:]) for line in lines if line[0] == what]


def entries(run_dir: Path) -> list[Path]:
    """Results on disk, those left out that are just being written."""
    return sorted(path for path in run_dir.rglob("*.json") if path.parent.suffix != PART)


def on_disk(run_dir: Path, log: Path) -> set[tuple[str, ...]]:
    """Output and seed of the searches whose results the journal holds."""
    return {
        (str(fit.data.y[0]), str(restart * 1_000_003))
        for fit in fits(log)
        for restart in range(RESTARTS)
        if (run_dir / "searches" / f"{search_fingerprint(fit, restart)}.json").exists()
    }


def test_a_front_is_on_disk_before_the_next_fit_is_searched(tmp_path: Path) -> None:
    seen = []

    def watch(key: str, done: float, best: str) -> None:
        seen.append((key, len(list((tmp_path / "fronts").iterdir()))))

    with ThreadPoolExecutor(1) as executor:
        distill(fits(tmp_path / "log"), executor=executor, progress=watch, run_dir=tmp_path)
    for key, n_fronts in seen:
        assert KEYS.index(key) <= n_fronts <= KEYS.index(key) + 1


RUN = """
import sys
from pathlib import Path
from test_journal import fits
from fitting import distill
fronts = distill(fits(Path(sys.argv[1]), 0.1, 'one'), run_dir=sys.argv[2])
print({key: str(front) for key, front in fronts.items()})
"""


def test_nothing_finished_is_searched_twice_after_a_kill(tmp_path: Path) -> None:
    """Killed after every third search; each run starts none of those that are on disk."""
    run_dir, before = tmp_path / "run", set()
    for n in (2, 6, 10):
        log = tmp_path / f"log{n}"
        with Child(RUN, str(log), str(run_dir)):  # and is killed
            wait_until(lambda n=n, log=log: len(on_disk(run_dir, log)) >= n)
        assert not before & set(noted(log, "start"))
        before = on_disk(run_dir, log)
    with Child(RUN, str(tmp_path / "last"), str(run_dir)) as last:
        output = last.finished().stdout
    assert not before & set(noted(tmp_path / "last", "start"))
    fresh = distill(fits(tmp_path / "fresh", block="one"))
    assert output.strip() == str({key: str(front) for key, front in fresh.items()})


def test_a_finished_search_is_on_disk_while_its_fit_is_searched(tmp_path: Path) -> None:
    """With a search that hangs, what the others found is kept."""
    release, kept = threading.Event(), []

    @dataclass(frozen=True)
    class Hanging(Logging):
        def fit(self, *arguments: Any, **options: Any) -> ParetoFront:
            if options["seed"] == 0:
                wait_until(lambda: len(entries(tmp_path)) == RESTARTS - 1)
                kept.extend(entries(tmp_path))
                release.set()
            return super().fit(*arguments, **options)

    (first, *_) = fits(tmp_path / "log")
    fit = Fit(**{**vars(first), "engine": Hanging(str(tmp_path / "log"))})
    with ThreadPoolExecutor(3) as executor:
        distill([fit], executor=executor, run_dir=tmp_path)
    assert release.is_set()
    assert {path.parent.name for path in kept} == {"searches"}


def sealed(body: str) -> bytes:
    """Forged: damage alone does not get past the first line."""
    import hashlib

    return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}".encode()


def without_instructions() -> str:
    program = {"version": 1, "n_inputs": 1, "n_slots": 0, "instructions": [], "outputs": [0]}
    row = {"symbols": ["a"], "constants": [], "complexity": 1, "loss": 1.0, "holdout_loss": None}
    return json.dumps({"variance": 1.0, "choice": None, "equations": [{**row, "program": program}]})


DAMAGE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "deep": b"[" * 200_000,
    "deep and sealed": sealed("[" * 200_000),
    "another type": sealed('{"equations": 3}'),
    "a list": sealed("[]"),
    "no program": sealed(without_instructions()),
    "a huge number": sealed('{"variance": 1e400, "choice": 0, "equations": []}'),
    "many digits": sealed('{"variance": %s, "choice": null, "equations": []}' % ("9" * 10_000)),
    "a surrogate": sealed('{"variance": "\\ud800", "equations": []}'),
    "of before": json.dumps({"key": "a", "front": {"variance": 1, "equations": []}}).encode(),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, ParetoFront], Path]:
    """What is found, and the journal of it."""
    folder = tmp_path_factory.mktemp("searched")
    return distill(fits(folder / "log"), run_dir=folder / "run"), folder / "run"


@pytest.fixture
def first(searched: tuple[dict[str, ParetoFront], Path], tmp_path: Path) -> Any:
    """What is found, and its journal in the test's own folder."""
    fronts, run_dir = searched
    shutil.copytree(run_dir, tmp_path / "run")
    return fronts


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damage_counts_as_none(
    tmp_path: Path, first: dict[str, ParetoFront], content: bytes
) -> None:
    for path in entries(tmp_path / "run"):
        path.write_bytes(content)
    again = distill(fits(tmp_path / "again"), run_dir=tmp_path / "run")
    assert again == first
    assert len(noted(tmp_path / "again", "start")) == len(KEYS) * RESTARTS
    distill(fits(tmp_path / "third"), run_dir=tmp_path / "run")
    assert not noted(tmp_path / "third", "start")


def test_one_other_digit_counts_as_damage(tmp_path: Path, first: dict[str, ParetoFront]) -> None:
    for path in entries(tmp_path / "run"):
        text = path.read_text()
        assert '"complexity": ' in text
        path.write_text(text.replace('"complexity": ', '"complexity": 1'))
    assert distill(fits(tmp_path / "log"), run_dir=tmp_path / "run") == first


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_what_is_no_file_counts_as_none(tmp_path: Path, first: dict[str, ParetoFront]) -> None:
    for k, path in enumerate(entries(tmp_path / "run")):
        path.unlink()
        (os.mkfifo, os.mkdir, lambda path: path.symlink_to(path))[k % 3](path)
    assert distill(fits(tmp_path / "log"), run_dir=tmp_path / "run") == first


def test_several_may_share_a_folder(tmp_path: Path) -> None:
    def one(k: int) -> Any:
        return distill(fits(tmp_path / f"log{k}"), run_dir=tmp_path / "run")

    with ThreadPoolExecutor(3) as threads:
        first, *others = threads.map(one, range(3))
    assert all(other == first for other in others)
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"can't write to run_dir .*No space left"):
        distill(fits(tmp_path / "log"), run_dir=tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_system_without_fsync_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unknown)
    distill(fits(tmp_path / "log"), run_dir=tmp_path)
    assert len(entries(tmp_path)) == len(KEYS) * (RESTARTS + 1)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ArtifactError, match="can't write to run_dir"):
        distill(fits(tmp_path / "log"), run_dir=tmp_path / "run")


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    Journal(tmp_path)
    old, new = tmp_path / "fronts" / "old.part", tmp_path / "fronts" / "new.part"
    for path in (old, new):
        path.write_text("half of")
    os.utime(old, (0, 0))
    Journal(tmp_path)
    assert [path.name for path in (tmp_path / "fronts").iterdir()] == ["new.part"]


def test_forms_of_others_are_tried_once(tmp_path: Path) -> None:
    (fit, *_) = fits(tmp_path / "log")
    front = distill([fit])["a"]
    journal, others = Journal(tmp_path), list(front)
    assert journal.find_shared(fit, front, others) is None
    journal.keep_shared(fit, front, others, front)
    assert Journal(tmp_path).find_shared(fit, front, others) == front
    assert Journal(tmp_path).find_shared(fit, front, others[:1]) is None
    assert Journal(None).find_shared(fit, front, others) is None


def test_nothing_is_searched_that_could_not_be_kept(
    tmp_path: Path, first: dict[str, ParetoFront], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*arguments: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert distill(fits(tmp_path / "log"), run_dir=tmp_path / "run") == first
    with pytest.raises(ArtifactError, match="Read-only file system"):
        distill(fits(tmp_path / "other"), run_dir=tmp_path / "new")
    assert not noted(tmp_path / "other", "start")


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    def remove(key: str, done: float, best: str) -> None:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with ThreadPoolExecutor(1) as executor:
        distill(
            fits(tmp_path / "log"), executor=executor, progress=remove, run_dir=tmp_path / "run"
        )


def test_names_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="null"):
        distill(fits(tmp_path / "log"), run_dir=f"{tmp_path}/\0")


def test_an_engine_that_describes_itself_in_other_than_plain_data_is_told(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Odd(Logging):
        def describe(self) -> dict[Any, Any]:
            return {1: "one", "two": 2}

    (first, *_) = fits(tmp_path / "log")
    fit = Fit(**{**vars(first), "engine": Odd(str(tmp_path / "log"))})
    with pytest.raises(EngineError, match=r"describe.. of the engine gives no plain data"):
        distill([fit], run_dir=tmp_path / "run")


def test_nothing_is_left_behind_by_an_interrupt_once_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(draft: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("symcompile.storage.files.remove_draft", interrupted)
    with pytest.raises(KeyboardInterrupt), drafted(tmp_path / "front.json") as draft:
        draft.write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["front.json"]
