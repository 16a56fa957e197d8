"""The parts of the sandbox, in the order in which they start. A part is a file here with one class."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from sandbox.box import Box

NAMES = ("engine", "registry", "postgres", "aws", "edge", "prometheus", "mail", "slack", "kubernetes")


@dataclass
class Status:
    up: bool
    detail: str


class Part:
    """One part. Every method may be called again at any time and then changes nothing."""

    name = ""
    needs: tuple[str, ...] = ()  # the parts that are brought up first
    optional = False  # `up` without names leaves it out
    packages: tuple[str, ...] = ()  # Debian packages; installed for all parts in one call, before install()

    def __init__(self, box: Box):
        self.box = box
        self.dir = box.dir / self.name

    def wanted_packages(self) -> tuple[str, ...]:
        """For a part that needs fewer on some machines."""
        return self.packages

    def install(self) -> None:
        """Gets what apt does not: builds, downloads. Tells long steps with `step`."""

    def up(self) -> None:
        """Starts and awaits."""
        raise NotImplementedError

    def status(self) -> Status:
        """Asks the part itself, in a second or two; changes nothing."""
        raise NotImplementedError

    def down(self) -> None:
        """Ends every process, container and mount of this part."""
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        """What .sandbox/env exports for it; nothing while it cannot be used."""
        return {}

    def settle(self) -> None:
        """Called once all parts have changed, for a part that follows others (Prometheus follows the cluster)."""


def load(box: Box, name: str) -> Part:
    """The part of that name: class `Engine` in `sandbox/parts/engine.py`."""
    module = importlib.import_module(f"sandbox.parts.{name}")
    part: Part = getattr(module, name.capitalize())(box)
    return part


def with_needs(wanted: list[str], needs: dict[str, tuple[str, ...]]) -> list[str]:
    """The wanted parts and all that they need, each after what it needs, otherwise in the order of NAMES."""
    result: list[str] = []

    def add(name: str) -> None:
        if name not in result:
            for other in needs.get(name, ()):
                add(other)
            result.append(name)

    for name in sorted(wanted, key=list(needs).index):
        add(name)
    return result
