from __future__ import annotations

import stat

import pytest

from sandbox import packages
from sandbox.box import Box, SandboxError, await_ready, run, step, write
from sandbox.parts import NAMES, with_needs
from sandbox.parts.prometheus import config


def test_the_env_file_survives_odd_values_and_is_private(tmp_path):
    box = Box(tmp_path)
    box.make()
    values = {"A": "plain", "B": 'it\'s $HOME; `x` "y"', "C": "a=b"}
    box.write_env(values)
    assert box.read_env() == values
    assert stat.S_IMODE((box.dir / "env").stat().st_mode) == 0o600
    shown = run(["sh", "-c", f'. {box.dir}/env; printf "%s|%s|%s" "$A" "$B" "$C"']).stdout
    assert shown == "|".join(values.values())


def test_a_secret_stays_and_differs_from_the_next(tmp_path):
    box = Box(tmp_path)
    box.make()
    first = box.secret("a")
    assert Box(tmp_path).secret("a") == first != box.secret("b")
    assert stat.S_IMODE((box.dir / "secrets.json").stat().st_mode) == 0o600


def test_write_says_whether_it_changed_anything(tmp_path):
    file = tmp_path / "x" / "y"
    assert write(file, "1") and not write(file, "1") and write(file, "2") and write(file, "2", mode=0o600)
    assert [path.name for path in file.parent.iterdir()] == ["y"]


def test_what_a_part_needs_comes_first():
    needs = {"aws": (), "edge": ("aws",), "engine": (), "kubernetes": ("engine", "registry"), "registry": ("engine",)}
    assert with_needs(["edge"], needs) == ["aws", "edge"]
    assert with_needs(["kubernetes", "edge"], needs) == ["aws", "edge", "engine", "registry", "kubernetes"]
    assert with_needs([], needs) == []
    assert len(set(NAMES)) == len(NAMES)


def test_a_command_that_fails_shows_its_last_lines():
    with pytest.raises(SandboxError, match=r"(?s)ended with 3:\n  \| why"):
        run(["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(SandboxError, match="no-such-program"):
        run(["no-such-program"])


def test_waiting_gives_the_last_reason():
    answers = iter([False, True])
    await_ready(lambda: next(answers), 5, "it")
    with pytest.raises(SandboxError, match="the port is not ready after 0 s: it says no"):
        await_ready(lambda: False, 0, "the port")


def test_a_step_is_one_line(capsys):
    with step("mail", "starting"):
        pass
    with pytest.raises(KeyError), step("mail", "starting"):
        raise KeyError
    good, bad = capsys.readouterr().out.splitlines()
    assert good.startswith("sandbox: mail: starting ... ") and good.endswith(" s")
    assert " failed after " in bad


def test_packages_cannot_be_installed_without_root_or_apt(monkeypatch):
    monkeypatch.setattr(packages, "missing", lambda _wanted: ["docker.io"])
    monkeypatch.setattr(packages.shutil, "which", lambda _name: None)
    with pytest.raises(SandboxError, match="no apt-get"):
        packages.install(["docker.io"])
    monkeypatch.setattr(packages.shutil, "which", lambda _name: "/usr/bin/apt-get")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="needs root"):
        packages.install(["docker.io"])


def test_a_failed_installation_says_whether_it_is_the_network(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "missing", lambda _wanted: ["docker.io"])
    monkeypatch.setattr(packages.shutil, "which", lambda _name: "/usr/bin/apt-get")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    codes = {"install": 100, "update": 100}

    def apt(command, *_words):
        assert packages.POLICY.exists()  # nothing may be started by what is installed
        return packages.subprocess.CompletedProcess([], codes[command], "E: Unable to fetch\n", "")

    monkeypatch.setattr(packages, "apt", apt)
    with pytest.raises(SandboxError, match=r"(?s)network or the apt sources do not answer.*Unable to fetch"):
        packages.install(["docker.io"])
    assert not packages.POLICY.exists()
    codes["update"] = 0
    with pytest.raises(SandboxError, match="apt refused"):
        packages.install(["docker.io"])


def test_prometheus_follows_a_cluster_only_where_there_is_one(tmp_path):
    def jobs(*words):
        return [job["job_name"] for job in config(tmp_path, "unix:///x", *words)["scrape_configs"]]

    assert jobs() == ["prometheus", "files", "compose"]
    assert jobs("http://127.0.0.1:1/") == ["prometheus", "files", "compose", "kubernetes"]
