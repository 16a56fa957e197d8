# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Backups in S3, written as they come: nothing is stored here on the way, and memory holds a few parts at most.

S3 knows no renaming, so objects stand under their names at once; without a manifest they are no backup. It knows no
locks either. A run touches no object of another one, except what is so old that nobody can be at work on it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import io
import re
import threading
import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, Iterator, List

from ..aws.client import client, code, errors, explain
from ..common.errors import InputError, OpsError
from . import manifest as manifests
from .manifest import NAME, VERIFIED
from .plan import part_size
from .store import CHUNK, Draft, Missing, Sink, Store, Tick, silent

# Parts under way at once; one more waits, and one is being filled.
UPLOADS = 2
# How often a read that broke off goes on where it broke.
READS = 5
# After so many seconds without a manifest, nobody is at work on a backup any more.
STALE = 86400


class Upload(Sink):
    """An object in the making: in one piece when it is small, in parts when it is not.

    S3 refuses a part that does not arrive as it was sent. What fails is taken back.
    """

    def __init__(self, bucket: Bucket, key: str, expected: int) -> None:
        super().__init__()
        self.bucket = bucket
        self.key = key
        self.part = part_size(expected)
        self.buffer = bytearray()
        self.id = ""
        self.etag = ""
        self.pool = ThreadPoolExecutor(UPLOADS)
        self.room = threading.Semaphore(UPLOADS + 1)
        self.parts: List[Future] = []

    @property
    def measured(self) -> Dict[str, Any]:
        return dict(super().measured, etag=self.etag)

    def put(self, block: bytes) -> None:
        self.buffer += block
        while len(self.buffer) >= self.part:
            self.send(bytes(memoryview(self.buffer)[: self.part]))
            del self.buffer[: self.part]

    def send(self, content: bytes) -> None:
        if not self.id:
            begun = self.bucket.call(
                self.key, "create_multipart_upload", ChecksumAlgorithm="CRC32", **self.bucket.encryption
            )
            self.id = begun["UploadId"]
        for part in self.parts:
            if part.done():
                part.result()  # an error ends the dump now, and not when all of it was made
        self.room.acquire()
        self.parts.append(self.pool.submit(self.send_part, len(self.parts) + 1, content))

    def send_part(self, number: int, content: bytes) -> Dict[str, Any]:
        try:
            checksum = crc32(content)
            sent = self.bucket.call(
                self.key,
                "upload_part",
                UploadId=self.id,
                PartNumber=number,
                Body=io.BytesIO(content),
                ChecksumCRC32=checksum,
            )
            return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": checksum}
        finally:
            self.room.release()

    def finish(self) -> None:
        try:
            content = bytes(self.buffer)
            self.buffer.clear()
            if not self.id:
                done = self.bucket.call(
                    self.key,
                    "put_object",
                    Body=io.BytesIO(content),
                    ChecksumCRC32=crc32(content),
                    **self.bucket.encryption,
                )
            else:
                if content:
                    self.send(content)
                parts = [part.result() for part in self.parts]
                done = self.bucket.call(
                    self.key, "complete_multipart_upload", UploadId=self.id, MultipartUpload={"Parts": parts}
                )
            self.etag = done["ETag"].strip('"')
        except BaseException:
            self.abort()
            raise
        self.pool.shutdown()

    def abort(self) -> None:
        for part in self.parts:
            part.cancel()
        self.pool.shutdown()
        if self.id:
            with contextlib.suppress(OpsError):
                self.bucket.call(self.key, "abort_multipart_upload", UploadId=self.id)


class Uploading(Draft):
    """The objects of a backup that has no manifest yet."""

    def __init__(self, bucket: Bucket, id: str) -> None:
        self.bucket = bucket
        self.id = id
        self.sinks: Dict[str, Upload] = {}
        self.published = False

    def sink(self, name: str, expected: int) -> Upload:
        self.sinks[name] = Upload(self.bucket, self.bucket.key(self.id, name), expected)
        return self.sinks[name]

    def files(self) -> Dict[str, Dict[str, Any]]:
        return {name: sink.measured for name, sink in self.sinks.items()}

    def publish(self, manifest: Dict[str, Any]) -> None:
        self.bucket.write(self.id, NAME, manifests.text_of(manifest))
        self.published = True

    def drop(self) -> None:
        self.bucket.drop([self.bucket.key(self.id, name) for name in (NAME, *self.sinks)])


class Bucket(Store):
    """The backups below a prefix of a bucket.

    :param params: the options of AWS, and ``encryption_mode`` and ``encryption_kms_key_id``.
    """

    def __init__(self, address: str, verb: str, params: Dict[str, Any], readonly: bool = False) -> None:
        super().__init__(address, verb, readonly)
        match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", address)
        if not match:
            raise InputError("dest", f"{address!r} is no address such as s3://bucket/prefix")
        self.name = match.group(1)
        prefix = (match.group(2) or "").strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = client("s3", params)
        # What S3 is to encrypt with; the words are boto3's.
        known = {"ServerSideEncryption": "encryption_mode", "SSEKMSKeyId": "encryption_kms_key_id"}
        self.encryption = {word: params[option] for word, option in known.items() if params.get(option)}

    def key(self, id: str, name: str) -> str:
        return f"{self.prefix}{id}/{name}"

    def call(self, key: str, operation: str, **arguments: Any) -> Any:
        """One request about an object; its error says which."""
        try:
            return getattr(self.client, operation)(Bucket=self.name, Key=key, **arguments)
        except errors() as error:
            raise self.failed(error, key) from error

    def failed(self, error: Exception, key: str = "") -> OpsError:
        cause, remedy = explain(error)
        return OpsError(self.verb, f"s3://{self.name}/{key or self.prefix}", cause, remedy)

    def listing(self, below: str = "") -> Iterator[Dict[str, Any]]:
        try:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix + below)
            for page in pages:
                yield from page.get("Contents", [])
        except errors() as error:
            raise self.failed(error) from error

    def objects(self, below: str = "") -> Dict[str, Dict[str, Dict[str, Any]]]:
        """What S3 says of each object, by backup and name."""
        found: Dict[str, Dict[str, Dict[str, Any]]] = {}
        for item in self.listing(below):
            id, slash, name = item["Key"][len(self.prefix) :].partition("/")
            if slash:
                found.setdefault(id, {})[name] = item
        return found

    def ids(self) -> Dict[str, float]:
        return {id: files[NAME]["LastModified"].timestamp() for id, files in self.objects().items() if NAME in files}

    def read(self, id: str, name: str) -> bytes:
        try:
            return b"".join(self.stream(self.key(id, name)))
        except errors() as error:
            if code(error) in ("NoSuchKey", "404"):
                raise Missing("NoSuchKey") from error
            raise self.failed(error, self.key(id, name)) from error

    def write(self, id: str, name: str, text: str) -> None:
        content = text.encode()
        self.call(
            self.key(id, name),
            "put_object",
            Body=content,
            ContentType="application/json",
            ChecksumCRC32=crc32(content),
            **self.encryption,
        )

    def remove(self, id: str, name: str) -> None:
        self.call(self.key(id, name), "delete_object")

    def blocks(self, id: str, name: str) -> Iterator[bytes]:
        key = self.key(id, name)
        try:
            yield from self.stream(key)
        except errors() as error:
            raise self.failed(error, key) from error

    def stream(self, key: str) -> Iterator[bytes]:
        """An object's content. A connection that breaks is taken up again where it broke, on the same version."""
        at, end, etag, left = 0, -1, "", READS
        while at != end:
            wanted = {"Range": f"bytes={at}-", "IfMatch": etag} if at else {}
            answer = self.client.get_object(Bucket=self.name, Key=key, **wanted)
            etag, end = answer["ETag"], at + answer["ContentLength"]
            try:
                for block in answer["Body"].iter_chunks(CHUNK):
                    at += len(block)
                    yield block
            except errors():
                left -= 1
                if not left:
                    raise
                time.sleep(0.2)
            else:
                if at < end:  # fewer bytes than were promised
                    left -= 1
                    if not left:
                        return  # the checksum will tell

    def sizes(self, id: str) -> Dict[str, int]:
        found = self.objects(f"{id}/").get(id, {})
        return {name: item["Size"] for name, item in found.items() if name not in (NAME, VERIFIED)}

    def measure(self, id: str, tick: Tick = silent) -> Dict[str, Dict[str, Any]]:
        found = {}
        for name in self.objects(f"{id}/").get(id, {}):
            if name in (NAME, VERIFIED):
                continue
            digest = hashlib.sha256()
            count = 0
            for block in self.blocks(id, name):
                digest.update(block)
                count += len(block)
                tick(len(block))
            found[name] = {"bytes": count, "sha256": digest.hexdigest()}
        return found

    def glance(self, id: str, files: Dict[str, Dict[str, Any]], tick: Tick = silent) -> Dict[str, Dict[str, Any]]:
        found = {}
        for name, item in self.objects(f"{id}/").get(id, {}).items():
            if name not in (NAME, VERIFIED):
                known = files.get(name, {})
                same = item["ETag"].strip('"') == known.get("etag")  # it changes with every writing
                found[name] = {"bytes": item["Size"], "sha256": known.get("sha256", "") if same else ""}
        return found

    def delete(self, id: str) -> None:
        names = sorted(self.objects(f"{id}/").get(id, {}), key=lambda name: name != NAME)
        self.remove(id, NAME)
        self.drop([self.key(id, name) for name in names if name != NAME])

    def drop(self, keys: List[str]) -> None:
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            try:
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
            except errors() as error:
                raise self.failed(error) from error
            for refused in answer.get("Errors", []):
                said = f"S3 did not delete it: {refused.get('Code', '')} {refused.get('Message', '')}"
                raise OpsError(self.verb, f"s3://{self.name}/{refused.get('Key', '')}", said)

    @contextlib.contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        yield

    def clear(self) -> None:
        """Takes back what runs left that were killed a day ago or more."""
        now = datetime.datetime.now(datetime.timezone.utc)
        for files in self.objects().values():
            ages = [(now - item["LastModified"]).total_seconds() for item in files.values()]
            if NAME not in files and min(ages) > STALE and all(ours(name) for name in files):
                self.drop([item["Key"] for item in files.values()])
        try:
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=self.prefix)
            for page in pages:
                for upload in page.get("Uploads", []):
                    name = upload["Key"][len(self.prefix) :].partition("/")[2]
                    if (now - upload["Initiated"]).total_seconds() > STALE and ours(name):
                        self.call(upload["Key"], "abort_multipart_upload", UploadId=upload["UploadId"])
        except errors() as error:
            if code(error) != "AccessDenied":  # a lifecycle rule of the bucket may do this instead
                raise self.failed(error) from error

    def ready(self, needed: int) -> None:
        """Begins an upload, sends a part and takes it back: that shows every right that a backup needs."""
        key = f"{self.prefix}.ready"
        begun = self.call(key, "create_multipart_upload", **self.encryption)
        try:
            self.call(key, "upload_part", UploadId=begun["UploadId"], PartNumber=1, Body=b"may I?")
        finally:
            self.call(key, "abort_multipart_upload", UploadId=begun["UploadId"])

    @contextlib.contextmanager
    def draft(self, id: str) -> Iterator[Uploading]:
        uploading = Uploading(self, id)
        try:
            yield uploading
        finally:
            if not uploading.published:
                with contextlib.suppress(OpsError):
                    uploading.drop()


def ours(name: str) -> bool:
    """Whether a backup may hold a file of this name."""
    return bool(re.fullmatch(r"\d+-.*|globals\.sql.*|verified\.json", name))


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
