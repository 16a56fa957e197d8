import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.site import plan as planning
from ansible_collections.eazepay.ops.plugins.module_utils.site.plan import File, Object
from ansible_collections.eazepay.ops.plugins.module_utils.site.references import assets
from ansible_collections.eazepay.ops.plugins.module_utils.site.rules import HASHED, OTHER, PAGE, Headers, Rules, prefix
from hypothesis import given
from hypothesis import strategies as st

RULES = Rules()
key = st.sampled_from(["index.html", "a.txt", "b/c.png", "assets/app.0123abcd.js", "assets/x.89abcdef01.css"])
sites = st.dictionaries(key, st.sampled_from("123"))


def files(site):
    return {k: File(k, sha, 1, RULES.headers(k), RULES.kind(k)) for k, sha in site.items()}


def objects(site):
    return {k: Object(k, sha, 1, RULES.headers(k)) for k, sha in site.items()}


@given(sites, sites, st.lists(sites, max_size=3), st.sets(st.sampled_from("123")))
def test_a_plan_reaches_the_site_and_loses_nothing_that_a_kept_release_needs(wanted, there, earlier, blobs):
    releases = {f"v{number}": site for number, site in enumerate(earlier)}
    kinds = {k: RULES.kind(k) for k in [*wanted, *there]}
    plan = planning.decide(files(wanted), objects(there), releases, blobs, kinds)
    after = {k: v for k, v in there.items() if k not in {step.key for step in plan.delete}}
    after.update({step.key: wanted[step.key] for step in plan.upload})
    assert {k: after[k] for k in wanted} == wanted
    assert all(any(k in site for site in earlier) for k in set(after) - set(wanted))
    aside = {sha for _key, sha in plan.preserve} | blobs
    for site in earlier:
        for k, sha in site.items():
            if there.get(k) == sha:
                assert after.get(k) == sha or sha in aside
    # Applied, the same plan is empty.
    again = planning.decide(files(wanted), objects(after), releases, aside, kinds)
    assert not again.upload and not again.rehead and not again.delete


def test_the_order_is_assets_then_files_then_pages():
    keys = ["sw.js", "index.html", "a.txt", "assets/app.0123abcd.js", "manifest.webmanifest"]
    kinds = {k: RULES.kind(k) for k in keys}
    assert planning.order(keys, kinds) == [
        ["assets/app.0123abcd.js"],
        ["a.txt"],
        ["index.html", "manifest.webmanifest", "sw.js"],
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.0123abcd45.js", HASHED),
        ("assets/index-BkY3x9Zq.js", HASHED),
        ("assets/app.0123abcd45.js.map", HASHED),
        ("static/css/main.a1b2c3d4.css", HASHED),
        ("report-20261126.pdf", OTHER),
        ("assets/photo-20261126.jpg", OTHER),
        ("assets/background.png", OTHER),
        ("deadbeef.txt", OTHER),
        ("index-BkY3x9Zq.js", OTHER),
        ("x/index.0123abcd45.html", PAGE),
    ],
)
def test_what_is_a_hash_and_what_only_looks_like_one(name, kind):
    assert RULES.kind(name) == kind


def test_the_callers_rules_come_first():
    rules = Rules({"*.bin": "x/y"}, {"data/*": "max-age=1"}, [r"\.H\w+\."])
    assert rules.headers("a.bin").content_type == "x/y"
    assert rules.headers("data/x/a.txt").cache_control == "max-age=1"
    assert rules.kind("a.Habc.js") == HASHED and rules.kind("app.0123abcd45.js") == OTHER


def test_prefixes_end_in_a_slash():
    assert [prefix(text) for text in ("", "/", "app", "/app/", "a//b")] == ["", "", "app/", "app/", "a/b/"]


def test_limits_of_deletion():
    plan = planning.Plan([], [], [], [planning.Step(str(n), "") for n in range(5)], [])
    planning.guard(plan, 10, 5, 50, "x")
    planning.guard(plan, 5, -1, -1, "x")
    for limits in ((4, 100), (100, 49)):
        with pytest.raises(OpsError, match="Nothing was touched"):
            planning.guard(plan, 10, *limits, "x")


def test_what_caches_may_hold():
    wanted = files({"index.html": "2", "assets/app.0123abcd.js": "1", "new.txt": "1"})
    there = objects({"index.html": "1", "old.html": "1"})
    kinds = {k: RULES.kind(k) for k in [*wanted, *there]}
    plan = planning.decide(wanted, there, {}, set(), kinds)
    assert planning.stale(plan, wanted, there, kinds) == ["index.html", "new.txt", "old.html"]


def test_history_is_bounded_and_has_each_release_once():
    assert planning.history(["v2", "v1"], "v3", 2) == (["v3", "v2"], ["v1"])
    assert planning.history(["v2", "v1"], "v1", 3) == (["v1", "v2"], [])


def test_headers_differ_in_words():
    said = planning.difference(Headers("a/b", ""), Headers("a/b", "no-cache"))
    assert said == "Cache-Control is missing, not no-cache"


def test_what_a_page_names():
    html = """<base href=/app/><link rel="stylesheet" href="a.css?v=1"><link rel=canonical href=/x>
    <script src=../b.js></script><img src="data:image/png;base64,x"><img src="//cdn.test/c.png">
    <script type=module src="/d%20e.js#x"></script><img src='f&amp;g.png'/>"""
    assert assets(html, "/sub/index.html") == ["/app/a.css", "/app/f&g.png", "/b.js", "/d%20e.js"]
