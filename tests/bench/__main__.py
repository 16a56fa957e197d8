"""python -m tests.bench [PART...]: measure the parts (all of them by default) and write docs/bench/PART.md."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

PARTS = ("rollouts", "databases", "gates", "delivery")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "bench"


def main(arguments: list[str]) -> int:
    unknown = sorted(set(arguments) - set(PARTS))
    if unknown:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    missed = []
    for part in arguments or PARTS:
        table = importlib.import_module(f"tests.bench.{part}").measure()
        print(table.text())
        DOCS.mkdir(parents=True, exist_ok=True)
        (DOCS / f"{part}.md").write_text(table.text())
        missed += table.missed()
    for line in missed:
        print(f"bench: MISSED {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
