"""Mutated files: no error but ours, no hang, no growth. `python tests/fuzz_files.py` is the same
for as long as one likes."""

from __future__ import annotations

import signal
from pathlib import Path

import fuzz_bases
import pytest
from fuzz_files import fuzz, main
from fuzzing import KINDS, mutant

# For a run of some seconds.
COUNTS = {"symc": 40, "manifest": 60, "onnx": 40, "recording": 60, "journal": 60}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return fuzz_bases.made(tmp_path_factory.mktemp("bases"), all_of_them=False)


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_refused_or_read(
    kind: str, bases: dict[str, list[Path]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = request.config.getoption("--fuzz") or COUNTS[kind]
    seed = request.config.getoption("--fuzz-seed")
    before = signal.getsignal(signal.SIGPROF)
    try:
        found = fuzz(kind, bases[kind], range(seed, seed + count), tmp_path)
    finally:
        signal.signal(signal.SIGPROF, before)
    assert not found, "\n".join(found)
    assert not Path("executed").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_the_same_mutant(
    kind: str, bases: dict[str, list[Path]], tmp_path: Path
) -> None:
    made = [mutant(kind, 7, bases[kind], tmp_path / name).read_bytes() for name in ("a", "b")]
    assert made[0] == made[1]
    other = mutant(kind, 8, bases[kind], tmp_path / "c").read_bytes()
    assert other != made[0]


def test_what_goes_wrong_is_told_with_its_seed(
    bases: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fuzz_files

    def broken(*_: object) -> object:
        yield "open", lambda: {}["field"]

    monkeypatch.setattr(fuzz_files, "ways", broken)
    (found,) = fuzz("manifest", bases["manifest"], range(3, 4), tmp_path)
    assert found.startswith("manifest 3 (")
    assert "KeyError: 'field'" in found
    assert [file.name for file in tmp_path.iterdir()] == ["manifest-3.json"]


def test_the_long_mode_counts(
    bases: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bases").symlink_to(bases["journal"][0].parent)
    options = ["--kind", "journal", "--count", "5", "--seed", "3", "--folder", str(tmp_path)]
    assert main(options) == 0
    assert "journal: 5 mutants from seed 3" in capsys.readouterr().out


def test_a_worker_that_fails_is_trouble(
    bases: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mutator that fails would else look like a file that was refused."""
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "done").touch()  # and yet there are no files
    options = ["--kind", "journal", "--count", "2", "--folder", str(tmp_path)]
    assert main(options) == 1
    assert "FileNotFoundError" in capsys.readouterr().out
