"""pg_backup and pg_restore with S3: streamed there and back, through everything that a network does."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.backup import bucket as buckets
from ansible_collections.eazepay.ops.plugins.module_utils.backup.manifest import text_of, verified_text
from ansible_collections.eazepay.ops.plugins.module_utils.backup.take import Backups
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.restore.restore import Restores
from ansible_collections.eazepay.ops.plugins.modules import pg_backup, pg_restore

from tests.integration.backup.faults import between
from tests.integration.site.server import aws_server, boto, in_process
from tests.modules import run_module
from tests.postgres import server

MANIFEST = "manifest.json"


@pytest.fixture(scope="session")
def aws():
    with aws_server() as options:
        yield options


@pytest.fixture
def s3(aws):
    return boto("s3", aws)


@pytest.fixture
def dest(s3):
    """An empty place in a bucket that holds something else, too."""
    name = f"t-backup-{uuid.uuid4().hex[:10]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=name, Key="other/thing", Body=b"not ours")
    return f"s3://{name}/nightly"


@pytest.fixture(scope="module")
def pg():
    """A server with a database ``s3_a`` that takes several parts."""
    pg = server(15)
    pg.make("s3_a", rows=50)
    return pg


def backup(pg, dest, aws, check=False, **arguments):
    given = {"databases": ["s3_a"], "dest": dest, **pg.login, **aws, **arguments}
    return in_process(pg_backup, lambda params, check: Backups(params, check).run(), check, **given)


def restore(pg, aws, check=False, **arguments):
    given = {**pg.login, **aws, **arguments}
    return in_process(pg_restore, lambda params, check: Restores(params, check).run(), check, **given)


def keys(s3, dest):
    name, _slash, prefix = dest[5:].partition("/")
    found = s3.list_objects_v2(Bucket=name).get("Contents", [])
    assert any(item["Key"] == "other/thing" for item in found)
    return sorted(item["Key"][len(prefix) + 1 :] for item in found if item["Key"].startswith(prefix + "/"))


def unfinished(s3, dest):
    return s3.list_multipart_uploads(Bucket=dest[5:].partition("/")[0]).get("Uploads", [])


def fill(pg, name, megabytes):
    """Rows that no compression makes smaller."""
    pg.run(f"""CREATE TABLE IF NOT EXISTS bulk (b bytea); ALTER TABLE bulk ALTER b SET STORAGE EXTERNAL;
        INSERT INTO bulk SELECT decode(string_agg(md5(random()::text || n), ''), 'hex')
        FROM generate_series(1, 64) row, generate_series(1, 1024) n GROUP BY row;
        INSERT INTO bulk SELECT set_byte(b, 0, n % 256)
        FROM (SELECT b FROM bulk LIMIT 64) one, generate_series(2, {megabytes}) n""", name)  # fmt: skip


def drop(pg, *prefixes):
    for name in pg.databases():
        if name.startswith(prefixes):
            pg.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            pg.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_there_and_back_and_used_again(pg, s3, aws, dest):
    planned = backup(pg, dest, aws, check=True)
    assert planned["changed"] and not keys(s3, dest)
    result = backup(pg, dest, aws, release="v1", encryption_mode="AES256")
    assert not result["failed"], result
    id = result["backup"]["id"]
    assert result["backup"]["manifest"] == f"{dest}/{id}/{MANIFEST}" and result["backup"]["verified"] == "read"
    assert keys(s3, dest) == [f"{id}/{name}" for name in ("0-s3_a.dump.zst", "globals.sql", MANIFEST, "verified.json")]
    for key in keys(s3, dest):
        head = s3.head_object(Bucket=dest[5:].partition("/")[0], Key=f"nightly/{key}")
        assert head["ServerSideEncryption"] == "AES256", key
    assert not unfinished(s3, dest)

    again = backup(pg, dest, aws, release="v1")
    assert again["reused"] and not again["changed"] and again["backup"]["id"] == id
    assert [one["id"] for one in backup(pg, dest, aws, state="listed")["backups"]] == [id]
    proved = backup(pg, dest, aws, state="verified", verify="restore")
    assert proved["changed"] and proved["backup"]["verified"] == "restore", proved
    assert not backup(pg, dest, aws, state="verified")["changed"]

    pg.run("DELETE FROM parts", "s3_a")
    planned = restore(pg, aws, check=True, manifest=result["backup"]["manifest"])
    assert planned["changed"] and planned["loss"]["s3_a"]['"public"."parts_1"']["now"] == 0
    swapped = restore(pg, aws, manifest=result["backup"]["manifest"])
    assert swapped["changed"] and swapped["window"] > 0, swapped
    assert pg.run("SELECT count(*) FROM parts", "s3_a") == [(50,)]
    assert restore(pg, aws, state="absent", databases=["s3_a"])["changed"]


def test_through_the_module_itself(pg, s3, aws, dest):
    result = run_module("pg_backup", databases=["s3_a"], dest=dest, **pg.login, **aws)
    assert not result["failed"] and result["changed"], result
    text = json.dumps(result, ensure_ascii=False)
    assert aws["secret_key"] not in text and "rd-canary" not in text
    copied = run_module(
        "pg_restore", manifest=result["backup"]["manifest"], databases=["s3_a"], target="s3_copy", **pg.login, **aws
    )
    assert not copied["failed"], copied
    assert pg.run("SELECT count(*) FROM parts", "s3_copy") == pg.run("SELECT count(*) FROM parts", "s3_a")
    drop(pg, "s3_copy")


def test_a_newer_server(s3, aws, dest):
    pg = server(18)
    pg.make("s3_a", rows=20)
    result = backup(pg, dest, aws, verify="restore")
    assert not result["failed"], result
    assert result["backup"]["verified"] == "restore"


@pytest.fixture(scope="module")
def big():
    pg = server(15)
    pg.make("s3_big", rows=5)
    fill(pg, "s3_big", 28)
    yield pg
    drop(pg, "s3_big")


def test_in_parts_through_errors_that_pass(big, s3, aws, dest):
    """Each part of the dump is throttled once, or breaks off once; each download breaks off once."""
    guard, done = threading.Lock(), set()

    def once(method, path):
        fate = {"PUT": "throttle" if "partNumber=2" in path else "break", "GET": "cut"}.get(method)
        with guard:
            if fate is None or "list-type" in path or "uploads" in path or (method, path) in done:
                return None
            done.add((method, path))
            return fate

    with between(aws["endpoint_url"], once) as proxy:
        result = backup(big, dest, {**aws, "endpoint_url": proxy.url}, databases=["s3_big"])
    assert not result["failed"], result
    parts = {
        path.partition("partNumber=")[2][0] for method, path in proxy.seen if "partNumber" in path and "dump" in path
    }
    assert parts == {"1", "2", "3", "4"}
    assert not unfinished(s3, dest)
    assert not backup(big, dest, aws, databases=["s3_big"], state="verified", verify="restore")["failed"]


@pytest.mark.parametrize("fate", ["throttle", "deny", "break"])
def test_errors_that_stay_leave_nothing_and_harm_no_earlier_backup(big, s3, aws, dest, fate, monkeypatch):
    first = backup(big, dest, aws, databases=["s3_a"])["backup"]["id"]
    before = keys(s3, dest)
    make = buckets.client
    monkeypatch.setattr(buckets, "client", lambda *given: make(*given, attempts=2))

    def third_part(method, path):
        return fate if "partNumber=3" in path and "dump" in path else None

    with between(aws["endpoint_url"], third_part) as proxy:
        result = backup(big, dest, {**aws, "endpoint_url": proxy.url}, databases=["s3_big"])
    assert result["failed"] and "s3://" in result["msg"], result
    if fate != "break":
        assert {"throttle": "slow down", "deny": "access is denied"}[fate] in result["msg"]
    assert keys(s3, dest) == before and not unfinished(s3, dest)
    assert not backup(big, dest, aws, databases=["s3_a"], state="verified", id=first)["failed"]


def test_an_upload_that_arrives_spoilt_is_found_out(big, s3, aws, dest):
    """S3 itself refuses it; this S3 does not, and so the reading does."""

    def second_part(method, path):
        return "spoil" if "partNumber=2" in path and "dump" in path else None

    with between(aws["endpoint_url"], second_part) as proxy:
        result = backup(big, dest, {**aws, "endpoint_url": proxy.url}, databases=["s3_big"])
    assert result["failed"], result
    listed = backup(big, dest, aws, databases=["s3_big"], state="listed")["backups"]
    assert not [one for one in listed if one["verified"]]


def test_no_right_to_write_is_found_before_the_dump(pg, s3, aws, dest):
    with between(aws["endpoint_url"], lambda method, path: "deny" if method in ("PUT", "POST") else None) as proxy:
        result = backup(pg, dest, {**aws, "endpoint_url": proxy.url})
    assert result["failed"] and "access is denied" in result["msg"] and ".ready" in result["msg"]
    assert not any("dump" in path for _method, path in proxy.seen)
    missing = backup(pg, "s3://t-no-such-bucket/x", aws)
    assert missing["failed"] and "the bucket does not exist" in missing["msg"]
    wrong = backup(pg, "s3://Not_A_Bucket", aws)
    assert wrong["failed"] and "option 'dest'" in wrong["msg"]
    folder = backup(pg, dest, aws, format="directory")
    assert folder["failed"] and "option 'format'" in folder["msg"]


def test_a_dump_that_fails_leaves_nothing(pg, s3, aws, dest):
    holder = pg.connect("s3_a")
    holder.autocommit = False
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE volatile IN ACCESS EXCLUSIVE MODE")
    result = backup(pg, dest, aws, lock_wait_timeout=1)
    holder.close()
    assert result["failed"] and "lock" in result["msg"]
    assert not keys(s3, dest) and not unfinished(s3, dest)


def test_any_change_to_an_object_is_refused(pg, s3, aws, dest):
    made = backup(pg, dest, aws)["backup"]
    name = dest[5:].partition("/")[0]
    store = buckets.Bucket(dest, "check", aws)
    chance = random.Random(3)
    original = {
        key: s3.get_object(Bucket=name, Key=f"nightly/{key}")["Body"].read()
        for key in keys(s3, dest)
        if "verified" not in key
    }
    for _round in range(40):
        key = chance.choice(list(original))
        data = original[key]
        at = chance.randrange(len(data))
        flipped = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        for damaged in (flipped, data[:at], data + b"x"):
            s3.put_object(Bucket=name, Key=f"nightly/{key}", Body=damaged)
            for thorough in (True, False):
                with pytest.raises(OpsError):
                    store.check(made["id"], thorough=thorough)
        s3.put_object(Bucket=name, Key=f"nightly/{key}", Body=data)
    store.check(made["id"])
    victim = next(key for key in original if "dump" in key)
    s3.put_object(Bucket=name, Key=f"nightly/{victim}", Body=original[victim][:-1])
    before = pg.databases()
    refused = restore(pg, aws, manifest=made["manifest"])
    assert refused["failed"] and "damaged" in refused["msg"] and pg.databases() == before


def test_a_copied_backup_serves_again_when_every_byte_of_it_holds(pg, s3, aws, dest):
    made = backup(pg, dest, aws, release="v1")["backup"]
    name = dest[5:].partition("/")[0]
    key = f"nightly/{made['id']}/{MANIFEST}"
    manifest = json.loads(s3.get_object(Bucket=name, Key=key)["Body"].read())
    for file in manifest["files"].values():
        file["etag"] = "of-another-bucket"
    text = text_of(manifest)
    s3.put_object(Bucket=name, Key=key, Body=text)
    note = verified_text("read", 1.0, manifest, json.loads(text)["digest"])
    s3.put_object(Bucket=name, Key=f"nightly/{made['id']}/verified.json", Body=note)
    again = backup(pg, dest, aws, release="v1")
    assert again["reused"] and again["backup"]["id"] == made["id"], again


def test_what_is_spoilt_while_it_is_restored_is_not_swapped_in(pg, s3, aws, dest):
    made = backup(pg, dest, aws, compression="0")["backup"]
    reads = []

    def second_read(method, path):
        if method == "GET" and path.endswith(".dump"):
            reads.append(path)
        return None

    with between(aws["endpoint_url"], second_read) as proxy:
        handle = proxy.handle

        def spoiling(request):
            write = request.wfile.write

            def spoil(data):
                if len(reads) == 2 and b"HTTP/1.1" not in data[:20] and len(data) > 5000:
                    data = data.replace(b"Second2", b"Second3")
                return write(data)

            request.wfile.write = spoil
            handle(request)

        proxy.handle = spoiling
        before = pg.databases()
        result = restore(pg, {**aws, "endpoint_url": proxy.url}, manifest=made["manifest"])
    assert len(reads) == 2
    assert result["failed"] and "damaged" in result["msg"], result
    assert pg.databases() == before


def test_pruning(pg, s3, aws, dest):
    ids = [backup(pg, dest, aws, release=f"v{i}")["backup"]["id"] for i in range(3)]
    arguments = {"state": "absent", "keep": {"last": 1}, "open_releases": ["v0"]}
    for check in (True, False):
        result = backup(pg, dest, aws, check=check, **arguments)
        assert [one["id"] for one in result["pruned"]] == [ids[1]]
        assert any(key.startswith(ids[1]) for key in keys(s3, dest)) is check
    last = backup(pg, dest, aws, state="absent", id=ids[2])
    assert last["changed"]
    refused = backup(pg, dest, aws, state="absent", id=ids[0])
    assert refused["failed"] and "last verified" in refused["msg"]


def test_what_a_killed_run_left_goes_after_a_day(pg, s3, aws, dest, monkeypatch):
    name = dest[5:].partition("/")[0]
    s3.put_object(Bucket=name, Key="nightly/20260101T000000Z-dead/0-a.dump", Body=b"half")
    s3.put_object(Bucket=name, Key="nightly/notes/readme", Body=b"somebody's")
    s3.create_multipart_upload(Bucket=name, Key="nightly/20260101T000000Z-dead/1-b.dump")
    assert not backup(pg, dest, aws, state="listed")["backups"]
    backup(pg, dest, aws)
    # Just begun: somebody may be at work on it. (This S3 says of every upload that it was begun in 2010.)
    assert "20260101T000000Z-dead/0-a.dump" in keys(s3, dest) and not unfinished(s3, dest)
    monkeypatch.setattr(buckets, "STALE", -1)
    backup(pg, dest, aws, max_age="0")
    assert not any("dead" in key for key in keys(s3, dest))
    assert "notes/readme" in keys(s3, dest)


MEMORY = """
import json, sys
from tests.integration.backup.test_bucket import backup
class Pg: login = json.loads(sys.argv[1])
result = backup(Pg, sys.argv[2], json.loads(sys.argv[3]), databases=["s3_big"])
assert not result["failed"], result
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def test_memory_stays_bounded(big, aws, dest):
    fill(big, "s3_big", 100)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, json.dumps(big.login), dest, json.dumps(aws)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 200 * 1024, done.stdout
