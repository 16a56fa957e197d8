# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A site's objects in S3: what is there, and every change that is made to it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional
from urllib.parse import quote

from ..aws.client import code, errors, explain
from ..common.errors import OpsError
from .plan import OWN, File, Object
from .rules import Headers

CHUNK = 1 << 20


class Listed(NamedTuple):
    """What a listing says of an object. ``etag`` and ``modified`` together change with every write to it."""

    key: str
    size: int
    etag: str
    modified: str


def parallel(function: Callable[[Any], Any], items: Iterable[Any], workers: int) -> None:
    """Calls ``function`` on each item, ``workers`` at a time; the first error stops the rest and is raised.

    Items are drawn as they are needed, so memory does not grow with their number.
    """
    source = iter(items)
    guard = threading.Lock()
    stop = threading.Event()
    failures: List[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            with guard:
                try:
                    item = next(source)
                except StopIteration:
                    return
            try:
                function(item)
            except BaseException as error:
                failures.append(error)
                stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _number in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        # A signal may have ended the waiting: what is under way ends, and nothing new begins.
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    if failures:
        raise failures[0]


class Bucket:
    """The objects below a prefix. Keys are relative to it.

    :param client: boto3's S3 client.
    :param prefix: empty, or ending in a slash.
    """

    def __init__(self, client: Any, name: str, prefix: str = "", verb: str = "publish") -> None:
        self.client = client
        self.name = name
        self.prefix = prefix
        self.verb = verb

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    def call(self, what: str, operation: str, **arguments: Any) -> Any:
        """One request; its error says on which object it was."""
        try:
            return getattr(self.client, operation)(Bucket=self.name, **arguments)
        except errors() as error:
            cause, remedy = explain(error)
            raise OpsError(self.verb, f"{self}{what}", cause, remedy) from error

    def listing(self, below: str = "") -> Iterator[Listed]:
        """What is there, without the collection's own objects unless they are asked for."""
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below)
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"][len(self.prefix) :]
                    if key.startswith(OWN) != bool(below) or not key:
                        continue
                    yield Listed(key, item["Size"], item["ETag"].strip('"'), item["LastModified"].isoformat())
        except errors() as error:
            cause, remedy = explain(error)
            raise OpsError(self.verb, str(self), cause, remedy) from error

    def head(self, key: str) -> Object:
        found = self.call(key, "head_object", Key=self.prefix + key)
        headers = Headers(found.get("ContentType", ""), found.get("CacheControl", ""), found.get("ContentEncoding", ""))
        return Object(key, found.get("Metadata", {}).get("sha256", ""), found["ContentLength"], headers)

    def digest(self, key: str) -> str:
        """The SHA-256 of an object's content, by reading it."""
        digest = hashlib.sha256()
        body = self.call(key, "get_object", Key=self.prefix + key)["Body"]
        for block in body.iter_chunks(CHUNK):
            digest.update(block)
        return digest.hexdigest()

    def upload(self, file: File, content_of: Callable[[File], BinaryIO]) -> None:
        """Puts a file; S3 itself refuses it if what arrives has not the SHA-256 that was planned."""
        checksum = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        arguments = {"Key": self.prefix + file.key, **described(file), "ChecksumSHA256": checksum}
        try:
            with content_of(file) as body:
                if file.size > CHUNK:
                    self.call(file.key, "put_object", Body=body, ContentLength=file.size, **arguments)
                    return
                content = body.read(CHUNK + 1)
        except OSError as error:
            raise OpsError(self.verb, file.key, error.strerror or str(error), "Build again and run again.") from error
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise OpsError(self.verb, file.key, "the file changed while it was published", "Run again.")
        self.call(file.key, "put_object", Body=content, **arguments)

    def copy(self, source: str, file: File) -> None:
        """Copies an object's content within the bucket, with new headers. Onto itself, it mends headers alone."""
        self.call(
            file.key,
            "copy_object",
            Key=self.prefix + file.key,
            CopySource={"Bucket": self.name, "Key": self.prefix + source},
            MetadataDirective="REPLACE",
            **described(file),
        )

    def set_aside(self, key: str, sha256: str) -> None:
        """Keeps a copy of an object under its content's hash."""
        self.call(
            key,
            "copy_object",
            Key=self.prefix + blob(sha256),
            CopySource={"Bucket": self.name, "Key": self.prefix + key},
            MetadataDirective="COPY",
        )

    def delete(self, keys: List[str]) -> None:
        """Deletes objects; an error in the answer's body is an error."""
        for start in range(0, len(keys), 1000):
            batch = [{"Key": self.prefix + key} for key in keys[start : start + 1000]]
            answer = self.call("", "delete_objects", Delete={"Objects": batch, "Quiet": True})
            for error in answer.get("Errors", []):
                raise OpsError(
                    self.verb,
                    f"{self}{error.get('Key', '')[len(self.prefix) :]}",
                    f"S3 did not delete it: {error.get('Code', '')} {error.get('Message', '')}",
                    "Run again once the bucket's policy allows it.",
                )

    def read_json(self, key: str) -> Optional[Dict[str, Any]]:
        """A JSON document, or None where there is none."""
        try:
            text = self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read()
        except errors() as error:
            if code(error) in ("NoSuchKey", "404"):
                return None
            cause, remedy = explain(error)
            raise OpsError(self.verb, f"{self}{key}", cause, remedy) from error
        remedy = f"Put it right, or delete {self}{key} to begin anew from what the bucket holds."
        try:
            document = json.loads(text)
        except ValueError as error:
            raise OpsError("read", f"{self}{key}", f"it is no JSON: {error}", remedy) from error
        if not isinstance(document, dict) or document.get("schema") != 1:
            schema = document.get("schema") if isinstance(document, dict) else None
            raise OpsError("read", f"{self}{key}", f"its schema is {schema!r}, and this version knows 1", remedy)
        return document

    def write_json(self, key: str, document: Dict[str, Any]) -> None:
        self.call(
            key,
            "put_object",
            Key=self.prefix + key,
            Body=json.dumps({"schema": 1, **document}, sort_keys=True, separators=(",", ":")).encode(),
            ContentType="application/json",
            CacheControl="no-store",
        )


def described(file: File) -> Dict[str, Any]:
    """An object's headers and metadata, as S3 is given them."""
    encoding = {"ContentEncoding": file.headers.content_encoding} if file.headers.content_encoding else {}
    return {
        "ContentType": file.headers.content_type,
        "CacheControl": file.headers.cache_control,
        "Metadata": {"sha256": file.sha256},
        **encoding,
    }


def blob(sha256: str) -> str:
    return f"{OWN}content/{sha256}"


def manifest(release: str) -> str:
    return f"{OWN}manifests/{quote(release, safe='')}.json"


CURRENT = OWN + "current.json"
PENDING = OWN + "pending.json"
