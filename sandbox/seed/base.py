"""The base image of the company's services, made from the machine's own Debian mirror: once a machine, then cached."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from sandbox import packages
from sandbox.apt import codename, machine_sources, other_suite, render
from sandbox.box import Box, run, step
from sandbox.seed.images import pushed

PACKAGES = ("python3", "python3-psycopg2", "nginx-light", "busybox")
# Manuals and perl (which only the packages' own set-up needs) are two fifths of the size.
LEFT_OUT = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/perl",
    "var/cache/debconf",
)
LIBRARY = Path(__file__).parents[1] / "company" / "lib"


def recipe(suite: str) -> str:
    """Names the root file system; another one gets another name."""
    text = f"{suite} {PACKAGES} {LEFT_OUT} 1"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def library_hash(folder: Path = LIBRARY) -> str:
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        found.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def provide(box: Box) -> bool:
    """Sees to it that the base image is in the registry, under its hash and as tag 1; whether it had to be made."""
    registry = box.read_env()["REGISTRY"]
    suite = codename() or "bookworm"
    debian = f"{registry}/sandbox/debian:{recipe(suite)}"
    image = f"{registry}/sandbox/base:{recipe(suite)}-{library_hash()}"
    steady = f"{registry}/sandbox/base:1"
    there = run(["docker", "image", "inspect", image, steady], check=False).returncode == 0
    if there and pushed(image) and pushed(image) == pushed(steady):
        return False
    if run(["docker", "image", "inspect", debian], check=False).returncode:
        archive = root_file_system(box, suite)
        with step("seed", "importing the base image"):
            run(["docker", "import", "--change", "CMD sh", archive, debian])
    with step("seed", "base image with the services' library"):
        build = ["docker", "build", "--quiet", "--build-arg", f"DEBIAN={debian}", "-t", image, "-t", steady]
        run([*build, LIBRARY])
        for name in (image, steady):
            run(["docker", "push", "--quiet", name])
    return True


def root_file_system(box: Box, suite: str) -> Path:
    archive = box.cache / f"base-{suite}-{recipe(suite)}.tar"
    if archive.exists():
        return archive
    packages.install(["mmdebstrap"], "seed")
    with step("seed", f"base image of Debian {suite}"), tempfile.TemporaryDirectory(prefix="eazepay-base-") as scratch:
        mirror = Path(scratch) / "mirror.sources"
        mirror.write_text(render(other_suite(machine_sources(), suite, suite)))
        fresh = archive.with_name(f"{archive.stem}.{os.getpid()}.tar")
        removed = " ".join(f'"$1"/{path}' for path in (*LEFT_OUT, "usr/lib/*-linux-gnu/perl"))
        argv: list[str | Path] = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        argv += ['--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Retries "3"']
        argv += [f"--customize-hook=rm -rf {removed}", suite, str(fresh), str(mirror)]
        try:
            run(argv, timeout=1800)
            fresh.replace(archive)
        finally:
            fresh.unlink(missing_ok=True)
    return archive
