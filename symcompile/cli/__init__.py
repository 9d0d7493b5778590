"""The command line: commands, git and pytest entry points, and the demo.

It may import everything, and does so when a command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line, see `symcompile.cli.commands`; it is imported when it is called."""
    from symcompile.cli import commands

    return commands.main(arguments)


__all__ = ["main"]
