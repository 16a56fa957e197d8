# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Gathers the evidence of each item, all at once; one that fails keeps no other from being asked."""

from __future__ import annotations

import datetime
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Optional

from ..aws.client import AWS_SPEC, client, code, errors, explain
from ..backup.plan import seconds
from ..common.errors import InputError, MissingLibrary, OpsError
from ..common.targets import CLUSTER_SPEC
from ..ledger.judge import standing
from ..ledger.ledger import Ledger
from ..ledger.stores import open_store
from . import judge
from .judge import ERROR, FAIL, PASS, Item, Said

# What an item may be judged by, each a method of Checklist.
KINDS = ("checks", "file", "migrated", "secrets", "backup", "rollback", "notified", "freezes", "found")
# Records that are looked through for a release.
LOOK_BACK = 100


class Checklist:
    """The checklist of one release.

    :param params: the module's options.
    """

    def __init__(self, params: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        self.params = params
        self.clock = clock
        self.release: str = params["release"]
        self.revision: str = params["revision"]

    def run(self) -> Dict[str, Any]:
        """:raises OpsError: an item is red, and not waived."""
        items = self.params["items"]
        names = [one["name"] for one in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError("items", f"the item {twice[0]!r} comes twice")
        wrong = judge.bad_waivers(names, self.params["waive"])
        if wrong:
            raise InputError("waive", wrong)
        with ThreadPoolExecutor(max(1, len(items))) as pool:
            found = judge.waive(list(pool.map(self.item, items)), self.params["waive"])
        red = [one for one in found if not one.go]
        result = {"changed": False, **judge.result(found), "msg": judge.table(found)}
        if (red or not found) and not self.params["report_only"]:
            del result["msg"]
            names = [one.name for one in red]
            raise OpsError(
                "pass",
                f"the checklist of {self.release or 'this run'}",
                f"{len(red)} of {len(found)} items are red: {', '.join(names)}" if found else "it has no items",
                "Nothing was touched. Put them right, or waive an item with a reason, which the ledger keeps: "
                f'-e \'{{"waive": {{"<item>": "<reason>"}}}}\'\n{judge.table(found)}'
                if found
                else "Say which items it has.",
                **result,
            )
        return result

    def item(self, item: Mapping[str, Any]) -> Item:
        started = time.monotonic()
        kind = next(kind for kind in KINDS if item.get(kind) is not None)
        try:
            verdict, reason = getattr(self, kind)(item[kind])
        except OpsError as error:
            verdict, reason = ERROR, error.message
        except MissingLibrary as missing:
            verdict, reason = ERROR, f"the Python library {missing.library} is missing"
        except Exception as error:
            # What could not be asked is not green.
            verdict, reason = ERROR, f"it could not be asked: {type(error).__name__}: {error}"
        return Item(item["name"], verdict, reason, seconds=round(time.monotonic() - started, 3))

    # One method a kind of evidence

    def checks(self, checks: List[Mapping[str, Any]]) -> Said:
        from ..gate import gate, options

        asked = filled(checks, {"$revision": self.revision, "$release": self.release})
        options.examine(asked)
        rules = {"interval": 0.5, "threads": 16, "since": None, "consecutive": 1, "hold": 0}
        result = gate.run({**rules, "deadline": self.params["patience"], "checks": asked, "report_only": True})
        said = []
        for one in result["checks"]:
            verdict = one["verdict"] if one["verdict"] in judge.SEVERITY else ERROR
            if one["ok"] and verdict == ERROR:
                verdict = judge.WARN
            said.append((verdict, f"{one['name']}: {one['reason']}" if len(result["checks"]) > 1 else one["reason"]))
        worst, reason = judge.worst(said)
        return worst, f"all {len(said)} are good" if worst == PASS and len(said) > 1 else reason

    def file(self, options: Mapping[str, Any]) -> Said:
        path = options["path"].replace("$revision", self.revision).replace("$release", self.release)
        if options["of_revision"] and not self.revision:
            return ERROR, "the revision of the release is not known"
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return FAIL, f"there is no evidence: {path} does not exist"
        except (OSError, ValueError) as error:
            return ERROR, f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        wanted = self.revision if options["of_revision"] else ""
        return judge.evidence(text, wanted, seconds(options["max_age"]), self.clock())

    def migrated(self, options: Mapping[str, Any]) -> Said:
        records = self.ledger(options["store"]).query(LOOK_BACK)["records"]
        return judge.migrated(records, self.release, options["environment"] or options["store"])

    def secrets(self, names: List[str]) -> Said:
        manager = client("secretsmanager", self.aws(), attempts=3)
        wrong = []
        for name in names:
            try:
                found = manager.describe_secret(SecretId=name)
                problem = judge.secret(found)
            except errors() as error:
                problem = (
                    "does not exist"
                    if code(error) == "ResourceNotFoundException"
                    else f"cannot be asked about: {explain(error)[0]}"
                )
            if problem:
                wrong.append(f"{name} {problem}")
        if not names:
            return ERROR, "no secrets are named"
        return (FAIL, "; ".join(wrong)) if wrong else (PASS, f"{', '.join(names)}: there, and not read")

    def backup(self, options: Mapping[str, Any]) -> Said:
        from ..backup.store import open_store as open_backups

        backups, databases = self.backups(options), options["databases"]
        place = open_backups(options["dest"], "look at", self.aws(), readonly=True)
        while True:
            newest = judge.newest_backup(backups, databases)
            # Once verified it may have lost files since. Whether each byte is there still is not asked each time.
            wrong = place.lacking(newest["id"]) if newest else []
            if not newest or not wrong:
                return judge.backup(backups, databases, seconds(options["max_age"]), self.clock())
            newest["broken"] = wrong[0]

    def backups(self, options: Mapping[str, Any]) -> List[Dict[str, Any]]:
        from ..backup.take import Backups

        # What pg_backup itself says, so whatever place it knows is known here.
        given = {"state": "listed", "dest": options["dest"], "max_age": "1h"}
        return Backups({**dict.fromkeys(("id", "release", "databases")), **self.aws(), **given}, True).run()["backups"]

    def rollback(self, options: Mapping[str, Any]) -> Said:
        book = self.ledger(self.params["ledger"])
        records = book.query(LOOK_BACK)["records"]
        target = standing(records).last_good
        if target is None:
            return judge.possible(None, [], None, options["allow_first"])
        # Of a release that was there before the ledger, and was come back to, there are no deployments to tell of.
        deployed = [
            one
            for one in records
            if one["outcome"] == "good" and one["release"] == target["release"] and not one.get("rolled_back_from")
        ]
        missing = self.missing_images(target.get("images") or {})
        if deployed:
            missing += self.missing_portals(target["release"], options["portals"])
        safe: Optional[bool] = None
        if options["backups"]:
            # Since it was first in place: a rollback to it takes no backup of its own.
            since = min((begun(one["id"]) for one in deployed), default=0.0)
            own = {one.get("backup") for one in deployed}
            whole = [one for one in self.backups({"dest": options["backups"]}) if one["verified"] and not one["broken"]]
            safe = any(one["manifest"] in own or judge.moment(one["created"]) >= since for one in whole)
        return judge.possible(target, missing, safe, options["allow_first"])

    def missing_images(self, images: Mapping[str, str]) -> List[str]:
        from ..images.registry import Registry, split

        def look(named: Any) -> str:
            name, image = named
            repository, reference = split_image(image)
            host, path = split(repository)
            return "" if Registry(host, timeout=10).find(path, reference) else f"the image of {name} is gone ({image})"

        with ThreadPoolExecutor(max(1, len(images))) as pool:
            return [one for one in pool.map(look, sorted(images.items())) if one]

    def missing_portals(self, release: str, portals: List[Mapping[str, Any]]) -> List[str]:
        from ..site import bucket as site

        gone = []
        s3 = client("s3", self.aws(), attempts=3) if portals else None
        for portal in portals:
            prefix = (portal["prefix"] or "").strip("/")
            place = site.Bucket(s3, portal["bucket"], prefix + "/" if prefix else "", "look at")
            current = place.read_json(site.CURRENT) or {}
            if current.get("release") != release and place.read_json(site.manifest(release)) is None:
                gone.append(f"{place} no longer has the manifest of {release}")
        return gone

    def notified(self, options: Mapping[str, Any]) -> Said:
        notices = self.ledger(self.params["ledger"]).notices()
        notice, max_age = seconds(options["notice"]), seconds(options["max_age"])
        return judge.notified(notices, options["kind"], self.release, notice, max_age, self.clock())

    def freezes(self, windows: List[Mapping[str, Any]]) -> Said:
        return judge.frozen(windows, self.clock())

    def found(self, options: Mapping[str, Any]) -> Said:
        return options["verdict"], options["reason"]

    def ledger(self, store: Optional[str]) -> Ledger:
        if not store:
            raise InputError("ledger", "an item needs it")
        access = {name: self.params.get(name) for name in (*AWS_SPEC, *CLUSTER_SPEC)}
        return Ledger(open_store(store, access), self.clock)

    def aws(self) -> Dict[str, Any]:
        return {name: self.params.get(name) for name in AWS_SPEC}


def split_image(image: str) -> Any:
    """An image as (repository, tag or digest)."""
    repository, at, digest = image.partition("@")
    slash = repository.rfind("/")
    colon = repository.find(":", slash)
    tag = repository[colon + 1 :] if colon > 0 else "latest"
    return (repository[:colon] if colon > 0 else repository), (digest if at else tag)


def begun(record: str) -> float:
    """When a record began, by its id."""
    told = datetime.datetime.strptime(record.partition("-")[0], "%Y%m%dT%H%M%SZ")
    return told.replace(tzinfo=datetime.timezone.utc).timestamp()


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """Data with ``$revision`` and ``$release`` in its texts replaced."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
        return value
    if isinstance(value, Mapping):
        return {key: filled(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, words) for one in value]
    return value
