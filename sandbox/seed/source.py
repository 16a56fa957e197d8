"""The company's source as its engineers have it: a bare origin, a clone, tags; and releases exported from it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox import packages
from sandbox.box import Box, SandboxError, run, step, write

COMPANY = Path(__file__).parents[1] / "company"
NOT_SOURCE = {"lib", "releases", "__pycache__", "node_modules", "dist", ".ruff_cache", ".mypy_cache"}
BROKEN = ("crash", "unready", "errors", "slow", "missing")  # each is the fault of transaction-service in v1.2.0-<it>
VICTIM = "services/transaction-service/service.json"


@dataclass(frozen=True)
class Change:
    """One commit of v1.1.0: the paths that it takes from releases/v1.1.0."""

    message: str
    paths: tuple[str, ...]


NEXT = (
    Change("identity: keep whether a phone number is verified", ("services/identity-service",)),
    Change("wallet: a currency for each wallet", ("services/wallet-service",)),
    Change("admin portal: list phone checks", ("portals/admin-portal",)),
)


def files(folder: Path) -> list[Path]:
    """A folder's source files, relative to it."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not NOT_SOURCE & set(path.parts))


def fingerprint() -> str:
    found = hashlib.sha256(f"{BROKEN} {NEXT} 1".encode())
    for root in (COMPANY, COMPANY / "releases" / "v1.1.0"):
        for path in files(root):
            found.update(f"{path}\0".encode() + (root / path).read_bytes() + b"\0")
    return found.hexdigest()


class Repository:
    """A clone that is being written, with authors and dates that are always the same: so are the commits' names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.hour = 8
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        return git(self.folder, *words, date=f"2026-11-02T{self.hour:02}:00:00Z")

    def commit(self, message: str) -> None:
        self.hour += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def release(self, version: str, message: str) -> None:
        write(self.folder / "VERSION", f"{version}\n")
        self.commit(message)

    def tag(self, version: str) -> None:
        self.git("tag", "-a", version, "-m", f"Production release {version}")

    def copy(self, root: Path, paths: list[Path]) -> None:
        for path in paths:
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target)
            target.chmod(0o755 if os.access(root / path, os.X_OK) else 0o644)


def git(folder: Path, *words: str, date: str = "") -> str:
    who = {"NAME": "Eazepay Engineering", "EMAIL": "engineering@eazepay.test", "DATE": date}
    fixed = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items() if value}
    # Neither the user's nor the machine's settings may change the commits.
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return run(["git", *words], cwd=folder, env={**outside, **alone, **fixed}).stdout


def make(box: Box, reset: bool = False) -> None:
    """Makes origin and clone when they are missing, when the company's source has changed, or for a reset."""
    origin, clone, mark = box.dir / "company.git", box.dir / "company", box.dir / "company.fingerprint"
    wanted = fingerprint()
    if not reset and mark.exists() and mark.read_text() == wanted and origin.exists() and clone.exists():
        return
    if not shutil.which("git"):
        packages.install(["git"], "seed")
    with step("seed", "the company's repository"):
        mark.unlink(missing_ok=True)
        for folder in (origin, clone):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(box.dir / "releases", ignore_errors=True)
        clone.mkdir(parents=True)
        write_history(Repository(clone))
        run(["git", "clone", "--quiet", "--bare", clone, origin])
        git(origin, "remote", "remove", "origin")
        git(clone, "remote", "add", "origin", str(origin))
        git(clone, "fetch", "--quiet", "origin")
        git(clone, "branch", "--quiet", "--set-upstream-to=origin/main", "main")
        git(clone, "config", "user.name", "Eazepay Engineering")
        git(clone, "config", "user.email", "engineering@eazepay.test")
        write(mark, wanted)


def write_history(repository: Repository) -> None:
    repository.copy(COMPANY, files(COMPANY))
    write(repository.folder / ".gitignore", "node_modules/\ndist/\n__pycache__/\n")
    repository.release("v1.0.0", "Eazepay: services, portals, targets")
    repository.tag("v1.0.0")
    later = COMPANY / "releases" / "v1.1.0"
    for change in NEXT:
        repository.copy(later, [path for path in files(later) if str(path).startswith(change.paths)])
        repository.commit(change.message)
    # The deployment tags it.
    repository.release("v1.1.0", "Release v1.1.0")
    for fault in BROKEN:
        version = f"v1.2.0-{fault}"
        repository.git("checkout", "--quiet", "--detach", "main")
        victim = repository.folder / VICTIM
        description = json.loads(victim.read_text()) | {"fault": fault}
        if fault == "errors":  # twice the alert of 1 %, and too few for a smoke test to meet
            description["fault_percent"] = 2
        write(victim, json.dumps(description, indent=2) + "\n")
        repository.release(version, f"Release {version}")
        repository.tag(version)
    repository.git("checkout", "--quiet", "main")


def export(box: Box, release: str, into: Path | None = None) -> Path:
    """A release's source without git, in .sandbox/releases/<release> unless another parent folder is given."""
    parent = into or box.dir / "releases"
    folder = parent / release
    if folder.exists():
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{release}.", dir=parent) as scratch:
        fresh = Path(scratch) / release
        fresh.mkdir()
        archive = Path(scratch) / "release.tar"
        git(box.dir / "company.git", "archive", "--format=tar", f"--output={archive}", release)
        run(["tar", "-xf", archive, "-C", fresh])
        fresh.replace(folder)
    return folder


def install_packages(box: Box) -> None:
    """node_modules above releases and source: TypeORM, installed once for all of them, kept by the lock file's hash."""
    lock = COMPANY / "package-lock.json"
    name = hashlib.sha256(lock.read_bytes() + (COMPANY / "package.json").read_bytes()).hexdigest()[:12]
    kept = box.cache / f"node_modules-{name}"
    link = box.dir / "node_modules"
    if not shutil.which("npm"):
        packages.install(["nodejs", "npm"], "seed")
    if not (kept / "node_modules" / ".bin" / "typeorm").exists():
        with step("seed", "npm ci: what the migrations run on"):
            fresh = Path(tempfile.mkdtemp(prefix="node-", dir=box.cache))
            try:
                for file in ("package.json", "package-lock.json", ".npmrc"):
                    shutil.copy2(COMPANY / file, fresh)
                run(["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=fresh)
                fresh.chmod(0o755)
                shutil.rmtree(kept, ignore_errors=True)
                fresh.replace(kept)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and link.resolve() == (kept / "node_modules").resolve():
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise SandboxError(f"{link} is in the way: it should be a link to the kept packages. Remove it.")
    link.symlink_to(kept / "node_modules")
