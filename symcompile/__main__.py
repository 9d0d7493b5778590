"""`python -m symcompile`: the command line."""

from __future__ import annotations

from symcompile.cli.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
