"""The sample company's first day: v1.0.0 in production on a target, with data.

`python -m sandbox seed --target compose`. Each step looks first and does only what is missing; what runs in a newer
version is left alone unless `reset` asks for v1.0.0.
"""

from __future__ import annotations

import shutil

from sandbox.box import Box, say
from sandbox.seed import base, compose, databases, images, kubernetes, portals, source

FIRST = "v1.0.0"
TARGETS = {"compose": compose.Compose, "kubernetes": kubernetes.Kubernetes}


def seed(box: Box, target: str, reset: bool = False) -> None:
    """Puts v1.0.0 into production on `compose` or `kubernetes`; SandboxError says what failed."""
    box.make()
    place = TARGETS[target](box)
    place.check()
    if not reset and (box.dir / "ledger" / "records").exists() and portals.missing(box):
        say("seed", "S3 was ended and has lost the portals that the ledger tells of: the company begins anew")
        reset = True
    if reset:
        # What they tell is no longer so.
        for stale in ("ledger/records", "backups"):
            shutil.rmtree(box.dir / stale, ignore_errors=True)
    fresh_base = base.provide(box)
    source.make(box, reset)
    source.install_packages(box)
    folder = source.export(box, FIRST)
    images.build(box, folder, FIRST, again=fresh_base)
    databases.fill(box, folder, reset)
    portals.publish(box, folder, FIRST, reset)
    place.start(folder, FIRST, reset)
    versions = place.versions()
    newer = sorted(name for name, version in versions.items() if version != FIRST)
    if newer:
        say("seed", f"left alone, as --reset was not given: {', '.join(f'{name} {versions[name]}' for name in newer)}")
