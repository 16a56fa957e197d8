"""Kubernetes' programs, built once a machine from Debian's source package and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from sandbox.apt import codename, suite_sources
from sandbox.box import SandboxError, run, say, step

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
PACKAGES = ("dpkg-dev", "golang-go", "jq", "make", "rsync")
VERSION = "1.20.2"  # what bookworm's source package holds
SPACE = 4 << 30  # bytes: the sources, Go's cache and the programs


def folder(cache: Path) -> Path:
    return cache / f"kubernetes-{VERSION}"


def built(cache: Path) -> bool:
    return all(os.access(folder(cache) / name, os.X_OK) for name in PROGRAMS)


def upstream_version(package: str) -> str:
    """`1.20.5+really1.20.2-1.1` -> `1.20.2`."""
    match = re.match(r"\d+\.\d+\.\d+", package.partition("really")[2] or package)
    if not match:
        raise SandboxError(f"Cannot read the version of the source package: {package}")
    return match.group(0)


def build(cache: Path) -> Path:
    """Gives the folder with the programs; builds them (some ten minutes on two cores) where they are missing."""
    target = folder(cache)
    if built(cache):
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{target.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("kubernetes", "waiting for another build on this machine")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not built(cache):
            free = shutil.disk_usage(cache).free
            if free < SPACE:
                raise SandboxError(
                    f"Building Kubernetes needs {SPACE >> 30} GiB in {cache}, which has {free / 2**30:.1f} GiB. "
                    "Make room, or let XDG_CACHE_HOME name a larger disk."
                )
            with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=cache) as scratch:
                build_in(Path(scratch), target)
    return target


def build_in(scratch: Path, target: Path) -> None:
    with step("kubernetes", "fetching Debian's source package"):
        options = suite_sources(scratch / "apt", codename(), "deb-src")
        run(["apt-get", "-q", *options, "update"])
        run(["apt-get", "-q", *options, "source", "kubernetes"], cwd=scratch)
    sources = [path for path in scratch.glob("kubernetes-*") if path.is_dir()]
    if not sources:
        raise SandboxError("`apt-get source kubernetes` left no folder of sources")
    version = run(["dpkg-parsechangelog", "-S", "Version"], cwd=sources[0]).stdout.strip()
    found = upstream_version(version)
    if found != VERSION:
        raise SandboxError(f"The source package holds Kubernetes {found}; this sandbox knows {VERSION}")
    with step("kubernetes", f"building {VERSION} (about ten minutes on two cores, once a machine)"):
        make(sources[0], scratch)
    made = next(sources[0].glob("_output/local/bin/linux/*"))
    fresh = scratch / "programs"
    fresh.mkdir()
    for name in PROGRAMS:
        shutil.move(made / name, fresh / name)
    shutil.rmtree(target, ignore_errors=True)  # one that lacks a program
    fresh.replace(target)


def make(source: Path, scratch: Path) -> None:
    major, minor, _patch = VERSION.split(".")
    home = scratch / "home"
    home.mkdir()
    settings = {
        "KUBE_GIT_VERSION": f"v{VERSION}",
        "KUBE_GIT_MAJOR": major,
        "KUBE_GIT_MINOR": minor,
        "KUBE_GIT_TREE_STATE": "clean",
        "KUBE_GIT_COMMIT": hashlib.sha1(VERSION.encode(), usedforsecurity=False).hexdigest(),
        "GOCACHE": str(home / "cache"),
        "GOFLAGS": "-mod=vendor",
        "HOME": str(home),
    }
    # A make that started this one must not hand its own flags down.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    what = " ".join(f"cmd/{name}" for name in PROGRAMS)
    argv = ["nice", "-n", "10", "make", f"WHAT={what}", "GOLDFLAGS=-s -w"]
    run(argv, cwd=source, env={**outside, **settings}, timeout=3600)
