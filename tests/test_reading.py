"""Whatever a file holds, its reader raises an error of ours that names it: at every door."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import saved
from forging import forged, recording_from, recording_of, set_at

import symcompile
from symcompile.cli.commands import main
from symcompile.errors import ArtifactError, ComparisonError, SymCompileError
from symcompile.storage.reading import at, or_none, reading, wall
from symcompile.storage.recording import Recording
from symcompile.testing import assert_same_equations

EVIL = "a\x1b[2J\x1b]8;;http://evil\x07\b\r\u202eb\x9b\x00c"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a search that was cut short
        return saved.files(tmp_path_factory.mktemp("saved"))


# --- the wall ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        *(OverflowError("x"), ZeroDivisionError("x"), AttributeError("x"), SyntaxError("x")),
        *(RecursionError("x"), MemoryError(), IndexError("x"), UnicodeError("x"), OSError("x")),
        *(KeyError("x"), RuntimeError(EVIL), AssertionError(), StopIteration(), Exception("\n")),
    ],
)
def test_whatever_is_raised_names_the_file_and_the_place(error: Exception) -> None:
    with pytest.raises(ArtifactError) as found, reading("f.symc"), at("a\x1bpart"):
        raise error
    assert str(found.value).startswith("can't read 'f.symc': a?part: ")
    assert str(found.value).isprintable()
    assert found.value.__cause__ is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_goes_through(error: type[BaseException]) -> None:
    with pytest.raises(error), reading("f"), at("p"):
        raise error
    with pytest.raises(error):
        or_none(lambda: (_ for _ in ()).throw(error))


def test_errors_that_name_a_file_keep_their_words() -> None:
    with pytest.raises(ComparisonError, match=r"^'f' is odd$"), reading("f"):
        raise ComparisonError("'f' is odd")
    with pytest.raises(ComparisonError, match=r"^can't compare 'f' and 'g': KeyError: 1$"):  # noqa: SIM117
        with wall("can't compare", "f", "g", kind=ComparisonError):
            raise KeyError(1)
    assert or_none(lambda: 1 // 0) is None


# --- what files of strangers say -----------------------------------------------------------------

OUTCOMES = "outcomes.json"
FRONT = ("law", "fronts", "0")
REGION = ("law", "region")
FACE = (*REGION, "interface")
CODE = "x, y=__import__('pathlib').Path('executed').touch()"


def infinite(data: Any) -> bytes:
    set_at("law", "equations", "0", "complexity", to="HERE")(data)
    return json.dumps(data).replace('"HERE"', "1e999").encode()


def long_number(data: Any) -> bytes:
    return json.dumps(data).replace('"seed": 0', f'"seed": 1{"0" * 10**6}').encode()


def same_complexity(data: Any) -> None:
    equations = data["law"]["fronts"]["0"]["equations"]
    equations.insert(0, equations[0])


def code_as_a_parameter(data: Any) -> None:
    face = data["law"]["region"]["interface"]
    face["parameters"][0]["name"] = face["inputs"][0]["parameter"] = CODE


def deep(levels: int) -> str:
    return "tanh(" * levels + "x0" + ")" * levels


STAIRS = [["a", "tanh(x0)"], *([f"f{k}", f"tanh(f{k - 1})"] for k in range(1, 30))]
STAIRS[1][1] = "tanh(a)"

CASES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "functions nested in a feature": (
        OUTCOMES,
        set_at(*REGION, "target", "features", 0, 1, to=deep(30)),
    ),
    "functions nested feature by feature": (
        OUTCOMES,
        set_at(*REGION, "target", "features", to=STAIRS),
    ),
    "a Max of long sums": (
        OUTCOMES,
        set_at(*REGION, "target", "features", 0, 1, to=(
            f"Max({'+'.join(f'cosh(x0*{k})' for k in range(50))},"
            f"{'+'.join(f'sinh(x1*{k})' for k in range(50))})")),
    ),
    "a billion outputs": (OUTCOMES, set_at(*FACE, "outputs", 0, "features", to=10**9)),
    "a billion inputs": (OUTCOMES, set_at(*FACE, "inputs", 0, "features", to=10**9)),
    "a million outputs": (OUTCOMES, set_at(*FACE, "outputs", 0, "features", to=10**6)),
    "argument a billion of *args": (
        OUTCOMES,
        lambda data: (
            set_at(*FACE, "parameters", 0, "name", to="*args")(data),
            set_at(*FACE, "inputs", 0, to={
                "parameter": "*args", "keys": [10**9], "features": 3, "scalar": False})(data),
            None)[-1],
    ),
    "an infinite complexity": (OUTCOMES, infinite),
    "a complexity that is no whole number": (
        OUTCOMES, set_at("law", "equations", "0", "complexity", to=7.5)),
    "a number of a million digits": (OUTCOMES, long_number),
    "two equations of one complexity": (OUTCOMES, same_complexity),
    "an engine that is a text": (OUTCOMES, set_at("law", "provenance", "engine", to="x")),
    "operators that are a list": (
        OUTCOMES, set_at("law", "provenance", "engine", "operators", to=[1])),
    "a default that is followed by none": (
        "graph.json", set_at("signature", to=[{"name": "x", "default": 1}, {"name": "scale"}])),
    "code as a parameter": (OUTCOMES, code_as_a_parameter),
    "self as a parameter": ("graph.json", set_at("signature", 0, "name", to="self")),
    "a type that is none": (OUTCOMES, set_at(*REGION, "dtype", to="load")),
    "a probe too short": (OUTCOMES, set_at("law", "probes", to=[[1.0]])),
    "a range too many": (OUTCOMES, set_at("law", "ranges", to=[[0, 1]] * 9)),
    "an equation of an output that is not there": (
        OUTCOMES, lambda data: data["law"]["equations"].update(
            {"7": data["law"]["equations"].pop("1")})),
    "an outcome of another block": (OUTCOMES, set_at(*REGION, "path", to="other")),
    "a structure of outputs that are not there": (OUTCOMES, set_at(*FACE, "structure", to=3)),
    "constants that are infinite": (
        OUTCOMES, set_at("law", "equations", "0", "constants", "c[0]", to="inf")),
    "an R2 above 1": (
        OUTCOMES, set_at("law", "fidelity", "outputs", "0", "r2", to=1e308)),
    "blocks that are a list": (OUTCOMES, lambda data: b"[]"),
}  # fmt: skip


def doors(path: Path, other: Path, folder: Path) -> list[list[str]]:
    """Commands that read a file."""
    return [
        ["show", str(path)],
        ["show", "--lines", str(path)],
        ["diff", str(path), str(path)],
        ["diff", str(other), str(path)],
        ["export", str(path), str(folder / "out.onnx")],
        ["export", str(path), str(folder / "out.json")],
        ["git", "check", str(path)],
    ]


def refused_everywhere(path: Path, other: Path, folder: Path, capsys: Any) -> None:
    for command in doors(path, other, folder):
        assert main(command) == 2, command
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("symcompile: ")
        assert err.count("\n") == 1
        assert path.name in err
        assert err.rstrip("\n").isprintable()
    with pytest.raises(ArtifactError, match=path.name):
        symcompile.load(path)
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", CASES)
def test_artifacts_of_strangers(
    name: str, good: dict[str, Path], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    member, edit = CASES[name]
    path = forged(good["symc"], tmp_path / "bad.symc", {member: edit})
    refused_everywhere(path, good["symc"], tmp_path, capsys)


def test_the_same_in_manifests(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    stored = json.loads(good["manifest"].read_text())
    for edit in (
        set_at("regions", "law", "features", "a", to=deep(30)),
        set_at("regions", "law", "equations", "0", "complexity", to=10**99),
        set_at("regions", "law", "equations", "0", "constants", "c[0]", to="1e999"),
    ):
        data = json.loads(json.dumps(stored))
        edit(data)
        bad = tmp_path / "bad.json"
        bad.write_text(json.dumps(data).replace('"1e999"', "1e999"))
        for command in doors(bad, good["symc"], tmp_path):
            assert main(command) == 2
            assert "bad.json" in capsys.readouterr().err


def test_nested_functions_of_a_user(good: dict[str, Path]) -> None:
    compiled = symcompile.load(good["symc"])
    before = compiled.equations["law"]
    long = "+".join(f"sin({k}*a)" for k in range(90))
    for text in (deep(30).replace("x0", "a"), f"Max({long}, b)"):
        with pytest.raises(symcompile.errors.ExpressionError, match="is too large"):
            compiled.choose("law", text, output=0)
    assert compiled.equations["law"] == before


# --- control characters --------------------------------------------------------------------------


def texts_of(data: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of all texts in a document."""
    if isinstance(data, dict):
        return [one for key, item in data.items() for one in texts_of(item, (*way, key))]
    if isinstance(data, list):
        return [one for key, item in enumerate(data) for one in texts_of(item, (*way, key))]
    return [way] if isinstance(data, str) else []


def shown_safely(command: list[str], capsys: Any) -> int:
    status = main(command)
    out, err = capsys.readouterr()
    for line in (out + err).split("\n"):
        assert line.isprintable() or command[-1] == "html", (command, line)
    assert not set(out + err) & set("\x1b\x07\b\r\u202e\x9b\0")
    return status


@pytest.mark.parametrize("member", [OUTCOMES, "manifest.json"])
def test_control_characters_of_a_file_are_never_printed(
    member: str, good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    seen = set()
    stored = json.loads(forging_member(good["symc"], member))
    for way in texts_of(stored):
        # Of a front's many programs and names one of each kind.
        kind = tuple(key for key in way if not str(key).isdigit()) if "fronts" in way else way
        if kind in seen or "equations" in way[:3] or "members" in way:
            continue
        seen.add(kind)
        bad = forged(good["symc"], tmp_path / "bad.symc", {member: set_at(*way, to=EVIL)})
        for command in (["show"], ["show", "--lines"]):
            shown_safely([*command, str(bad)], capsys)
    assert len(seen) > 5


def forging_member(path: Path, name: str) -> bytes:
    from forging import members_of

    return members_of(path)[name]


def test_a_refusal_is_shown_without_control_characters(
    good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    bad = forged(
        good["symc"], tmp_path / "bad.symc", {OUTCOMES: set_at("other", "reason", to=EVIL)}
    )
    for command in (["show", str(bad)], ["show", "--lines", str(bad)]):
        assert shown_safely(command, capsys) == 0
    for format in ("text", "md", "github", "html", "json"):
        command = ["diff", str(good["manifest"]), str(bad), "--format", format]
        assert shown_safely(command, capsys) in (0, 1)
    loaded = symcompile.load(bad)
    assert EVIL in loaded.outcomes["other"].reason
    html = f"{loaded.report._repr_html_()}\n{loaded!r}"
    assert all(
        line.isprintable() for shown in (str(loaded.report), html) for line in shown.split("\n")
    )
    golden = json.loads(good["manifest"].read_text())
    del golden["regions"]["law"]
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(AssertionError) as failed:
        assert_same_equations(bad, tmp_path / "golden.json")
    assert all(line.isprintable() for line in str(failed.value).split("\n"))


def test_names_of_files_are_shown_without_control_characters(tmp_path: Path, capsys: Any) -> None:
    odd = tmp_path / EVIL.replace("/", "").replace("\x00", "")
    odd.write_text("{")
    for path in (odd, tmp_path / "missing\x1b[2J"):
        for command in (["show", str(path)], ["diff", str(path), str(path)]):
            assert shown_safely(command, capsys) == 2


# --- recordings ----------------------------------------------------------------------------------


def test_recordings_of_strangers(good: dict[str, Path], tmp_path: Path) -> None:
    header, data = recording_of(good["recording"])
    told = json.loads(header["__metadata__"]["symcompile.recording"])
    for way, value in (
        (("regions", "law", "interface", "outputs", 0, "features"), 10**9),
        (("regions", "law", "path"), "other"),
        (("batches", 0, "args"), {"tuple": 3}),
        (("batches",), 3),
        (("seed",), "x"),
        (("refused",), [1]),
        (("format",), None),
    ):
        changed = json.loads(json.dumps(told))
        set_at(*way, to=value)(changed)
        text = {"symcompile.recording": json.dumps(changed)}
        bad = recording_from({**header, "__metadata__": text}, data, tmp_path / "bad")
        with pytest.raises(ArtifactError, match=r"can't read recording .*bad"):
            Recording.load(bad)
    nested: Any = {"value": 1}
    for _ in range(200):
        nested = {"tuple": [nested]}
    told["batches"][0]["args"] = nested
    text = {"symcompile.recording": json.dumps(told)}
    with pytest.raises(ArtifactError, match="stored value"):
        Recording.load(recording_from({**header, "__metadata__": text}, data, tmp_path / "bad"))


def test_what_is_no_path_is_refused(good: dict[str, Path], tmp_path: Path) -> None:
    compiled = symcompile.load(good["symc"])
    for what in (5, None, [], object()):
        for use in (symcompile.load, Recording.load, compiled.save, compiled.recording.save):
            with pytest.raises(SymCompileError, match="expected the path of a file"):
                use(what)  # type: ignore[arg-type]
    assert symcompile.load(os.fsencode(good["symc"])).capture == compiled.capture  # type: ignore[arg-type]


def test_files_with_holes_are_not_read(good: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    """A terabyte that takes no room on a disk would take all of the memory."""
    path = tmp_path / "holes"
    for start in (b"", b"\x08\x0a\x12\x05torch", b'{"manifest": 1', b"PK\3\4"):
        path.write_bytes(start)
        os.truncate(path, 2**40)
        refused_everywhere(path, good["manifest"], tmp_path, capsys)


# --- what is no file -----------------------------------------------------------------------------


@pytest.fixture
def special(tmp_path: Path) -> list[Path]:
    """A pipe that nobody writes into, a socket, devices, a folder and links to them."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "socket"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    names = ("pipe", "socket", "folder", "link")
    return [*(tmp_path / name for name in names), Path("/dev/zero"), Path("/dev/full")]


def test_only_regular_files_are_read(
    special: list[Path], good: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    for path in special:
        refused_everywhere(path, good["manifest"], tmp_path, capsys)
        with pytest.raises(ArtifactError, match="no regular file"):
            Recording.load(path)
        with pytest.raises(ArtifactError, match=r"no regular file|directory"):
            assert_same_equations(good["manifest"], path)


def test_only_regular_files_are_replaced(special: list[Path], good: dict[str, Path]) -> None:
    compiled = symcompile.load(good["symc"])
    for path in special:
        before = os.lstat(path)
        for write in (
            lambda: compiled.save(path),  # noqa: B023
            lambda: compiled.recording.save(path),  # noqa: B023
            lambda: symcompile.exporters.manifest(compiled, path),  # noqa: B023
            lambda: symcompile.exporters.onnx(compiled, path),  # noqa: B023
            lambda: assert_same_equations(good["manifest"], path, update=True),  # noqa: B023
        ):
            with pytest.raises(SymCompileError, match="can't"):
                write()
        assert os.lstat(path).st_ino == before.st_ino


def test_a_pipe_that_nobody_reads_is_not_waited_for(
    special: list[Path], good: dict[str, Path], capsys: Any
) -> None:
    command = ["diff", str(good["manifest"]), str(good["manifest"]), "--output", str(special[0])]
    assert main(command) == 2
    assert "can't write" in capsys.readouterr().err
    reader = os.open(special[0], os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main(command) == 0
        assert b"no difference found" in os.read(reader, 10_000)
    finally:
        os.close(reader)


def test_a_comparison_is_written_whole_or_not_at_all(
    good: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = tmp_path / "review.md"
    command = ["diff", str(good["manifest"]), str(good["manifest"]), "--output", str(path)]
    path.write_text("before")
    os.link(path, tmp_path / "before.md")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
        assert main(command) == 2
    assert f"can't write {str(path)!r}: disk full" in capsys.readouterr().err
    assert path.read_text() == "before"
    assert main(command) == 0
    assert "no difference found" in path.read_text()
    assert (tmp_path / "before.md").read_text() == "before"
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(".part")]


def test_a_comparison_goes_through_a_link(good: dict[str, Path], tmp_path: Path) -> None:
    """As /dev/stdout is one: what it leads to is written into, the link stays."""
    (tmp_path / "link.md").symlink_to(tmp_path / "review.md")
    manifest = str(good["manifest"])
    assert main(["diff", manifest, manifest, "--output", str(tmp_path / "link.md")]) == 0
    assert (tmp_path / "link.md").is_symlink()
    assert "no difference found" in (tmp_path / "review.md").read_text()


def test_python_m_symcompile(good: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "symcompile", "show", str(good["manifest"])]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "law[0]" in found.stdout
    command[-1] = "missing"
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 2
