"""Prints figures as markdown tables and keeps them as JSON."""

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        return
    print(f"\n## {title}\n")
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    for row in rows:
        print("| " + " | ".join(word(each) for each in row) + " |", flush=True)


def word(value: object) -> str:
    """A figure with about three digits that matter."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "none"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def keep(name: str, told: dict[str, Any]) -> None:
    import numpy as np
    import sklearn

    RESULTS.mkdir(parents=True, exist_ok=True)
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
    text = json.dumps({"versions": versions, "figures": told}, indent=1, default=str)
    (RESULTS / f"anomaly-{name}.json").write_text(text + "\n")
