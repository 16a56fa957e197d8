"""What the seed leaves in production, asked where users ask. Changes nothing."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from sandbox.seed.images import SERVICES
from sandbox.seed.portals import PORTALS


def get(url, host):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=30) as answer:
        return answer.headers, answer.read().decode()


@pytest.mark.kubernetes
@pytest.mark.parametrize("service", SERVICES)
def test_each_service_answers_on_kubernetes(sandbox, service):
    assert "KUBERNETES_EDGE_URL" in sandbox, "the cluster is not up"
    headers, text = get(f"{sandbox['KUBERNETES_EDGE_URL']}/version", f"{service}.eazepay.test")
    answer = json.loads(text)
    assert answer["service"] == f"{service}-service"
    assert answer["version"] == headers["X-Service-Version"]


@pytest.mark.parametrize("portal", sorted(PORTALS))
def test_a_portal_s_page_names_assets_that_are_there(sandbox, portal):
    host = f"{portal.removesuffix('-portal')}.eazepay.test"
    headers, page = get(f"{sandbox['CDN_URL']}/", host)
    assert headers.get_content_type() == "text/html"
    assets = re.findall(r'"(/assets/[^"]+\.[0-9a-f]{10}\.\w+)"', page)
    assert {asset.rpartition(".")[2] for asset in assets} == {"css", "js", "svg"}
    kinds = {asset: get(f"{sandbox['CDN_URL']}{asset}", host)[0].get_content_type() for asset in assets}
    assert {kind for asset, kind in kinds.items() if asset.endswith(".css")} == {"text/css"}
