# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Where a ledger lives: a folder, an S3 prefix, or a namespace's ConfigMaps, all with compare-and-swap."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..aws.client import client, code, errors, explain
from ..common.errors import InputError, OpsError
from ..kubernetes.api import CONFIG_MAPS, Api, ApiError


class Stored(NamedTuple):
    """A document and the version that ``write`` wants to see again."""

    data: bytes
    version: str


class Store:
    """Documents by name ("lock", "records/<id>")."""

    where: str

    def read(self, name: str) -> Optional[Stored]:
        """A document, or None where there is none."""
        raise NotImplementedError

    def write(self, name: str, data: bytes, version: Optional[str]) -> bool:
        """Stores a document if it still has ``version`` (None: if there is none), at once and for good.

        :returns: False when somebody else was faster; nothing is stored then.
        """
        raise NotImplementedError

    def names(self, below: str) -> List[str]:
        """The names below "records/", sorted."""
        raise NotImplementedError


class Folder(Store):
    """Files in a folder. A file lock, which ends with its process, makes compare and swap one step.

    Works on local disks and on NFS 4; every write is on the disk before it counts.
    """

    def __init__(self, path: str, patience: float = 30) -> None:
        self.where = path
        self.patience = patience

    def read(self, name: str) -> Optional[Stored]:
        try:
            with open(os.path.join(self.where, name + ".json"), "rb") as file:
                data = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self.failure("read", name, error) from error
        return Stored(data, hashlib.sha256(data).hexdigest())

    def write(self, name: str, data: bytes, version: Optional[str]) -> bool:
        path = os.path.join(self.where, name + ".json")
        try:
            os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
            with self.alone():
                found = self.read(name)
                if (found.version if found else None) != version:
                    return False
                replace(path, data)
                return True
        except OSError as error:
            raise self.failure("write", name, error) from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        handle = os.open(os.path.join(self.where, ".guard"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        deadline = time.monotonic() + self.patience
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            yield
        finally:
            os.close(handle)

    def names(self, below: str) -> List[str]:
        try:
            found = os.listdir(os.path.join(self.where, below))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self.failure("list", below, error) from error
        return sorted(below + name[:-5] for name in found if name.endswith(".json") and not name.startswith("."))

    def failure(self, verb: str, name: str, error: OSError) -> OpsError:
        cause = error.strerror or str(error)
        return OpsError(verb, f"{name} of the ledger {self.where}", cause, "Check the folder, its owner and its space.")


def replace(path: str, data: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees either the old or the new one."""
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o640)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class S3(Store):
    """Objects below a prefix; S3's conditional writes (If-None-Match, If-Match) are the compare-and-swap."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.prefix = prefix
        self.where = f"s3://{bucket}/{prefix}"

    def read(self, name: str) -> Optional[Stored]:
        try:
            found = self.s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}{name}.json")
            return Stored(found["Body"].read(), found["ETag"])
        except errors() as error:
            if code(error) in ("NoSuchKey", "404"):
                return None
            raise self.failure("read", name, error) from error

    def write(self, name: str, data: bytes, version: Optional[str]) -> bool:
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            self.s3.put_object(
                Bucket=self.bucket,
                Key=f"{self.prefix}{name}.json",
                Body=data,
                ContentType="application/json",
                **condition,
            )
            return True
        except errors() as error:
            # A retry of a request whose answer was lost meets its own write.
            if code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404"):
                found = self.read(name)
                return found is not None and found.data == data
            raise self.failure("write", name, error) from error

    def names(self, below: str) -> List[str]:
        found = []
        try:
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + below)
            for page in pages:
                for item in page.get("Contents", []):
                    if item["Key"].endswith(".json"):
                        found.append(item["Key"][len(self.prefix) : -5])
        except errors() as error:
            raise self.failure("list", below, error) from error
        return sorted(found)

    def failure(self, verb: str, name: str, error: Exception) -> OpsError:
        cause, remedy = explain(error)
        return OpsError(verb, f"{name} of the ledger {self.where}", cause, remedy)


class ConfigMaps(Store):
    """ConfigMaps of the namespace of ``api``; their resource version is the compare-and-swap."""

    LABEL = "app.kubernetes.io/part-of"

    def __init__(self, api: Api, prefix: str) -> None:
        self.api = api
        self.prefix = prefix
        self.where = f"configmap://{api.namespace}/{prefix}"

    def object_name(self, name: str) -> str:
        # Names of ConfigMaps are lower case and have no slash; the document's own name stands in its data.
        return f"{self.prefix}-{name.replace('/', '.').lower()}".replace("_", "-").replace("+", "-").replace("~", "-")

    def read(self, name: str) -> Optional[Stored]:
        try:
            found = self.api.get(CONFIG_MAPS, self.object_name(name))
        except ApiError as error:
            if missing(error):
                return None
            raise self.failure("read", name, error) from error
        data = found.get("data") or {}
        if data.get("name") != name:
            cause = f"the ConfigMap {self.object_name(name)} holds {data.get('name') or 'no document'!r}"
            raise OpsError("read", f"{name} of the ledger {self.where}", cause, "Move it away, or use another prefix.")
        return Stored(data.get("document", "").encode(), found["metadata"]["resourceVersion"])

    def write(self, name: str, data: bytes, version: Optional[str]) -> bool:
        metadata: Dict[str, Any] = {"name": self.object_name(name), "labels": {self.LABEL: self.prefix}}
        body = {"metadata": metadata, "data": {"name": name, "document": data.decode()}}
        try:
            if version is None:
                self.api.create(CONFIG_MAPS, body)
            else:
                metadata["resourceVersion"] = version
                self.api.replace(CONFIG_MAPS, self.object_name(name), body)
            return True
        except ApiError as error:
            if not missing(error) and error.status != 409:
                raise self.failure("write", name, error) from error
        # What was sent twice because its answer was lost meets itself.
        found = self.read(name)
        return found is not None and found.data == data

    def names(self, below: str) -> List[str]:
        try:
            found, _version = self.api.list(CONFIG_MAPS, labels=f"{self.LABEL}={self.prefix}")
        except ApiError as error:
            raise self.failure("list", below, error) from error
        names = [(one.get("data") or {}).get("name", "") for one in found]
        return sorted(name for name in names if name.startswith(below))

    def failure(self, verb: str, name: str, error: ApiError) -> OpsError:
        said = f"the API server answers {error.status}: {error.message}" if error.status else error.message
        remedy = (
            "Check the namespace and the rights on ConfigMaps." if error.status else "Check kubeconfig and context."
        )
        return OpsError(verb, f"{name} of the ledger {self.where}", said, remedy)


def missing(error: ApiError) -> bool:
    """Whether an object is not there; a namespace that is not there is something else."""
    return error.status == 404 and "namespaces" not in error.message


def open_store(address: str, params: Dict[str, Any]) -> Store:
    """The store of an address: a folder's path, ``s3://bucket/prefix``, or ``configmap://namespace/name``."""
    if address.startswith("s3://"):
        bucket, _slash, prefix = address[5:].partition("/")
        if not bucket:
            raise InputError("store", f"{address!r} names no bucket")
        return S3(client("s3", params), bucket, prefix.strip("/") + "/" if prefix.strip("/") else "")
    if address.startswith("configmap://"):
        namespace, _slash, prefix = address[len("configmap://") :].partition("/")
        if not namespace:
            raise InputError("store", f"{address!r} names no namespace")
        api = Api(params.get("kubeconfig"), params.get("context"), namespace)
        return ConfigMaps(api, prefix.strip("/") or "ledger")
    if "://" in address or not os.path.isabs(address):
        raise InputError("store", f"{address!r} is no absolute path, s3:// or configmap:// address")
    return Folder(address)
