"""`python -m sandbox up|prepare|status|down|seed|traffic`."""

from __future__ import annotations

import argparse
import sys
import time

from sandbox import packages, traffic
from sandbox.box import Box, SandboxError, say
from sandbox.parts import NAMES, Part, load, with_needs


def up(box: Box, parts: dict[str, Part], wanted: list[str]) -> int:
    began = time.monotonic()
    box.make()
    order = [parts[name] for name in with_needs(wanted, {name: part.needs for name, part in parts.items()})]
    with box.lock("packages"):
        packages.install(name for part in order for name in part.wanted_packages())
    for part in order:
        with box.lock(part.name):
            part.install()
            part.up()
        export(box, parts)
    settle(parts)
    say("up", f"{', '.join(part.name for part in order)} ({time.monotonic() - began:.0f} s); source {box.dir}/env")
    return 0


def prepare(box: Box, parts: dict[str, Part], wanted: list[str]) -> int:
    """What `up` would have to install, download and build; nothing is started."""
    began = time.monotonic()
    box.make()
    order = [parts[name] for name in with_needs(wanted, {name: part.needs for name, part in parts.items()})]
    with box.lock("packages"):
        packages.install(name for part in order for name in part.wanted_packages())
    for part in order:
        with box.lock(part.name):
            part.install()
    say("prepare", f"{', '.join(part.name for part in order)} ({time.monotonic() - began:.0f} s)")
    return 0


def export(box: Box, parts: dict[str, Part]) -> None:
    values = {"SANDBOX_DIR": str(box.dir)}
    for part in parts.values():
        values |= part.env()
    # What the sample company's two targets answer at, and where its source is.
    values |= {"COMPOSE_EDGE_URL": "http://127.0.0.1:18080", "COMPANY_DIR": str(box.dir / "company")}
    box.write_env(values)


def settle(parts: dict[str, Part]) -> None:
    for part in parts.values():
        part.settle()


def status(parts: dict[str, Part], named: list[str]) -> int:
    down = []
    for name in named or parts:
        try:
            found = parts[name].status()
            up_now, detail = found.up, found.detail
        except Exception as error:
            up_now, detail = False, f"{type(error).__name__}: {error}"
        asked = name in named or not parts[name].optional
        print(f"{name:12} {'up' if up_now else 'DOWN' if asked else '-':5} {detail}", flush=True)
        down += [name] if asked and not up_now else []
    return 1 if down else 0


def down(box: Box, parts: dict[str, Part], wanted: list[str]) -> int:
    if not box.dir.exists():
        say("down", "nothing was started here")
        return 0
    began = time.monotonic()
    failed = []
    for name in reversed(wanted):
        with box.lock(name):
            try:
                parts[name].down()
            except Exception as error:  # the rest must still end
                failed.append(name)
                say(name, f"FAILED to end: {error}")
    if set(wanted) == set(NAMES):
        (box.dir / "env").unlink(missing_ok=True)
    else:
        settle(parts)
    say("down", f"{', '.join(wanted)} ({time.monotonic() - began:.0f} s)")
    return 1 if failed else 0


def seed(box: Box, target: str, reset: bool) -> int:
    """The sample company's first day: v1.0.0 in production on the target, with data."""
    from sandbox import seed as company

    began = time.monotonic()
    with box.lock("seed"):
        company.seed(box, target, reset)
    say("seed", f"{target} ({time.monotonic() - began:.0f} s)")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start parts (all but the cluster, unless named), with what they need"),
        ("prepare", "install, download and build what `up` would, and start nothing"),
        ("status", "ask each part; ends with 1 when one is down"),
        ("down", "end parts (all of them, unless named)"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("parts", nargs="*", metavar="PART", help=", ".join(NAMES))
    seeding = commands.add_parser("seed", help="put v1.0.0 of the sample company into production")
    seeding.add_argument("--target", choices=("compose", "kubernetes"), default="compose")
    seeding.add_argument("--reset", action="store_true", help="go back to v1.0.0 whatever runs, and lose the data")
    traffic.arguments(commands.add_parser("traffic", help="use the services as people do, and count what fails"))
    given = parser.parse_args(arguments)
    box = Box()
    try:
        if given.command == "seed":
            return seed(box, given.target, given.reset)
        if given.command == "traffic":
            return traffic.main(given)
        unknown = sorted(set(given.parts) - set(NAMES))
        if unknown:
            parser.error(f"no such part: {', '.join(unknown)} (there are {', '.join(NAMES)})")
        parts = {name: load(box, name) for name in NAMES if (box.root / f"sandbox/parts/{name}.py").exists()}
        named = [name for name in parts if name in given.parts]
        usual = [name for name, part in parts.items() if not part.optional]
        if given.command == "up":
            return up(box, parts, named or usual)
        if given.command == "prepare":
            return prepare(box, parts, named or usual)
        if given.command == "down":
            return down(box, parts, named or list(parts))
        return status(parts, named)
    except SandboxError as error:
        print(f"sandbox: {given.command} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
