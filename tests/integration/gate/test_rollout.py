"""A release that is ready, but fails two requests in a hundred, is put back by itself."""

import threading

import pytest

from tests.images import tiny
from tests.integration.gate.servers import serving
from tests.integration.gate.test_prometheus import RATIO, Metrics, Real, until
from tests.integration.rollout.test_compose import Project, outcomes, served


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
