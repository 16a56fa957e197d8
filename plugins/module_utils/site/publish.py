# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Publishes a site, and puts an earlier release of it back.

The bucket itself remembers everything, below ``.releases/``: ``manifests/<release>.json`` (the files of each kept
release), ``content/<sha256>`` (contents that a kept release has and that are no longer served), ``current.json`` (what
was last seen of each object, so that an unchanged site costs one listing), and ``pending.json`` (paths that caches may
still hold; written before the first change and removed by who invalidates them).
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..cdn import paths
from ..common.errors import InputError, OpsError
from ..common.progress import Progress
from . import plan as planning
from .bucket import CURRENT, PENDING, Bucket, Listed, blob, manifest, parallel
from .plan import OWN, File, Object, Plan
from .rules import Headers, Rules

RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}\Z")


class Options(NamedTuple):
    delete: bool = True
    protect: Sequence[str] = ()
    max_delete: int = 1000
    max_delete_percent: float = 50
    keep_releases: int = 3
    viewer_path: Optional[str] = None
    concurrency: int = 10
    exclude: Sequence[str] = ()


class Site:
    """A site in a bucket.

    :param clock: gives the time of now, in UTC.
    :param token: gives a few random characters.
    """

    def __init__(
        self,
        bucket: Bucket,
        rules: Rules,
        options: Options,
        progress: Progress,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        token: Callable[[], str] = str,
    ) -> None:
        self.bucket = bucket
        self.rules = rules
        self.options = options
        self.progress = progress
        self.clock = clock
        self.token = token
        self.done: List[str] = []

    def publish(
        self, release: str, files: Dict[str, File], content_of: Callable[[File], BinaryIO], check: bool
    ) -> Dict[str, Any]:
        """Makes the bucket serve ``files`` as ``release``.

        :param content_of: opens a file's content.
        """
        check_release(release)
        state = self.observe()
        return self.apply(state, release, files, lambda file: self.bucket.upload(file, content_of), check)

    def roll_back(self, release: Optional[str], from_release: Optional[str], check: bool) -> Dict[str, Any]:
        """Makes the bucket serve an earlier release: ``release``, or the one before ``from_release``.

        With both, what it served before ``from_release`` is for a bucket that does not have ``release``.
        """
        state = self.observe()
        target = release if not from_release or release in state.history else None
        if not target:
            if from_release not in (state.release, state.unfinished):
                # It is not what is served, so there is nothing to leave.
                return self.apply(state, state.release, None, None, check)
            target = next((one for one in state.history if one != from_release), "")
        document = self.bucket.read_json(manifest(target)) if target in state.history else None
        if not document:
            raise OpsError(
                "roll back",
                str(self.bucket),
                f"it has no release {target or 'before ' + str(from_release)}",
                f"Kept are: {', '.join(state.history) or 'none'}. Nothing was touched.",
            )
        files = {
            key: File(key, one["sha256"], one["size"], headers(one), self.rules.kind(key))
            for key, one in document["files"].items()
        }
        lost = planning.unrestorable(files, state.present, state.blobs)
        if lost:
            raise OpsError(
                "roll back",
                f"{self.bucket} to {target}",
                f"the bucket no longer has the content of {len(lost)} of its files: {', '.join(lost[:5])}",
                "Publish that release again from its source. Nothing was touched.",
            )

        def fetch(file: File) -> None:
            self.bucket.copy(blob(file.sha256), file)

        return self.apply(state, target, files, fetch, check)

    def observe(self) -> State:
        """What is in the bucket. Reads again only what was written since it was last seen."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            asked: List[Any] = [
                pool.submit(self.bucket.read_json, CURRENT),
                pool.submit(self.bucket.read_json, PENDING),
                pool.submit(lambda: list(self.bucket.listing())),
                pool.submit(lambda: {listed.key for listed in self.bucket.listing(OWN)}),
            ]
            current, pending, listing, own = (one.result() for one in asked)
        kept = own if current or pending else set()
        known = (current or {}).get("objects", {})
        present: Dict[str, Object] = {}
        unclear: List[str] = []
        marks: Dict[str, List[str]] = {}
        for listed in listing:
            if current is None:
                marks[listed.key] = [listed.etag, listed.modified]
            seen = known.get(listed.key)
            if seen and seen[2:4] == [listed.etag, listed.modified]:
                present[listed.key] = Object(listed.key, seen[0], seen[1], Headers(*seen[4:]))
            else:
                unclear.append(listed.key)

        def look(key: str) -> None:
            found = self.bucket.head(key)
            if not found.sha256 and current is None:
                # A site that something else published: its content must be known to be put back later.
                found = found._replace(sha256=self.bucket.digest(key))
            present[key] = found
            self.progress.heartbeat(f"{self.bucket}: looked at {len(present)} objects")

        parallel(look, unclear, self.options.concurrency)
        history = list((current or {}).get("history", []))
        if current is None and present:
            history = ["found"]
        return State(
            present=present,
            release=history[0] if history else "",
            history=history,
            blobs={key.rpartition("/")[2] for key in kept if key.startswith(blob(""))},
            manifests={one for one in history if manifest(one) in kept},
            pending=pending or {},
            adopted=current is None,
            marks=marks,
        )

    def apply(
        self,
        state: State,
        release: str,
        files: Optional[Dict[str, File]],
        put: Optional[Callable[[File], None]],
        check: bool,
    ) -> Dict[str, Any]:
        kept, dropped = planning.history(state.history, release, self.options.keep_releases) if release else ([], [])
        if files is None:
            plan = Plan([], [], [], [], [])
            return self.result(state, release, plan, [], state.pending.get("publication", ""), False)
        releases = self.releases(state, [one for one in kept if one in state.history])
        kinds = {key: self.rules.kind(key) for key in [*state.present, *files]}
        plan = planning.decide(
            files,
            state.present,
            releases,
            state.blobs,
            kinds,
            self.options.delete,
            self.options.protect,
            self.options.exclude,
        )
        planning.guard(
            plan, len(state.present), self.options.max_delete, self.options.max_delete_percent, str(self.bucket)
        )
        document = {"release": release, "files": {key: entry(file) for key, file in sorted(files.items())}}
        recorded = state.release == release and not state.adopted and releases.get(release) == shas(files)
        changed = plan.changes or not recorded
        viewer = self.options.viewer_path if self.options.viewer_path is not None else "/" + self.bucket.prefix
        fresh = paths.of_keys(planning.stale(plan, files, state.present, kinds), viewer)
        publication = state.pending.get("publication", "")
        if fresh:
            publication = f"{release}-{self.clock():%Y%m%dT%H%M%SZ}-{self.token()}"
        if changed and not check:
            try:
                self.carry_out(state, release, files, put, plan, kinds, releases, fresh, publication)
                self.record(release, document, kept, dropped, state, files)
            except OpsError as error:
                error.result.update(plan=plan.steps(), uploaded=sorted(self.done), changed=bool(self.done))
                raise
        result = self.result(state, release, plan, fresh, publication, changed)
        result["diff"] = difference(state.present, files, plan)
        return result

    def releases(self, state: State, names: Sequence[str]) -> Dict[str, Dict[str, str]]:
        """The files of releases: release -> key -> SHA-256."""
        found: Dict[str, Dict[str, str]] = {}
        for name in names:
            if name in state.manifests:
                document = self.bucket.read_json(manifest(name)) or {"files": {}}
                found[name] = {key: one["sha256"] for key, one in document["files"].items()}
            elif state.adopted:
                found[name] = {key: one.sha256 for key, one in state.present.items()}
        return found

    def carry_out(
        self,
        state: State,
        release: str,
        files: Dict[str, File],
        put: Any,
        plan: Plan,
        kinds: Dict[str, int],
        releases: Dict[str, Dict[str, str]],
        fresh: List[str],
        publication: str,
    ) -> None:
        workers = self.options.concurrency
        if state.adopted and state.present:
            # Even this release's failure must find the way back, so what was found is recorded before it is touched.
            found = {key: entry(File(key, one.sha256, one.size, one.headers, 0)) for key, one in state.present.items()}
            self.bucket.write_json(manifest("found"), {"release": "found", "files": found})
            objects = {key: [o.sha256, o.size, *state.marks[key], *o.headers] for key, o in state.present.items()}
            self.bucket.write_json(CURRENT, {"release": "found", "history": ["found"], "objects": objects})
        parallel(lambda step: self.bucket.set_aside(*step), plan.preserve, workers)
        if fresh:
            self.bucket.write_json(
                PENDING,
                {
                    "release": release,
                    "publication": publication,
                    "paths": sorted({*fresh, *state.pending.get("paths", [])}),
                    "since": state.pending.get("since") or f"{self.clock():%Y-%m-%dT%H:%M:%SZ}",
                },
            )
        rehead = {step.key for step in plan.rehead}
        total = len(plan.upload) + len(rehead)
        lock = threading.Lock()

        def change(key: str) -> None:
            if key in rehead:
                self.bucket.copy(key, files[key])
            else:
                put(files[key])
            with lock:
                self.done.append(key)
            self.progress.heartbeat(f"{self.bucket}: {len(self.done)} of {total} files")

        for group in planning.order([*(step.key for step in plan.upload), *rehead], kinds):
            parallel(change, group, workers)
        self.bucket.delete([step.key for step in plan.delete])

    def record(
        self,
        release: str,
        document: Dict[str, Any],
        kept: List[str],
        dropped: List[str],
        state: State,
        files: Dict[str, File],
    ) -> None:
        """Writes what is served now, then lets go of what no kept release needs."""
        stamped = {**document, "published": f"{self.clock():%Y-%m-%dT%H:%M:%SZ}"}
        with ThreadPoolExecutor(max_workers=1) as pool:
            written = pool.submit(self.bucket.write_json, manifest(release), stamped)
            listed = list(self.bucket.listing())
            written.result()
        objects = {}
        for one in listed:
            seen = seen_as(one, files, state)
            if seen:
                objects[one.key] = [seen.sha256, seen.size, one.etag, one.modified, *seen.headers]
        self.bucket.write_json(CURRENT, {"release": release, "history": kept, "objects": objects})
        needed: Set[str] = {file.sha256 for file in files.values()}
        for name in kept if state.blobs else ():
            if name == release:
                continue
            kept_files = (self.bucket.read_json(manifest(name)) or {"files": {}})["files"]
            needed.update(file["sha256"] for file in kept_files.values())
        gone = [blob(sha) for sha in state.blobs - needed]
        self.bucket.delete([*gone, *(manifest(name) for name in dropped)])

    def result(
        self, state: State, release: str, plan: Plan, fresh: List[str], publication: str, changed: bool
    ) -> Dict[str, Any]:
        waiting = sorted({*fresh, *state.pending.get("paths", [])})
        return {
            "changed": changed,
            "release": release,
            "previous": next((one for one in state.history if one != release), ""),
            "publication": publication,
            "uploaded": [step.key for step in plan.upload],
            "reheaded": [step.key for step in plan.rehead],
            "deleted": [step.key for step in plan.delete],
            "kept": len(plan.keep),
            "plan": plan.steps(),
            "changed_paths": waiting,
            "pending": f"s3://{self.bucket.name}/{self.bucket.prefix}{PENDING}" if waiting else "",
        }


class State(NamedTuple):
    """What is in a bucket. ``release`` is what was last published in full."""

    present: Dict[str, Object]
    release: str
    history: List[str]
    blobs: Set[str]
    manifests: Set[str]
    pending: Dict[str, Any]
    adopted: bool
    marks: Dict[str, List[str]]  # ETag and time of each object, only where nothing was recorded before

    @property
    def unfinished(self) -> str:
        """The release whose publication was begun and not ended, if there is one."""
        begun = str(self.pending.get("release", ""))
        return begun if begun != self.release else ""


def check_release(release: str) -> None:
    if not RELEASE.match(release or ""):
        raise InputError("release", f"{release!r} is no name for a release: letters, digits and . _ + ~ - are")
    if release == "found":
        raise InputError("release", "'found' is what a site is called that was there before the first publication")


def entry(file: File) -> Dict[str, Any]:
    """A file as a manifest has it."""
    encoding = {"encoding": file.headers.content_encoding} if file.headers.content_encoding else {}
    return {
        "sha256": file.sha256,
        "size": file.size,
        "type": file.headers.content_type,
        "cache": file.headers.cache_control,
        **encoding,
    }


def headers(entry: Dict[str, Any]) -> Headers:
    """The headers of a manifest's entry."""
    return Headers(entry["type"], entry["cache"], entry.get("encoding", ""))


def shas(files: Dict[str, File]) -> Dict[str, str]:
    return {key: file.sha256 for key, file in files.items()}


def seen_as(listed: Listed, files: Dict[str, File], state: State) -> Optional[Object]:
    """What an object is known to be after a publication, if it is known."""
    if listed.key in files:
        file = files[listed.key]
        return Object(listed.key, file.sha256, file.size, file.headers)
    return state.present.get(listed.key)


def difference(present: Dict[str, Object], files: Dict[str, File], plan: Plan) -> Dict[str, str]:
    """What a diff shows: each object that changes, before and after."""

    def line(key: str, one: Any) -> str:
        return "  ".join([key, f"sha256:{(one.sha256 or 'unknown')[:16]}", *filter(None, one.headers)])

    touched = sorted(step["key"] for step in plan.steps())
    before = [line(key, present[key]) for key in touched if key in present]
    after = [line(key, files[key]) for key in touched if key in files]
    return {"before": "\n".join([*before, ""]), "after": "\n".join([*after, ""])}


def split(uri: str) -> Tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    if not uri.startswith("s3://") or "/" not in uri[5:]:
        raise InputError("pending", f"{uri!r} is no s3://bucket/key")
    bucket, _slash, key = uri[5:].partition("/")
    return bucket, key
