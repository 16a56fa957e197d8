"""Backups that only the holder of an age identity can read."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.backup.test_faults import below
from tests.modules import finish_module, run_module, start_module
from tests.postgres import server

# It stands in the data, so it must stand in no file of the backup.
SECRET = "a-row-nobody-may-read"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """The file of an identity, and its recipient."""
    file = tmp_path_factory.mktemp("key") / "identity"
    said = subprocess.run(["age-keygen", "-o", str(file)], check=True, capture_output=True, text=True).stderr
    return str(file), re.search(r"age1\w+", said).group()  # type: ignore[union-attr]


@pytest.fixture
def pg():
    pg = server(15)
    pg.make("t_age", rows=200)
    pg.run(f"CREATE TABLE secret AS SELECT '{SECRET}'::text", "t_age")
    return pg


def backup(pg, dest, **arguments):
    return run_module("pg_backup", dest=str(dest), databases=["t_age"], **{**pg.login, **arguments})


def test_nothing_of_the_data_can_be_read_without_the_identity(pg, key, tmp_path):
    identity, recipient = key
    made = backup(pg, tmp_path, age_recipients=[recipient], compression="0")
    assert not made["failed"], made
    place = Path(made["backup"]["manifest"]).parent
    assert sorted(file.name for file in place.iterdir()) == [
        "0-t_age.dump.age", "globals.sql.age", "manifest.json", "verified.json",
    ]  # fmt: skip
    for file in place.iterdir():
        content = file.read_bytes()
        assert SECRET.encode() not in content and Path(identity).read_bytes()[-60:-1] not in content
    assert json.loads((place / "manifest.json").read_text())["databases"][0]["filters"] == ["age"]

    # The checksums can be proved by anybody, the rest by the holder alone.
    assert not backup(pg, tmp_path, state="verified")["failed"]
    closed = backup(pg, tmp_path, state="verified", verify="restore")
    assert closed["failed"] and "option 'age_identity'" in closed["msg"]
    refused = run_module("pg_restore", manifest=made["backup"]["manifest"], **pg.login)
    assert refused["failed"] and "option 'age_identity'" in refused["msg"]
    proved = backup(pg, tmp_path, state="verified", verify="restore", age_identity=identity)
    assert proved["changed"] and proved["backup"]["verified"] == "restore", proved

    pg.run("DELETE FROM secret", "t_age")
    restored = run_module("pg_restore", manifest=made["backup"]["manifest"], age_identity=identity, **pg.login)
    assert not restored["failed"], restored
    assert pg.run("SELECT * FROM secret", "t_age") == [(SECRET,)]
    assert run_module("pg_restore", state="absent", databases=["t_age"], **pg.login)["changed"]


def test_another_identity_reads_nothing_and_touches_nothing(pg, key, tmp_path):
    made = backup(pg, tmp_path / "b", age_recipients=[key[1]])
    other = tmp_path / "other"
    subprocess.run(["age-keygen", "-o", str(other)], check=True, capture_output=True)
    before = pg.databases()
    refused = run_module("pg_restore", manifest=made["backup"]["manifest"], age_identity=str(other), **pg.login)
    assert refused["failed"] and "no identity matched" in refused["msg"], refused
    assert pg.databases() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"age_recipients": ["age1nonsense"]}, "option 'age_recipients'"),
        ({"age_identity": "/nonexistent/identity"}, "option 'age_identity'"),
        ({"format": "directory"}, "option 'format'"),
        ({"verify": "restore"}, "option 'age_identity'"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(pg, key, tmp_path, arguments, said):
    refused = backup(pg, tmp_path / "b", **{"age_recipients": [key[1]], **arguments})
    assert refused["failed"] and said in refused["msg"], refused
    assert not (tmp_path / "b").exists()


def test_one_stream_in_a_folder_is_compressed_by_pipe(pg, tmp_path):
    made = backup(pg, tmp_path, format="custom", verify="restore")
    assert not made["failed"], made
    assert (Path(made["backup"]["manifest"]).parent / "0-t_age.dump.zst").is_file()


def test_a_stream_is_put_down_for_several_processes_and_gone_afterwards(both, key, tmp_path):
    identity, recipient = key
    drop(both)
    both.make("t_age", rows=200)
    login = both.login
    made = run_module("pg_backup", dest=str(tmp_path / "b"), databases=["t_age"], age_recipients=[recipient], **login)
    both.run("DELETE FROM parts", "t_age")
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "theirs").write_text("not ours")
    given = {"manifest": made["backup"]["manifest"], "age_identity": identity, "spool": str(spool), **login}
    process = start_module("pg_restore", **given)
    seen = set()
    while process.poll() is None:
        for pid in below(process.pid):
            with contextlib.suppress(OSError):
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    result = finish_module(process)
    assert not result["failed"], result
    assert any(b"--jobs=2 " + str(spool).encode() in one for one in seen), seen
    assert both.run("SELECT count(*) FROM parts", "t_age") == [(200,)]
    assert [file.name for file in spool.iterdir()] == ["theirs"]

    missing = run_module("pg_restore", force=True, **{**given, "spool": str(tmp_path / "nowhere")})
    assert missing["failed"] and "option 'spool'" in missing["msg"], missing
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(spool)], check=True)
    try:
        full = run_module("pg_restore", force=True, **given)
        assert full["failed"] and "No space left" in full["msg"] and not list(spool.iterdir()), full
    finally:
        subprocess.run(["umount", str(spool)], check=True)
    assert not [name for name in both.databases() if "_side_" in name]
    drop(both)


def drop(pg):
    for name in pg.databases():
        if name.startswith("t_age"):
            pg.run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            pg.run(f'DROP DATABASE "{name}" WITH (FORCE)')
