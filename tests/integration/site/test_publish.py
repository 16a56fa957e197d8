from __future__ import annotations

import gzip
import http.client
import http.server
import os
import signal
import socket
import threading
import time
import uuid

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.aws.client import client
from ansible_collections.eazepay.ops.plugins.modules import site_publish

from tests.integration.site.server import boto, in_process, keys_of
from tests.modules import finish_module, start_module

V1 = {
    "index.html": "<script src=/assets/app.0123abcd45.js></script>",
    "assets/app.0123abcd45.js": "one",
    "robots.txt": "allow",
    "about/index.html": "about us",
}
V2 = {
    "index.html": "<script src=/assets/app.9876fedc54.js></script>",
    "assets/app.9876fedc54.js": "two",
    "robots.txt": "deny",
}


@pytest.fixture
def publish(aws, bucket):
    def run(src=None, release=None, **options):
        given = {"bucket": bucket, **({"src": str(src)} if src else {}), **({"release": release} if release else {})}
        return in_process(site_publish, site_publish.site_publish, **{**given, **aws, **options})

    return run


def test_a_publication_uploads_all_and_the_second_nothing(publish, site, content):
    folder = site("v1", V1)
    planned = publish(folder, "v1", check=True)
    assert planned["changed"] and not content()
    assert "index.html" in planned["diff"]["after"]
    first = publish(folder, "v1")
    assert not first["failed"], first
    assert first["changed"] and first["uploaded"] == planned["uploaded"] == sorted(V1)
    assert first["changed_paths"] == ["/", "/about/", "/about/index.html", "/index.html", "/robots.txt"]
    found = content()
    assert {key: text for key, (text, *_) in found.items()} == V1
    assert found["index.html"][1:] == ("text/html; charset=utf-8", "no-cache")
    assert found["assets/app.0123abcd45.js"][1:] == (
        "text/javascript; charset=utf-8",
        "public, max-age=31536000, immutable",
    )
    again = publish(folder, "v1")
    assert not again["changed"] and not again["uploaded"]
    # Nothing has invalidated the paths yet, so they are still due, under the same name.
    assert again["changed_paths"] == first["changed_paths"] and again["publication"] == first["publication"]


def test_the_module_itself(module, aws, bucket, site):
    given = {"bucket": bucket, "src": str(site("v1", V1)), "release": "v1", **aws}
    planned = module("site_publish", check=True, diff=True, **given)
    assert planned["changed"] and "index.html" in planned["diff"]["after"]
    done = module("site_publish", **given)
    assert done["changed"] and "diff" not in done and done["uploaded"] == planned["uploaded"]
    assert not module("site_publish", **given)["changed"]


def test_an_earlier_release_comes_back_byte_for_byte_with_its_headers(publish, site, content):
    publish(site("v1", V1), "v1", cache_control={"robots.txt": "max-age=7"})
    before = content()
    second = publish(site("v2", V2), "v2")
    assert second["deleted"] == ["about/index.html"]
    assert "assets/app.0123abcd45.js" in content(), "open tabs still ask for it"
    planned = publish(state="rolled_back", from_release="v2", check=True)
    assert planned["changed"] and content()["robots.txt"][0] == "deny"
    back = publish(state="rolled_back", from_release="v2")
    assert not back["failed"], back
    assert back["release"] == "v1" and back["uploaded"] == planned["uploaded"]
    assert content() == {**before, "assets/app.9876fedc54.js": content()["assets/app.9876fedc54.js"]}
    again = publish(state="rolled_back", from_release="v2")
    assert not again["changed"] and again["release"] == "v1"
    forth = publish(state="rolled_back", release="v2")
    assert forth["changed"] and content()["robots.txt"][0] == "deny"


def test_what_was_there_before_the_first_publication_can_be_put_back(publish, site, content, s3, bucket):
    for key, text in {"index.html": "old", "assets/old.0123abcd45.js": "old", "logo.svg": "<svg/>"}.items():
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/html", CacheControl="no-cache")
    before = content()
    result = publish(site("v2", V2), "v2")
    assert not result["failed"], result
    assert result["previous"] == "found" and result["deleted"] == []
    back = publish(state="rolled_back", from_release="v2")
    assert not back["failed"], back
    after = content()
    assert {key: after[key] for key in before} == before and "robots.txt" not in before


def test_old_assets_and_manifests_go_once_no_kept_release_has_them(publish, site, content, s3, bucket):
    for number in (1, 2, 3):
        files = {"index.html": f"v{number}", f"assets/app.0123abcd4{number}.js": f"v{number}", "same.txt": "same"}
        result = publish(site(f"v{number}", files), f"v{number}", keep_releases=2)
        assert not result["failed"], result
    assert result["deleted"] == ["assets/app.0123abcd41.js"]
    lost = publish(state="rolled_back", release="v1")
    assert lost["failed"] and "has no release v1" in lost["msg"] and "v3, v2" in lost["msg"]


def test_changed_headers_alone_are_mended(publish, site, content, s3, bucket):
    folder = site("v1", V1)
    publish(folder, "v1")
    time.sleep(1.1)  # S3 keeps times in seconds
    s3.copy_object(
        Bucket=bucket,
        Key="robots.txt",
        CopySource={"Bucket": bucket, "Key": "robots.txt"},
        MetadataDirective="REPLACE",
        CacheControl="max-age=999",
        ContentType="text/plain; charset=utf-8",
        Metadata=s3.head_object(Bucket=bucket, Key="robots.txt")["Metadata"],
    )
    result = publish(folder, "v1")
    assert result["reheaded"] == ["robots.txt"] and not result["uploaded"]
    assert "Cache-Control is max-age=999" in result["plan"][0]["reason"]
    assert content()["robots.txt"] == ("allow", "text/plain; charset=utf-8", "public, max-age=300")
    assert not publish(folder, "v1")["changed"]


def test_a_prefix_ends_at_its_slash_and_protected_objects_stay(publish, site, content, s3, bucket):
    for key in ("app2/keep.txt", "application.txt", "app/data/kept.json", "app/stray.txt"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    publish(site("v1", V1), "v1", prefix="app", keep_releases=1, protect=["data/*"], max_delete_percent=-1)
    found = content()
    assert "app/stray.txt" not in found and "app/index.html" in found
    assert {"app2/keep.txt", "application.txt", "app/data/kept.json"} <= set(found)


def test_too_many_deletions_are_refused_before_anything_changes(publish, site, content):
    files = {f"page{number}.html": "x" for number in range(10)}
    publish(site("v1", files), "v1")
    before = content()
    for options in ({"max_delete": 3}, {"max_delete": -1, "max_delete_percent": 20}):
        result = publish(site("v2", {"page0.html": "x", "new.html": "y"}), "v2", **options)
        assert result["failed"] and "would delete 9" in result["msg"] and "Nothing was touched" in result["msg"]
        assert len(result["plan"]) == 10
    assert content() == before


def test_awkward_names(publish, site, content):
    names = {"a b.html": "1", "ü/größe~.txt": "2", "[x]/(y)+z&.txt": "3", "100%/50%25.txt": "4", "q?.txt": "5"}
    result = publish(site("v1", names), "v1")
    assert not result["failed"], result
    assert {key: text for key, (text, *_) in content().items()} == names
    assert "/%C3%BC/gr%C3%B6%C3%9Fe~.txt" in result["changed_paths"] and "/a%20b.html" in result["changed_paths"]
    assert not publish(site("v1", names), "v1")["changed"]


def test_a_run_that_is_killed_half_way_is_finished_by_the_next(publish, site, content, aws, bucket, s3):
    old = {"index.html": "v1", **{f"file{number}.txt": "1" for number in range(120)}}
    new = {"index.html": "v2", **{f"file{number}.txt": "2" for number in range(120)}}
    publish(site("v1", old), "v1")
    started = start_module("site_publish", bucket=bucket, release="v2", src=str(site("v2", new)), concurrency=1, **aws)
    deadline = time.monotonic() + 60
    while s3.get_object(Bucket=bucket, Key="file0.txt")["Body"].read() != b"2":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()
    half = content()
    assert half["index.html"][0] == "v1", "pages go last"
    result = publish(site("v2", new), "v2")
    assert not result["failed"], result
    uploaded_before = [key for key, (text, *_) in half.items() if text == "2"]
    assert not set(uploaded_before) & set(result["uploaded"])
    # What the dead run changed is invalidated too.
    assert {f"/{key}" for key in new} <= set(result["changed_paths"])
    back = publish(state="rolled_back", from_release="v2")
    assert not back["failed"] and {text for text, *_ in content().values()} == {"1", "v1"}


def test_a_release_that_failed_half_way_is_left_for_the_one_before(publish, site, content, aws, bucket, s3):
    publish(site("v1", V1), "v1")
    folder = site("v2", V2)
    unreadable = folder / "zz.html"
    unreadable.symlink_to("/nonexistent")
    failed = publish(folder, "v2")
    assert failed["failed"] and "leaves" in failed["msg"] and content()["robots.txt"][0] == "allow"


def test_signals_end_it_in_order(publish, site, aws, bucket, s3):
    files = {f"file{number}.txt": "1" for number in range(200)}
    started = start_module(
        "site_publish", bucket=bucket, release="v1", src=str(site("v1", files)), concurrency=1, **aws
    )
    deadline = time.monotonic() + 60
    while not s3.list_objects_v2(Bucket=bucket, Prefix="file").get("KeyCount"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started.terminate()
    result = finish_module(started)
    assert result["failed"] and "Interrupted" in result["msg"]
    assert publish(site("v1", files), "v1")["changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bucket": "t-there-is-no-such-bucket"}, "the bucket does not exist"),
        ({"release": "../../x"}, "no name for a release"),
        ({"src": "/nonexistent"}, "is not a folder"),
        ({"prefix": "a/../b"}, "relative part"),
        ({"hashed": ["("]}, "no regular expression"),
    ],
)
def test_what_cannot_be_is_said(publish, bucket, site, options, said):
    result = publish(**{"src": str(site("v1", V1)), "release": "v1", **options})
    assert result["failed"] and said in result["msg"] and result["msg"].startswith("Failed to "), result
    assert "test-secret" not in str(result)


def test_an_empty_folder_is_not_published(publish, site, tmp_path):
    publish(site("v1", V1), "v1")
    (tmp_path / "empty").mkdir()
    result = publish(tmp_path / "empty", "v2")
    assert result["failed"] and "holds no file" in result["msg"]


def test_a_note_of_a_newer_format_is_not_overwritten(publish, site, s3, bucket):
    publish(site("v1", V1), "v1")
    s3.put_object(Bucket=bucket, Key=".releases/current.json", Body=b'{"schema": 9}')
    result = publish(site("v2", V2), "v2")
    assert result["failed"] and "schema is 9" in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_the_bucket_of_another_account_is_denied(publish, site, aws, check):
    other = boto("s3", {**aws, **keys_of("222222222222", aws)})
    theirs = f"t-theirs-{uuid.uuid4().hex[:10]}"
    other.create_bucket(Bucket=theirs, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    result = publish(site("v1", V1), "v1", bucket=theirs, check=check)
    assert result["failed"] and not result["changed"], result
    assert "access is denied" in result["msg"] and "its account" in result["msg"] and theirs in result["msg"]
    assert not other.list_objects_v2(Bucket=theirs)["KeyCount"]
    # With that account's own keys, a session's, it is like any other.
    assert publish(site("v1", V1), "v1", bucket=theirs, **keys_of("222222222222", aws))["changed"]


def test_versioned_buckets(publish, site, content, s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    publish(site("v1", V1), "v1")
    publish(site("v2", V2), "v2")
    publish(state="rolled_back", from_release="v2")
    assert content()["robots.txt"][0] == "allow"


def test_many_sites_in_one_call(publish, site, content, s3, bucket):
    sites = [
        {"name": "one", "bucket": bucket, "prefix": "one", "src": str(site("v1", V1))},
        {"name": "two", "bucket": bucket, "prefix": "two", "src": str(site("v2", V2)), "protect": ["kept/*"]},
    ]
    s3.put_object(Bucket=bucket, Key="two/kept/file", Body=b"kept")
    planned = publish(None, "v1", check=True, bucket=None, sites=sites)
    assert planned["changed"] and [one["changed"] for one in planned["sites"]] == [True, True]
    done = publish(None, "v1", bucket=None, sites=sites)
    assert not done["failed"] and [one["name"] for one in done["sites"]] == ["one", "two"]
    assert {f"one/{key}" for key in V1} | {f"two/{key}" for key in V2} | {"two/kept/file"} == set(content())
    assert not publish(None, "v1", bucket=None, sites=sites)["changed"]
    # One that fails leaves the others alone, and all are told of.
    sites[0]["src"] = "/nonexistent"
    (site("v2", V2) / "robots.txt").write_text("maybe")
    half = publish(None, "v3", bucket=None, sites=sites)
    assert half["failed"] and half["changed"] and "/nonexistent" in half["msg"]
    assert [one["failed"] for one in half["sites"]] == [True, False] and content()["two/robots.txt"][0] == "maybe"


def test_compressed_variants_stand_beside_their_originals(publish, site, content, s3, bucket):
    text = "text " * 1000
    names = {"index.html": text, "assets/app.0123abcd45.js": text, "small.txt": "x", "logo.png": text}
    folder = site("v1", names)
    result = publish(folder, "v1", precompress=["gzip"])
    assert result["uploaded"] == sorted([*names, "index.html.gz", "assets/app.0123abcd45.js.gz"])
    assert "/index.html.gz" in result["changed_paths"] and "/assets/app.0123abcd45.js.gz" not in result["changed_paths"]
    for key in ("index.html", "assets/app.0123abcd45.js"):
        plain, packed = (s3.get_object(Bucket=bucket, Key=one) for one in (key, f"{key}.gz"))
        assert packed["ContentEncoding"] == "gzip" and "ContentEncoding" not in plain
        assert (packed["ContentType"], packed["CacheControl"]) == (plain["ContentType"], plain["CacheControl"])
        assert gzip.decompress(packed["Body"].read()).decode() == text
    assert not publish(folder, "v1", precompress=["gzip"])["changed"]
    # Asked for no more, they go; rolled back, they are there again, byte for byte.
    before = s3.get_object(Bucket=bucket, Key="index.html.gz")["Body"].read()
    assert "index.html.gz" in publish(site("v2", V2), "v2")["deleted"]
    assert not publish(state="rolled_back", release="v1")["failed"]
    again = s3.get_object(Bucket=bucket, Key="index.html.gz")
    assert (again["Body"].read(), again["ContentEncoding"]) == (before, "gzip")


def test_what_is_excluded_is_neither_put_nor_deleted(publish, site, content, s3, bucket):
    s3.put_object(Bucket=bucket, Key="app.js.map", Body=b"of somebody else")
    result = publish(site("v1", {**V1, "more.js.map": "x"}), "v1", exclude=["*.map"], keep_releases=1)
    assert not result["failed"] and "app.js.map" in content() and "more.js.map" not in content()


class Between(http.server.BaseHTTPRequestHandler):
    """S3 by way of somebody who may do something else with an upload than to pass it on."""

    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            self.server.uploads += 1
            if self.meddled():
                return
        line = http.client.HTTPConnection("127.0.0.1", self.server.origin, timeout=60)
        # With the same Host, for it is signed.
        line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            line.putheader(name, value)
        line.endheaders(body)
        answer = line.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        line.close()

    do_GET = do_PUT = do_POST = do_DELETE = forward

    def log_message(self, *_):
        pass


class Breaking(Between):
    """After so many uploads each one ends in the middle."""

    def meddled(self):
        if self.server.uploads <= self.server.good:
            return False
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        return True


class Throttled(Between):
    """Every third upload is too many."""

    def meddled(self):
        if self.server.uploads % 3:
            return False
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True


@pytest.fixture
def between(aws):
    """Puts one of them in front of S3; gives the server, whose ``url`` stands for S3's."""
    servers = []

    def start(handler, good=0):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.origin, server.uploads, server.good = int(aws["endpoint_url"].rpartition(":")[2]), 0, good
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_who_is_asked_to_slow_down_does_and_all_arrives(publish, site, content, between):
    files = {"index.html": "v1", **{f"file{number}.txt": str(number) for number in range(12)}}
    server = between(Throttled)
    done = publish(site("v1", files), "v1", endpoint_url=server.url, concurrency=4)
    assert not done["failed"], done
    assert {key: text for key, (text, *_) in content().items()} == files and server.uploads > len(files) + 4


def test_an_upload_that_breaks_half_way_is_told_and_taken_up(publish, site, content, between, monkeypatch):
    monkeypatch.setattr(client, "__defaults__", (10, 2))  # nobody wants to wait for eight attempts
    publish(site("v1", {"index.html": "v1"}), "v1")
    new = {"index.html": "v2", **{f"assets/part.0123abcd{number:02}.js": str(number) for number in range(20)}}
    broken = publish(site("v2", new), "v2", endpoint_url=between(Breaking, good=8).url, concurrency=2)
    assert broken["failed"] and broken["changed"] and 0 < len(broken["uploaded"]) < len(new), broken
    assert content()["index.html"][0] == "v1", "pages go last"
    # What the broken run left to be invalidated is still known, though this one uploads nothing under those paths.
    done = publish(site("v2", new), "v2")
    assert not done["failed"] and not set(done["uploaded"]) & set(broken["uploaded"])
    assert content()["index.html"][0] == "v2" and {"/", "/index.html"} <= set(done["changed_paths"])
