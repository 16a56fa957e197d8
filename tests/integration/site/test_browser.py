"""A browser loads a portal from the caching edge, over and over, while releases come and go."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from sandbox.seed.portals import client
from tests.browser import Page
from tests.modules import run_module

SCRIPTS = 12
READY = "document.documentElement.dataset.done"


def hashed(folder, name, kind, text):
    path = f"assets/{name}.{hashlib.sha256(text.encode()).hexdigest()[:10]}.{kind}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    return f"/{path}"


def build(folder, release):
    """A page with many assets. Each script says which release it is of; the last one is loaded late, as chunks are."""
    late = hashed(folder, "late", "js", f"seen('{release}'); document.documentElement.dataset.done = '{release}';")
    scripts = [hashed(folder, f"part{n}", "js", f"seen('{release}'); // {n}") for n in range(SCRIPTS)]
    scripts.append(hashed(folder, "main", "js", f"setTimeout(() => import('{late}'), 100);"))
    style = hashed(folder, "style", "css", f":root {{ --release: '{release}' }}")
    tags = "".join(f'<script type="module" src="{one}"></script>' for one in scripts)
    (folder / "index.html").write_text(
        f'<!doctype html><meta name="release" content="{release}">'
        f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{style}">'
        f"<script>window.all = []; window.seen = (one) => all.push(one)</script>{tags}"
    )
    (folder / "version.json").write_text(f'"{release}"')
    return folder


class Tab(Page):
    """A page with all that went wrong on it: errors of HTTP, requests without an answer, scripts that threw."""

    def __init__(self, portal, sandbox):
        edge = sandbox["CDN_URL"].removeprefix("http://")
        super().__init__("--no-proxy-server", f"--host-resolver-rules=MAP {portal['alias']} {edge}")
        self.wrong: list[str] = []

    def _note(self, method, params):
        super()._note(method, params)
        if method == "Network.responseReceived" and params["response"]["status"] >= 400:
            self.wrong.append(f"{params['response']['status']} {params['response']['url']}")
        elif method == "Network.loadingFailed" and not params.get("canceled"):
            self.wrong.append(f"{params['type']}: {params['errorText']}")
        elif method == "Runtime.exceptionThrown":
            self.wrong.append(params["exceptionDetails"].get("exception", {}).get("description", "a script threw"))

    def load(self, url):
        """Loads the page until its last script has run; gives what went wrong meanwhile."""
        self.wrong = []
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while not self.wrong and not self.ask(f"document.readyState == 'complete' && Boolean({READY})"):
            if time.monotonic() > deadline:
                return ["the page is not ready after 60 s"]
            time.sleep(0.02)
        return self.wrong


class Visitor(threading.Thread):
    def __init__(self, tab, url):
        super().__init__(daemon=True)
        self.tab = tab
        self.url = url
        self.loads = 0
        self.releases: list[str] = []
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self):
        try:
            while not self.stop.is_set():
                self.load()
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def load(self):
        wrong = self.tab.load(self.url)
        if any("ERR_NETWORK_CHANGED" in one for one in wrong):
            # Somebody's containers came or went, and the browser gave up: errors of HTTP alone count.
            self.wrong += [one for one in wrong if one[:3].isdigit()]
            return
        release = self.tab.ask("document.querySelector('meta').content")
        style = "getComputedStyle(document.documentElement).getPropertyValue('--release').trim()"
        seen = self.tab.ask(f"[...all, {style}.slice(1, -1)]") or []
        if not wrong and seen != [release] * (SCRIPTS + 2):
            wrong = [f"the page is of {release}, its parts are of {seen}"]
        self.wrong += wrong
        self.loads += 1
        if self.releases[-1:] != [release]:
            self.releases.append(release)

    def see(self, release):
        """Waits for a few more loads, the last one of the release."""
        loads, deadline = self.loads, time.monotonic() + 120
        while self.loads < loads + 3 or self.releases[-1:] != [release]:
            assert time.monotonic() < deadline and not self.wrong, (self.releases, self.wrong)
            time.sleep(0.05)


@pytest.fixture
def publish(portal, tmp_path):
    def run(release="", **options):
        if release:
            options.update(src=str(build(tmp_path / release, release)), release=release)
        done = run_module("site_publish", bucket=portal["bucket"], concurrency=2, **options)
        assert not done["failed"], done
        dropped = run_module("cf_invalidate", alias=portal["alias"], pending=done["pending"])
        assert not dropped["failed"], dropped

    return run


def test_no_browser_ever_gets_a_mixed_page_or_misses_an_asset(portal, publish, sandbox):
    publish("v1")
    with Tab(portal, sandbox) as tab:
        visitor = Visitor(tab, f"http://{portal['alias']}/")
        visitor.start()
        try:
            visitor.see("v1")
            for release in ("v2", "v3"):
                publish(release)
                visitor.see(release)
            publish(state="rolled_back", from_release="v3")
            visitor.see("v2")
        finally:
            visitor.stop.set()
            visitor.join(120)
    assert not visitor.wrong
    assert visitor.releases == ["v1", "v2", "v3", "v2"]


def test_a_missing_asset_would_be_noticed(portal, publish, sandbox):
    publish("v1")
    s3 = client(sandbox)
    [asset] = s3.list_objects_v2(Bucket=portal["bucket"], Prefix="assets/part3.")["Contents"]
    s3.delete_object(Bucket=portal["bucket"], Key=asset["Key"])
    with Tab(portal, sandbox) as tab:
        visitor = Visitor(tab, f"http://{portal['alias']}/")
        deadline = time.monotonic() + 120
        while not visitor.wrong and time.monotonic() < deadline:
            visitor.load()
    assert any("404" in wrong for wrong in visitor.wrong), visitor.wrong
