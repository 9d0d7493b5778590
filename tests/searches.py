"""The search of tests that look at no law: one small run for sums and products."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, Any] = {
    "operators": ["+", "*"],
    "engine_options": {"restarts": 1, "population": 50, "generations": 2},
    "progress": False,
}
