"""python -m tests.bench [PART...]: measure the parts (all of them by default) and write docs/bench/PART.md.

Starts what it needs of the sandbox, and leaves it running: `make down` ends it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

# What each part needs of the sandbox.
PARTS = {
    "rollouts": ("engine", "registry", "kubernetes"),
    "databases": ("postgres",),
    "gates": ("engine", "registry"),
    "delivery": ("engine", "registry"),
}
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "bench"


def main(arguments: list[str]) -> int:
    unknown = sorted(set(arguments) - set(PARTS))
    if unknown:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    wanted = arguments or list(PARTS)
    needed = sorted({need for part in wanted for need in PARTS[part]})
    subprocess.run([sys.executable, "-m", "sandbox", "up", *needed], check=True, cwd=ROOT)
    missed = []
    for part in wanted:
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
