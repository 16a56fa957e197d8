"""A release that is ready, but that users suffer from, is put back by itself; what has not begun does not begin."""

import threading

import pytest

from tests.images import tiny
from tests.integration.gate.servers import serving, until
from tests.integration.gate.test_prometheus import RATIO, Metrics, Real
from tests.integration.rollout.test_compose import Project, outcomes, served
from tests.modules import finish_module, start_module


@pytest.fixture
def project(sandbox, tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


@pytest.fixture
def real(tmp_path_factory):
    with serving(Metrics) as metrics:
        metrics.metrics = {}
        server = Real(tmp_path_factory.mktemp("prometheus"), metrics)
        try:

            def ready():
                try:
                    return server.value("sum(rate(http_requests_total[10s]))")
                except OSError:
                    return None

            until(ready)
            yield server
        finally:
            server.close()


def test_two_percent_of_errors_in_the_bake_put_the_release_back(sandbox, project, real):
    v1, v2 = (tiny(sandbox["REGISTRY"], version) for version in ("v1", "v2"))
    project.write("services:" + served("shop", v1))
    project.up()
    ended = threading.Event()

    def follow():
        while not ended.wait(0.3):
            real.bad = 2 if v2 in project.images("shop") else 0

    follower = threading.Thread(target=follow)
    follower.start()
    rate = {"url": real.url, "query": RATIO, "window": 10, "min_window": 2, "fail": 0.01, "unit": "ratio"}
    checks = [{"name": "error rate", "prometheus": rate}]
    try:
        result = project.roll({"shop": v2}, monitor={"checks": checks, "interval": 0.5, "bake": 300})
    finally:
        ended.set()
        follower.join()
    assert result["failed"]
    assert "error rate: 2 bad answers in a row: the value is" in result["msg"]
    assert outcomes(result) == {"shop": "rolled_back"}
    assert result["rolled_back"] == ["shop"]
    assert project.images("shop") == [v1]
    samples = result["monitor"][0]["samples"]
    assert [sample["verdict"] for sample in samples[-2:]] == ["fail", "fail"]
    assert samples[-1]["value"] > 0.01


def test_a_good_release_passes_its_bake(sandbox, project, real):
    v1, v2 = (tiny(sandbox["REGISTRY"], version) for version in ("v1", "v2"))
    project.write("services:" + served("shop", v1))
    project.up()
    rate = {"url": real.url, "query": RATIO, "window": 10, "min_window": 2, "fail": 0.01, "unit": "ratio"}
    result = project.roll({"shop": v2}, monitor={"checks": [{"name": "error rate", "prometheus": rate}], "bake": 3})
    assert not result["failed"], result
    assert result["monitor"][0]["name"] == "error rate"
    assert project.images("shop") == [v2]


WAITING = """
  second:
    image: {image}
    volumes: ["./flags:/flags:ro"]
    healthcheck: {{test: [CMD, test, -e, /flags/go], interval: 1s, start_period: 300s}}
"""


def test_an_alert_stops_the_next_wave_and_puts_back_once(sandbox, project, tmp_path):
    v1, v2 = (tiny(sandbox["REGISTRY"], version) for version in ("v1", "v2"))
    ready, alert, progress = project.folder / "flags" / "go", tmp_path / "alert", tmp_path / "progress"
    ready.parent.mkdir()
    ready.touch()
    project.write("services:" + served("first", v1) + WAITING.format(image=v1) + served("third", v1))
    project.up()
    third = project.containers("third")
    ready.unlink()  # the second wave is under way until this is there again
    services = [
        {"name": "first", "image": v2},
        {"name": "second", "image": v2, "depends_on": ["first"]},
        {"name": "third", "image": v2, "depends_on": ["second"]},
    ]
    monitor = {"checks": [{"name": "users", "command": {"argv": ["test", "!", "-e", str(alert)]}}], "interval": 0.5}
    process = start_module(
        "service_rollout", **project.arguments({}, services=services, monitor=monitor), progress_file=str(progress)
    )
    until(lambda: progress.exists() and "first: healthy" in progress.read_text())
    alert.touch()
    until(lambda: "rollout: failed: users: 2 bad answers in a row" in progress.read_text())
    ready.touch()
    result = finish_module(process)
    assert result["failed"]
    assert outcomes(result) == {"first": "rolled_back", "second": "rolled_back", "third": "skipped"}
    assert "not started: third" in result["msg"]
    assert project.containers("third") == third
    for name in ("first", "second"):
        assert project.images(name) == [v1]
        assert progress.read_text().count(f"{name}: putting back") == 1
