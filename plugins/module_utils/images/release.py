# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Builds and pushes the images of a release, each once only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, Mapping, Optional

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError, OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import Finished, run, tail
from ansible_collections.eazepay.ops.plugins.module_utils.common.progress import Progress

from .plan import BUILD, CONTENT, REFUSE, Decision, build_failure, decide, ignore_rules, ignored, remedy
from .registry import Found, Registry, split

Json = Dict[str, Any]


UNDECIDED = Decision("", "")


@dataclass
class Image:
    """One service's image on its way."""

    name: str
    repository: str
    context: str
    dockerfile: str
    args: Mapping[str, str]
    labels: Mapping[str, str]
    build_target: str
    content: str = ""
    decision: Decision = UNDECIDED
    found: Optional[Found] = None
    built: bool = False
    moved_latest: bool = False
    digest: str = ""
    cause: str = ""
    seconds: float = 0.0


def read(service: Mapping[str, Any]) -> Image:
    """One element of the module's ``services``.

    :raises InputError: its folder or Dockerfile is not there.
    """
    context = os.path.abspath(service["context"])
    dockerfile = os.path.join(context, service.get("dockerfile") or "Dockerfile")
    for what, path, there in (
        ("context", context, os.path.isdir(context)),
        ("dockerfile", dockerfile, os.path.isfile(dockerfile)),
    ):
        if not there:
            raise InputError("services", f"{service['name']}: there is no {what} {path}")
    return Image(
        name=service["name"],
        repository=service["image"],
        context=context,
        dockerfile=dockerfile,
        args={name: str(value) for name, value in (service.get("args") or {}).items()},
        labels={name: str(value) for name, value in (service.get("labels") or {}).items()},
        build_target=service.get("target") or "",
    )


def files(context: str, dockerfile: str) -> Iterator[str]:
    """The paths of a build's context, in order, without what .dockerignore leaves out."""
    rules = []
    for ignore in (f"{dockerfile}.dockerignore", os.path.join(context, ".dockerignore")):
        if os.path.isfile(ignore):
            with open(ignore, encoding="utf-8", errors="surrogateescape") as file:
                rules = ignore_rules(file.read())
            break
    taken_back = any(rule[0] for rule in rules)
    for folder, folders, names in os.walk(context):
        base = os.path.relpath(folder, context)
        inside = "" if base == "." else base + "/"
        folders.sort()
        links = [one for one in folders if os.path.islink(os.path.join(folder, one))]
        if not taken_back:
            folders[:] = [one for one in folders if not ignored(inside + one, rules)]
        for name in sorted([*names, *links]):
            if not ignored(inside + name, rules):
                yield inside + name


def content_hash(image: Image) -> str:
    """What the image is made from, as one SHA-256: files with their modes, Dockerfile, arguments, labels."""
    total = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            total.update(b"%d:" % len(part) + part)

    facts = {"args": dict(image.args), "labels": dict(image.labels), "target": image.build_target}
    add(json.dumps(facts, sort_keys=True).encode())
    with open(image.dockerfile, "rb") as file:
        add(file.read())
    for path in files(image.context, image.dockerfile):
        full = os.path.join(image.context, path)
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            add(os.fsencode(path), b"link", os.fsencode(os.readlink(full)))
        elif stat.S_ISREG(mode):
            own = hashlib.sha256()
            with open(full, "rb") as file:
                for piece in iter(lambda file=file: file.read(1 << 20), b""):  # type: ignore[misc]
                    own.update(piece)
            add(os.fsencode(path), b"run" if mode & 0o111 else b"file", own.digest())
    return f"sha256:{total.hexdigest()}"


class Release:
    """All images of one call of ``release_images``."""

    def __init__(self, params: Mapping[str, Any], check: bool, progress: Progress) -> None:
        self.params = params
        self.check = check
        self.progress = progress
        self.release: str = params["release"]
        self.push: bool = params.get("push", True)
        self.env: Dict[str, str] = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
        if params.get("docker_host"):
            self.env["DOCKER_HOST"] = params["docker_host"]
        self.images = [read(one) for one in params["services"]]
        names = [one.name for one in self.images]
        for given in params.get("overwrite") or ():
            if given not in names:
                raise InputError("overwrite", f"{given} is none of {', '.join(names)}")
        self.registries: Dict[str, Registry] = {}
        login = params.get("login") or {}
        for image in self.images:
            host = split(image.repository)[0]
            mine = (login.get("registry") or host) == host
            if host not in self.registries:
                self.registries[host] = Registry(
                    host, (login.get("username") or "") if mine else "", (login.get("password") or "") if mine else ""
                )

    def run(self) -> Json:
        """Builds and pushes what is missing; gives the module's result.

        :raises OpsError: a tag that is taken (then nothing was built), or builds and pushes that failed.
        """
        jobs = max(1, int(self.params.get("jobs") or 4))
        with ThreadPoolExecutor(jobs) as pool:
            self._each(pool, self._weigh)
            refused = [one for one in self.images if one.decision.action == REFUSE]
            if refused:
                taken = "; ".join(f"{one.repository}:{self.release} is taken: {one.decision.reason}" for one in refused)
                names = ", ".join(one.name for one in refused)
                raise OpsError(
                    "build", f"release {self.release}", taken,
                    f"Nothing was built. Choose another release, or name {names} in overwrite.", **self._result(),
                )  # fmt: skip
            if not self.check:
                with LoggedIn(self.params.get("login"), self.env) as env:
                    self.env = env
                    self._each(pool, self._make)
        return self._result()

    def _each(self, pool: ThreadPoolExecutor, work: Any) -> None:
        def guarded(image: Image) -> None:
            began = time.monotonic()
            try:
                work(image)
            except OpsError as error:
                image.cause = error.message
            image.seconds += time.monotonic() - began

        list(pool.map(guarded, self.images))
        failed = [one for one in self.images if one.cause]
        if failed:
            cause = "\n  ".join(one.cause for one in failed)
            raise OpsError("build", f"release {self.release}", cause, "", **self._result())

    def _weigh(self, image: Image) -> None:
        image.content = content_hash(image)
        host, path = split(image.repository)
        overwrite = image.name in (self.params.get("overwrite") or ())
        if self.push:
            image.found = self.registries[host].find(path, self.release)
            labels: Optional[Mapping[str, str]] = image.found.labels if image.found else None
            image.digest = image.found.digest if image.found else ""
            if self.params.get("latest") and image.found:
                latest = self.registries[host].find(path, "latest")
                image.moved_latest = latest is None or latest.digest != image.digest
        else:
            labels = self._local_labels(f"{image.repository}:{self.release}")
        image.decision = decide(image.content, labels, overwrite)
        if image.decision.action == BUILD and self.params.get("latest"):
            image.moved_latest = True

    def _local_labels(self, tag: str) -> Optional[Mapping[str, str]]:
        ended = self._docker("image", "inspect", "--format", "{{json .Config.Labels}}", tag)
        return (json.loads(ended.stdout) or {}) if ended.rc == 0 else None

    def _make(self, image: Image) -> None:
        host, path = split(image.repository)
        tag = f"{image.repository}:{self.release}"
        if image.decision.action == BUILD:
            self.progress.event(f"{image.name}: building, as {image.decision.reason}")
            self._build(image, tag)
            image.built = True
            if self.push:
                self.progress.event(f"{image.name}: pushing")
                ended = self._docker("push", tag)
                if ended.rc:
                    lines = tail(ended.stderr or ended.stdout, 5)
                    raise OpsError("push", f"{image.name} as {tag}", lines, remedy(ended.output))
                image.found = self.registries[host].find(path, self.release)
                if image.found is None or image.found.labels.get(CONTENT) != image.content:
                    raise OpsError("push", tag, "the registry does not give back what was pushed")
                image.digest = image.found.digest
            elif self.params.get("latest"):
                self._docker("tag", tag, f"{image.repository}:latest")
        if self.push and image.moved_latest and image.found:
            self.registries[host].put(path, "latest", image.found)

    def _build(self, image: Image, tag: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {
            "org.opencontainers.image.title": image.name,
            "org.opencontainers.image.version": self.release,
            "org.opencontainers.image.revision": self.params.get("revision") or "",
            "org.opencontainers.image.source": self.params.get("source") or "",
            "org.opencontainers.image.created": now,
            **image.labels,
            CONTENT: image.content,
        }
        argv = ["build", "--file", image.dockerfile, "--tag", tag]
        for name, value in labels.items():
            argv += ["--label", f"{name}={value}"] if value else []
        for name in image.args:
            # Their values go by the environment: an argument may be a secret.
            argv += ["--build-arg", name]
        if image.build_target:
            argv += ["--target", image.build_target]
        ended = self._docker(*argv, image.context, env=dict(image.args))
        if ended.rc:
            step, lines = build_failure(ended.output)
            indented = lines.replace("\n", "\n    ")
            raise OpsError(
                "build", image.name, f"{step or 'docker build'} failed:\n    {indented}", remedy(ended.output)
            )

    def _docker(self, *words: str, env: Optional[Mapping[str, str]] = None) -> Finished:
        timeout = float(self.params.get("timeout") or 1800)
        try:
            return run(["docker", *words], timeout, env={**(env or {}), **self.env})
        except FileNotFoundError:
            raise OpsError("run", "docker", "there is no such command on this host", "Install Docker.") from None
        except subprocess.TimeoutExpired:
            raise OpsError("run", f"docker {words[0]}", f"it did not end within {timeout:.0f} s") from None

    def _result(self) -> Json:
        images = []
        for one in self.images:
            would = one.decision.action == BUILD
            images.append(
                {
                    "name": one.name,
                    "image": f"{one.repository}:{self.release}",
                    "action": one.decision.action or "none",
                    "reason": one.decision.reason,
                    "built": one.built,
                    "content": one.content,
                    "digest": "" if would and not one.built else one.digest,
                    "seconds": round(one.seconds, 1),
                }
            )
        acts = [one for one in self.images if (one.decision.action == BUILD or one.moved_latest)]
        done = acts if self.check else [one for one in acts if one.built or (one.moved_latest and not one.cause)]
        refused = any(one.decision.action == REFUSE for one in self.images)
        return {
            "changed": bool(done) and not refused,
            "images": images,
            "digests": {
                one.name: f"{one.repository}:{self.release}@{one.digest}"  # the digest decides; people read the tag
                for one in self.images
                if one.digest and (one.built or one.decision.action != BUILD)
            },
            "diff": {
                "before": "",
                "after": "".join(f"{one.repository}:{self.release} ({one.decision.reason})\n" for one in acts),
            },
        }


class LoggedIn:
    """A Docker configuration of its own with the login, gone afterwards; the user's own where there is no login."""

    def __init__(self, login: Optional[Mapping[str, Any]], env: Mapping[str, str]) -> None:
        self.login = login
        self.env = dict(env)
        self.folder = ""

    def __enter__(self) -> Dict[str, str]:
        if not self.login or not self.login.get("username"):
            return self.env
        self.folder = tempfile.mkdtemp(prefix="release-images-")
        own = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        plugins = os.path.join(own, "cli-plugins")
        if os.path.isdir(plugins):
            os.symlink(plugins, os.path.join(self.folder, "cli-plugins"))
        self.env["DOCKER_CONFIG"] = self.folder
        argv = ["docker", "login", "--username", self.login["username"], "--password-stdin"]
        argv += [self.login["registry"]] if self.login.get("registry") else []
        ended = run(argv, 60, env=self.env, stdin=self.login.get("password") or "")
        if ended.rc:
            self.__exit__()
            where = self.login.get("registry") or "the registry"
            raise OpsError("log in to", where, tail(ended.stderr, 2), "Check login.username and login.password.")
        return self.env

    def __exit__(self, *_: Any) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
