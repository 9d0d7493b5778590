"""The pytest plugin: `--update-equations`, and a word about the files that were written.

Every run of pytest in the same environment imports this file: it must import nothing heavy.
"""

from __future__ import annotations

import pytest

from symcompile import testing

_PROPERTY = "symcompile.golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("symcompile").addoption(
        testing.OPTION,
        action="store_true",
        help="write the golden files of assert_same_equations instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    before = testing.updating
    testing.updating = bool(config.getoption(testing.OPTION))
    config.add_cleanup(lambda: setattr(testing, "updating", before))
    config.pluginmanager.register(_Written(), "symcompile-written")


class _Written:
    """Carries the names of written files to the process that prints the summary."""

    def __init__(self) -> None:
        self.files: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> None:
        """Before pytest makes the report: its properties leave a worker of xdist with it."""
        item.user_properties += [(_PROPERTY, file) for file in testing.written]
        testing.written.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.files += [str(file) for name, file in report.user_properties if name == _PROPERTY]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for file in self.files:
            terminalreporter.write_line(f"wrote equations, compared nothing: {file}")
