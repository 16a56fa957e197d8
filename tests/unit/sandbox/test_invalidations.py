from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.servers.cdn import Kept, usable
from sandbox.servers.invalidations import bad_paths, lifetime, matches, over_limit


@pytest.mark.parametrize("path", ["/", "/index.html", "/a/*", "/*", "/a%20b.js", "/a?x=1"])
def test_good_paths(path):
    assert bad_paths([path]) == []


@pytest.mark.parametrize("path", ["index.html", "/a*b", "/*/x", "/a b", "/ä.js", "", "/a<b>", "/x\n"])
def test_refused_paths(path):
    assert bad_paths([path]) == [path]


@pytest.mark.parametrize(
    ("in_progress", "new", "over"),
    [
        (0, ["/a"] * 3000, False),
        (0, ["/a"] * 3001, True),
        (2999, ["/a", "/b"], True),
        (3000, ["/a*"] * 15, False),
        (0, ["/a*"] * 16, True),
    ],
)
def test_limits(in_progress, new, over):
    assert over_limit(["/p"] * in_progress, new) is over


def test_what_a_path_drops():
    assert matches("/*", "/a/b")
    assert matches("/a/*", "/a/b") and not matches("/a/*", "/ab")
    assert matches("/a%20b", "/a b")
    assert not matches("/A", "/a") and not matches("/a", "/a/")


@given(st.text(alphabet="abc/.-", max_size=12), st.text(alphabet="abc/.-", max_size=12))
def test_a_wildcard_drops_exactly_what_begins_so(prefix, path):
    assert matches(f"/{prefix}*", f"/{path}") == path.startswith(prefix)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 86400),
        ("no-cache", 0),
        ("no-store, max-age=60", 0),
        ("public, max-age=60", 60),
        ("max-age=60, s-maxage=5", 5),
        ("public, max-age=31536000, immutable", 31536000),
    ],
)
def test_lifetimes(header, seconds):
    assert lifetime(header) == seconds


def test_a_kept_object_is_given_until_it_is_old_or_invalidated_later():
    kept = Kept(b"x", {}, fetched=100, seconds=50)
    assert usable(kept, "/x", [], now=149) and not usable(kept, "/x", [], now=150)
    assert usable(kept, "/x", [{"at": 99, "paths": ["/*"]}], now=120)
    assert usable(kept, "/x", [{"at": 110, "paths": ["/y"]}], now=120)
    assert not usable(kept, "/x", [{"at": 110, "paths": ["/y", "/x"]}], now=120)
