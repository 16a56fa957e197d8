"""Bundles of a real Compose project, one of whose services crashes."""

import zipfile

import pytest

from tests.images import tiny
from tests.integration.announce.play import play
from tests.integration.rollout.test_compose import Project, docker, served

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


def test_a_bundle_names_the_cause_and_no_secret(module, project, arguments, tmp_path_factory):
    dest = tmp_path_factory.mktemp("bundle") / "it"
    checked = module("diagnostics", check=True, dest=str(dest), **arguments)
    assert checked["changed"] and not dest.exists()
    result = module("diagnostics", dest=str(dest), **arguments)
    assert not result["failed"], result
    assert result["likely_cause"].startswith("wallet: the database has no connection left"), result["findings"]
    page = (dest / "index.html").read_text()
    assert page.index("no connection left") < page.index("Services")
    assert {"index.html", "database.txt", "wallet/logs.txt", "wallet/containers.json"} <= set(result["files"])
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
