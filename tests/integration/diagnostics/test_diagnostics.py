"""Bundles of a real Compose project, one of whose services crashes."""

import json
import re
import subprocess
import time
import uuid
import zipfile

import pytest

from tests.images import tiny
from tests.integration.announce.play import play
from tests.integration.rollout.test_compose import Project, docker, served
from tests.postgres import Throwaway

SECRET = "canary-77aa-secret"


@pytest.fixture
def project(sandbox, tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


@pytest.fixture
def arguments(sandbox, project):
    image = tiny(sandbox["REGISTRY"], "v1")
    talks = f"""
  wallet:
    image: {image}
    restart: "no"
    environment: {{DB_PASSWORD: {SECRET}}}
    command: [sh, -c, "echo 'password={SECRET}'; echo 'FATAL: sorry, too many clients already'; exit 4"]
"""
    project.write("services:" + served("shop", image) + talks)
    docker("compose", "--project-name", project.name, "up", "--detach", cwd=project.folder)
    docker("wait", *project.containers("wallet"))
    return {
        "target": "compose",
        "compose": {"project_src": str(project.folder), "project_name": project.name},
        "services": [{"name": "shop"}, {"name": "wallet"}],
        "login_host": sandbox["PGHOST"],
        "login_port": int(sandbox["PGPORT"]),
        "login_user": sandbox["PGUSER"],
        "login_password": sandbox["PGPASSWORD"],
    }


def test_names_certificates_and_what_was_released_are_in_it(module, project, arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    for release, outcome, failure in (("v1.0.0", "good", ""), ("v1.1.0", "failed", "Failed to roll out v1.1.0")):
        recorded = module(
            "release_ledger",
            store=str(folder / "store"),
            state="recorded",
            id=f"20260101T00000{release[3]}Z-{release}",
            release=release,
            outcome=outcome,
            record={"failure": {"msg": failure}},
        )
        assert not recorded["failed"], recorded
    result = module(
        "diagnostics",
        dest=str(folder / "it"),
        hosts=["nobody.invalid", f"{arguments['login_host']}:{arguments['login_port']}"],
        ledger=str(folder / "store"),
        **arguments,
    )
    assert not result["failed"], result
    texts = [one["text"] for one in result["findings"]]
    assert any(text.startswith("the name nobody.invalid cannot be resolved") for text in texts), texts
    assert any(f"127.0.0.1:{arguments['login_port']} does not speak TLS" in text for text in texts), texts
    released = (folder / "it" / "ledger.txt").read_text()
    assert "in place: v1.0.0" in released or "in place: v1.1.0" in released
    assert "failed  Failed to roll out v1.1.0" in released
    assert released.splitlines()[0] in (folder / "it" / "index.html").read_text()
    assert "shop" in (folder / "it" / "images.txt").read_text()
    assert "CPU" in (folder / "it" / "usage.txt").read_text()


def test_slow_queries_are_there_where_they_are_counted(module, project, arguments, tmp_path_factory):
    server = Throwaway(15)
    try:
        server.run("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        server.kill()
        server.start()
        server.run("CREATE EXTENSION pg_stat_statements")
        server.run("SELECT pg_sleep(1.2)")
        login = {key: value for key, value in server.login.items() if key != "bin_dir"}
        dest = tmp_path_factory.mktemp("bundle") / "it"
        assert not module("diagnostics", dest=str(dest), **{**arguments, **login})["failed"]
    finally:
        server.stop()
    said = (dest / "database.txt").read_text()
    head, _line, slowest, *_ = said[said.index("slowest queries") :].splitlines()
    assert head.endswith("calls, ms in all, ms each, database, query")
    assert re.fullmatch(r"1  \d{4,}  \d{4,}  postgres  SELECT pg_sleep\(\$1\)", slowest), slowest


def test_slow_queries_that_nobody_counts_stop_nothing(module, project, arguments, tmp_path_factory):
    dest = tmp_path_factory.mktemp("bundle") / "it"
    result = module("diagnostics", dest=str(dest), **arguments)
    said = (dest / "database.txt").read_text()
    part = said[said.index("slowest queries") :]
    assert "size of the databases" in said and not result["failed"]
    assert "pg_stat_statements" in part.splitlines()[0], "what is not installed is said, and stops nothing"


def test_a_bundle_names_the_cause_and_no_secret(module, project, arguments, tmp_path_factory):
    dest = tmp_path_factory.mktemp("bundle") / "it"
    checked = module("diagnostics", check=True, dest=str(dest), **arguments)
    assert checked["changed"] and not dest.exists()
    result = module("diagnostics", dest=str(dest), **arguments)
    assert not result["failed"], result
    assert result["likely_cause"].startswith("wallet: the database has no connection left"), result["findings"]
    page = (dest / "index.html").read_text()
    assert page.index("no connection left") < page.index("Services")
    assert {"index.html", "index.txt", "database.txt", "wallet/logs.txt", "wallet/containers.json"} <= set(
        result["files"]
    )
    for name in result["files"]:
        text = (dest / name).read_text()
        assert SECRET not in text, name
        assert arguments["login_password"] not in text, name
        assert (dest / name).stat().st_mode & 0o077 == 0
    assert "connections by user and state" in (dest / "database.txt").read_text()
    assert not module("diagnostics", dest=str(dest), **arguments)["changed"]
    packed = dest.parent / "it.zip"
    assert module("diagnostics", dest=str(packed), **arguments)["changed"]
    with zipfile.ZipFile(packed) as archive:
        assert set(archive.namelist()) == set(result["files"])


def test_a_rollout_that_was_put_back_is_still_explained(module, sandbox, project, tmp_path_factory):
    good = tiny(sandbox["REGISTRY"], "v1")
    project.write("services:" + served("shop", good) + served("wallet", good))
    project.up()
    images = {"shop": tiny(sandbox["REGISTRY"], "v2"), "wallet": tiny(sandbox["REGISTRY"], "v3", "crash")}
    rolled = project.roll(images, release="v3")
    assert rolled["failed"] and project.images("wallet") == [good]
    dest = tmp_path_factory.mktemp("bundle") / "it"
    result = module(
        "diagnostics",
        dest=str(dest),
        target="compose",
        compose={"project_src": str(project.folder), "project_name": project.name},
        services=[{"name": "shop"}, {"name": "wallet"}],
        rollout=rolled["services"],
        failure=rolled["msg"],
    )
    assert not result["failed"], result
    assert result["likely_cause"].startswith("wallet: container ended with code 3"), result
    assert {one["outcome"] for one in result["services"]} == {"healthy"}
    assert "boom: no configuration" in (dest / "at_failure" / "wallet" / "logs.txt").read_text()
    assert "boom" not in (dest / "wallet" / "logs.txt").read_text(), "that is the release that was put back"
    cause = next(one["cause"]["text"] for one in rolled["services"] if one["name"] == "wallet")
    first = (dest / "index.txt").read_text()
    assert first.splitlines()[3:5] == ["LIKELY CAUSE", "  wallet: " + cause]
    assert "Nothing wrong" not in first + (dest / "index.html").read_text()
    assert "at_failure/wallet/logs.txt" in first


@pytest.mark.parametrize("one", [{}, {"name": "wallet", "workload": "../../wallet"}, {"workload": "wallet"}])
def test_what_no_rollout_returned_is_refused(module, tmp_path, one):
    result = module("diagnostics", dest=str(tmp_path / "bundle"), services=[{"name": "wallet"}], rollout=[one])
    assert result["failed"] and "option 'rollout'" in result["msg"] and "Traceback" not in str(result), result
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_does_not_answer_is_the_finding(module, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        "clusters: [{name: x, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: x, user: {}}]\n"
    )
    dest = tmp_path / "bundle"
    result = module("diagnostics", dest=str(dest), kubeconfig=str(config), services=[{"name": "shop"}])
    assert not result["failed"], result
    assert "cannot be asked" in result["likely_cause"]
    assert (dest / "index.html").exists()


def test_the_role(project, arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("role")
    played = play(
        folder,
        "diagnose",
        "diagnose_result",
        {
            "diagnose_folder": f"{folder}/bundles",
            "diagnose_name": "now.zip",
            "diagnose_target": "compose",
            "diagnose_compose": arguments["compose"],
            "diagnose_services": [{"name": "shop", "depends_on": []}, {"name": "wallet", "host": "unused"}],
        },
    )
    assert played.rc == 0, played.output
    assert played.result["likely_cause"].startswith("wallet: the database has no connection left")
    assert zipfile.is_zipfile(folder / "bundles" / "now.zip")


@pytest.mark.kubernetes
def test_a_bundle_of_a_cluster(module, sandbox, tmp_path):
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "wallet", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "wallet"}},
            "template": {
                "metadata": {"labels": {"app": "wallet"}},
                "spec": {
                    "containers": [
                        {
                            "name": "app",
                            "image": f"{sandbox['REGISTRY']}/t/nobody-pushed-this:v1",
                            "env": [{"name": "DB_PASSWORD", "value": SECRET}],
                        }
                    ]
                },
            },
        },
    }
    kubectl("create", "namespace", namespace)
    try:
        kubectl("apply", "--filename", "-", stdin=json.dumps(workload))
        deadline = time.monotonic() + 120
        # Its status, which is what a bundle judges by: the event may come before it.
        while not re.search("ErrImagePull|ImagePullBackOff", kubectl("get", "pods", "--namespace", namespace)):
            assert time.monotonic() < deadline, "the image was never pulled"
            time.sleep(0.5)
        dest = tmp_path / "bundle"
        result = module(
            "diagnostics",
            dest=str(dest),
            kubeconfig=sandbox["KUBECONFIG"],
            namespace=namespace,
            services=[{"name": "wallet"}],
        )
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
    assert not result["failed"], result
    assert result["likely_cause"].startswith("wallet: "), result
    assert "nobody-pushed-this" in result["likely_cause"], result
    wanted = {"processes.txt", "events.txt", "quotas.txt", "usage.txt", "images.txt", "wallet/describe.txt"}
    assert wanted <= set(result["files"])
    assert "nobody-pushed-this" in (dest / "images.txt").read_text()
    assert "DB_PASSWORD" in (dest / "wallet" / "describe.txt").read_text()
    for name in result["files"]:
        assert SECRET not in (dest / name).read_text(), name


def kubectl(*words: str, stdin: str = "") -> str:
    done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout
