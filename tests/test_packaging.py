"""What is shipped, what `import symcompile` loads, and who may import whom."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "symcompile"
LINKED = ("passes", "exporters")

LOADED_ON_USE = (
    "jinja2",
    "juliacall",
    "lime",
    "matplotlib",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "pint",
    "pyoperon",
    "pysr",
    "sklearn",
)

# The pytest plugin is imported by every run of pytest in the same environment.
AT_NO_COST = (*LOADED_ON_USE, "networkx", "numpy", "sympy", "torch")

# Lowest floor first: a room, or a module that lies flat, imports from what stands before it only.
FLOORS = (
    "_version",
    "errors",
    "expressions",
    "regression",
    "target",
    "modules",
    "reduction",
    "lowering",
    "fidelity",
    "pruning",
    "aten",
    "storage",
    "options",
    "assembly",
    "pipeline",
    "passes",
    "exporters",
    "report",
    "compiled",
    "driver",
    "explanation",
    "pinns",
    "diff",
    "testing",
    "cli",
    "__main__",
)

# What is made of a compiled model knows nothing of how it was compiled.
NO_PASSES = ("exporters", "report", "diff")


# --- what is shipped ---------------------------------------------------------------------


def sources(folder: Path) -> set[str]:
    """Python files of the package as import paths, those behind the links included."""
    found = set()
    for directory, _, names in os.walk(folder, followlinks=True):
        relative = Path(directory).relative_to(folder.parent)
        found |= {(relative / name).as_posix() for name in names if name.endswith(".py")}
    return found


class Built(NamedTuple):
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A wheel straight from a copy of the tree, and an sdist of it; no network."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("symcompile", *LINKED):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignored)
    sdist = build("sdist", checkout)
    wheel = build("wheel", checkout)
    return Built(wheel, sdist)


def build(kind: str, checkout: Path) -> Path:
    """Call the build backend as pip would, in a process of its own (it changes sys.argv)."""
    code = f"import setuptools.build_meta as backend; backend.build_{kind}('dist')"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (product,) = (checkout / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return product


def unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def test_wheel_holds_every_module_under_symcompile_only(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
        assert not [info.filename for info in archive.infolist() if is_link(info)]
    shipped = {name for name in names if ".dist-info/" not in name}
    assert {name for name in shipped if name.endswith(".py")} == sources(PACKAGE)
    assert "symcompile/py.typed" in shipped
    assert {name for name in shipped if "/pages/" in name} == page_files()
    assert {name.split("/")[0] for name in shipped} == {"symcompile"}


def page_files() -> set[str]:
    """Templates, style sheets and scripts of the pages."""
    return {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("pages/*")}


def is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


def test_sdist_holds_plain_files(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = {member.name.split("/", 1)[-1]: member for member in archive.getmembers()}
    assert not [name for name, member in members.items() if member.issym() or member.islnk()]
    assert sources(PACKAGE) <= members.keys()


def test_wheel_built_from_the_sdist_is_the_same(built: Built, tmp_path: Path) -> None:
    again = build("wheel", unpack(built.sdist, tmp_path))
    with zipfile.ZipFile(built.wheel) as direct, zipfile.ZipFile(again) as indirect:
        assert set(direct.namelist()) == set(indirect.namelist())


def test_wheel_metadata(built: Built) -> None:
    from symcompile._version import __version__

    with zipfile.ZipFile(built.wheel) as archive:
        information = f"symcompile-{__version__}.dist-info"
        metadata = archive.read(f"{information}/METADATA").decode()
        scripts = archive.read(f"{information}/entry_points.txt").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "symcompile = symcompile.cli:main" in scripts
    assert "[pytest11]\nsymcompile = symcompile.cli.pytest_plugin\n" in f"{scripts}\n"


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_committed(name: str) -> None:
    assert os.readlink(PACKAGE / name) == f"../{name}"
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--stage", f"symcompile/{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.startswith("120000 "), "committed as something else than a symbolic link"


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {requirement.split(">")[0].split("[")[0] for group in groups for requirement in group}
    lines = (ROOT / ".constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert wanted - {"symcompile"} <= pinned


# --- what an import loads ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import symcompile", AT_NO_COST),
        ("import symcompile.cli.commands", (*LOADED_ON_USE, "torch")),
        ("import symcompile.cli.pytest_plugin", AT_NO_COST),
        ("from symcompile import *", LOADED_ON_USE),
        ("import symcompile.exporters as e; e.onnx, e.graph_module, dir(e)", LOADED_ON_USE),
    ],
)
def test_import_loads_nothing_heavy(statement: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print(*sorted({set(unwanted)!r} & set(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == []


# --- who may import whom -----------------------------------------------------------------


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that `module` imports, wherever in the file.

    `from a import b` may mean the module `a.b` or a name in `a`: both are given. Of the root
    package only `symcompile.b` is given, since everything lies in it.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                origin = ".".join([*above, base] if base else above)
                if origin != "symcompile":
                    yield node.lineno, origin
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                dots = len(name) - len(name.lstrip("."))
                above = package[: len(package) - dots + 1] if dots else []
                yield node.lineno, ".".join([*above, name.lstrip(".")])


def floor(module: str) -> str:
    """The room that a module is in, or the module where it lies flat."""
    return module.split(".")[1]


def wrong_way(module: str, imported: str) -> bool:
    """Whether one module of the package imports another that stands above it."""
    here, there = floor(module), floor(imported)
    if here == there:
        return False
    above = FLOORS.index(there) > FLOORS.index(here)
    return above or (here in NO_PASSES and there == "passes")


def is_public_name(name: str) -> bool:
    """`from symcompile import record`: the public door, which leads round every rule."""
    if not name.startswith("symcompile.") or name.count(".") != 1:
        return name == "symcompile"
    inner = PACKAGE / name.split(".")[1]
    return not (inner.is_dir() or inner.with_suffix(".py").is_file())


def modules() -> list[str]:
    return sorted(sources(PACKAGE))


def arrows() -> Iterator[tuple[str, str, str]]:
    """Every import inside the package: where it stands, the module, and what it imports."""
    for path in modules():
        is_package = path.endswith("/__init__.py")
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if module == "symcompile":
            continue  # the public names, each from its room
        source = (ROOT / path).read_text()
        for line, name in imports(source, module, is_package=is_package):
            if name.split(".")[0] == "symcompile":
                yield f"{path}:{line}", module, name


def test_import_order() -> None:
    wrong = []
    for place, module, name in arrows():
        if is_public_name(name):
            if FLOORS.index(floor(module)) <= FLOORS.index("driver"):
                wrong.append(f"{place} goes through the public door: {name}")
        elif wrong_way(module, name):
            wrong.append(f"{place}: {floor(module)} imports {name}, which stands above it")
    assert not wrong, "\n".join([*wrong, f"the floors: {', '.join(FLOORS)}"])


# Inner rooms: what may not be imported there, by the start of its name after the package's.
INNER = {
    "symcompile.regression.structure": r"(?!errors|expressions|regression\.structure)",
    "symcompile.regression.computed": (
        r"(?!expressions|regression)|regression\.(distillation|engines|executors|fit\b|scheduler)"
    ),
}


@pytest.mark.parametrize("room", INNER)
def test_inner_rooms_import_from_below(room: str) -> None:
    seen = [
        (place, name.removeprefix("symcompile."))
        for place, module, name in arrows()
        if module == room or module.startswith(f"{room}.")
    ]
    assert seen
    assert not [(place, name) for place, name in seen if re.match(INNER[room], name)]


def test_regression_holds_no_torch() -> None:
    held = [
        path
        for path in modules()
        if path.startswith(("symcompile/regression/", "symcompile/expressions/"))
        for _, name in imports((ROOT / path).read_text(), path[:-3].replace("/", "."))
        if name.split(".")[0] == "torch"
    ]
    assert not held


def test_every_room_has_a_floor() -> None:
    inside = {path.split("/")[1].removesuffix(".py") for path in modules()}
    assert inside - {"__init__"} == set(FLOORS)


ROOMS = {
    "aten": (),
    "cli": ("main",),
    "diff": ("GraphDiff", "Rules", "diff"),
    "explanation": ("Explanation", "explain"),
    "exporters": ("graph_module", "manifest", "onnx"),
    "expressions": (),
    "fidelity": (),
    "lowering": (),
    "modules": (),
    "passes": ("Pruning", "Selection", "compiling_passes", "recording_passes"),
    "pruning": (),
    "reduction": (),
    "regression": (),
    "regression.computed": ("Computed", "computed_laws"),
    "regression.engines": ("Engine", "ProgressCallback", "SearchProgress", "create"),
    "regression.structure": ("Finding", "Statement", "Structure", "structure"),
    "report": ("Report",),
    "storage": (),
}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_says_what_it_may_import_and_exports_what_is_public(name: str) -> None:
    room = importlib.import_module(f"symcompile.{name}")
    assert re.search(r"\b(may import|imports nothing)\b", " ".join(str(room.__doc__).split()), re.I)
    assert tuple(getattr(room, "__all__", ())) == ROOMS[name]
    assert all(hasattr(room, public) for public in ROOMS[name])


def test_every_room_is_looked_at() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {name for name in ROOMS if "." not in name}


def test_few_modules_lie_flat() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize(
    ("module", "imported", "wrong"),
    [
        ("symcompile.modules.region", "symcompile.expressions.parser", False),
        ("symcompile.expressions.parser", "symcompile.modules.region", True),
        ("symcompile.passes.reduce", "symcompile.passes.distill", False),
        ("symcompile.report.text", "symcompile.passes.verify", True),
        ("symcompile.cli.demo", "symcompile.passes.verify", False),
    ],
)
def test_arrows_back_up_are_seen(module: str, imported: str, wrong: bool) -> None:
    assert wrong_way(module, imported) is wrong


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import symcompile.driver", "symcompile.driver"),
        ("from symcompile.driver import compile_model", "symcompile.driver"),
        ("from symcompile import driver", "symcompile.driver"),
        ("from .. import driver", "symcompile.driver"),
        ("from ..driver import compile_model", "symcompile.driver"),
        ("from . import capture", "symcompile.passes.capture"),
        ("from .capture import Capture", "symcompile.passes.capture"),
        ("def late():\n    from ..exporters import onnx", "symcompile.exporters"),
        (
            "import importlib\nimportlib.import_module('symcompile.cli.commands')",
            "symcompile.cli.commands",
        ),
        ("from importlib import import_module\nimport_module('..cli', 'x')", "symcompile.cli"),
    ],
)
def test_imports_are_seen_in_every_form(source: str, expected: str) -> None:
    assert expected in {name for _, name in imports(source, "symcompile.passes.rewrite")}


def test_relative_imports_of_a_package_start_in_itself() -> None:
    found = imports("from . import base", "symcompile.regression.engines", is_package=True)
    assert [name for _, name in found] == [
        "symcompile.regression.engines",
        "symcompile.regression.engines.base",
    ]


def test_what_the_public_door_is() -> None:
    assert is_public_name("symcompile")
    assert is_public_name("symcompile.record_of_nothing")
    assert not is_public_name("symcompile._version")
    assert not is_public_name("symcompile.passes")
    assert not is_public_name("numpy.linalg")
