"""The role on a portal of the sample company, the sandbox's S3, CloudFront and CDN; users look on all the while."""

from __future__ import annotations

import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from sandbox.seed.portals import client
from tests.integration.announce.play import play


class Visitor(threading.Thread):
    """Loads the portal over and over as a browser would, and keeps what was wrong."""

    def __init__(self, portal):
        super().__init__(daemon=True)
        self.portal = portal
        self.wrong: list[str] = []
        self.seen: list[str] = []
        self.stop = threading.Event()

    def get(self, path: str) -> str:
        request = urllib.request.Request(self.portal["url"] + path, headers={"Host": self.portal["host"]})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()

    def see(self, release: str) -> None:
        """Waits until the portal was last seen as this release."""
        deadline = time.monotonic() + 60
        while self.seen[-1:] != [release]:
            assert time.monotonic() < deadline, (self.seen, self.wrong)
            time.sleep(0.05)

    def run(self) -> None:
        while not self.stop.wait(0.1):
            try:
                page = self.get("/")
                release = re.findall(r'name="release" content="(.*?)"', page)[0]
                for asset in re.findall(r'(?:src|href)="(/assets/.*?)"', page):
                    text = self.get(asset)
                    if asset.endswith(".js") and release not in text:
                        self.wrong.append(f"the page is of {release}, {asset} is not")
                if self.seen[-1:] != [release]:
                    self.seen.append(release)
            except (OSError, urllib.error.URLError) as error:
                self.wrong.append(str(error))


def deploy(tmp_path, portal, release, *options, **variables):
    site = {**portal, "env": {"RELEASE": release}}
    given = {"portals_sites": [site], "portals_release": release, "portals_build_cache": str(tmp_path / "cache")}
    return play(tmp_path, "portals", "portals_result", {**given, **variables}, *options)


def test_a_portal_is_built_published_invalidated_proved_and_rolled_back(tmp_path, portal, sandbox):
    planned = deploy(tmp_path, portal, "v1.0.0", "--check")
    assert planned.rc == 0, planned.output
    assert planned.result[0]["changed"] and not (Path(portal["source"]) / "dist").exists()
    first = deploy(tmp_path, portal, "v1.0.0")
    assert first.rc == 0, first.output
    (result,) = first.result
    assert result["changed"] and result["invalidation"] and result["verified"] >= 4
    visitor = Visitor(portal)
    visitor.start()
    visitor.see("v1.0.0")
    try:
        second = deploy(tmp_path, portal, "v1.1.0")
        assert second.rc == 0, second.output
        again = deploy(tmp_path, portal, "v1.1.0")
        assert again.rc == 0, again.output
        assert "changed=1 " in again.output, "the play's own file alone"
        assert not again.result[0]["changed"] and again.result[0]["verified"]
        shutil.rmtree(Path(portal["source"]))
        back = play(
            tmp_path,
            "portals, tasks_from: rolled_back",
            "portals_result",
            {"portals_sites": [{**portal, "source": None}], "portals_from_release": "v1.1.0"},
        )
        assert back.rc == 0, back.output
        assert back.result[0]["release"] == "v1.0.0" and back.result[0]["verified"] == result["verified"]
        visitor.see("v1.0.0")
    finally:
        visitor.stop.set()
        visitor.join(60)
    assert not visitor.wrong
    assert visitor.seen == ["v1.0.0", "v1.1.0", "v1.0.0"]


def test_the_proof_names_the_address_the_host_and_what_is_wrong(module, portal, sandbox, tmp_path):
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/index.html").write_text('<script src="/assets/app.0123abcd45.js"></script><img src="/no.png">')
    (tmp_path / "dist/assets").mkdir()
    (tmp_path / "dist/assets/app.0123abcd45.js").write_text("x")
    where = {"bucket": portal["bucket"], "release": "v1"}
    assert module("site_publish", src=str(tmp_path / "dist"), **where)["changed"]
    proof = {"state": "verified", "url": portal["url"], "host": portal["host"], "verify_timeout": 0, **where}
    broken = module("site_publish", **proof)
    assert broken["failed"] and portal["url"] in broken["msg"] and portal["host"] in broken["msg"]
    assert broken["wrong"] == ["/no.png: status 404"]
    client(sandbox).put_object(Bucket=portal["bucket"], Key="index.html", Body=b"y", CacheControl="no-cache")
    assert any("other content" in wrong for wrong in module("site_publish", **proof)["wrong"])
    nobody = module("site_publish", **{**proof, "host": "nobody.eazepay.test"})
    assert "status 403" in nobody["msg"] and "nobody.eazepay.test" in nobody["msg"]
    another = module("site_publish", **{**proof, "release": "v2"})
    assert "serves v1, not v2" in another["msg"]
