from urllib.parse import unquote

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.cdn import paths
from hypothesis import given
from hypothesis import strategies as st

from sandbox.servers.invalidations import bad_paths

names = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1, max_size=8)
keys = st.lists(names, min_size=1, max_size=4).map("/".join)
plain = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(keys))
def test_any_key_becomes_a_path_that_cloudfront_takes_and_that_means_the_key(found):
    made = paths.of_keys(found)
    assert not bad_paths(made)
    assert not any(paths.is_wildcard(path) for path in made)
    assert {"/" + key for key in found} <= {unquote(path) for path in made}


@given(st.lists(plain | plain.map(lambda path: path + "/*"), max_size=60), st.integers(1, 40))
def test_compacted_paths_cover_what_was_asked_within_the_limits(asked, above):
    made = paths.compact(asked, above)
    assert all(any(paths.covers(pattern, path) for pattern in made) for path in asked)
    assert len(made) <= above or len(made) <= len(set(asked))
    assert made == paths.compact(made, above) or made == ["/*"]
    for batch in paths.batches(made):
        assert sum(map(paths.is_wildcard, batch)) <= 15


@given(st.lists(plain | plain.map(lambda path: path + "*"), max_size=60))
def test_batches_hold_every_path_once(asked):
    unique = paths.without_covered(asked)
    assert sorted(path for batch in paths.batches(unique, 4, 2) for path in batch) == unique
    assert all(len(batch) <= 6 for batch in paths.batches(unique, 4, 2))


def test_few_paths_are_left_alone_and_many_become_folders():
    asked = ["/a/1", "/a/2", "/a/3", "/b/1", "/index.html"]
    assert paths.compact(asked, 5) == asked
    assert paths.compact(asked, 4) == ["/a/*", "/b/1", "/index.html"]
    assert paths.compact(asked, 0) == asked
    assert paths.compact([f"/{n}" for n in range(9)], 4) == ["/*"]


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("index.html", "/index.html"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/100%", "/100%25"),
        ("/~x[1]", "/~x%5B1%5D"),
        ("/A/*", "/A/*"),
        ("/ü", "/%C3%BC"),
    ],
)
def test_only_what_must_be_is_encoded(given, normal):
    assert paths.normalise(given) == normal


def test_a_star_stands_only_at_the_end():
    with pytest.raises(paths.BadPath):
        paths.normalise("/*.js")


def test_the_index_is_also_its_folder():
    assert paths.of_keys(["index.html", "a/index.html", "xindex.html"]) == [
        "/",
        "/a/",
        "/a/index.html",
        "/index.html",
        "/xindex.html",
    ]
    assert paths.of_keys(["a.txt"], "app/") == ["/app/a.txt"]


def test_references_tell_invalidations_apart():
    one = paths.reference("E1", "v1", ["/a", "/b"])
    assert one == paths.reference("E1", "v1", ["/b", "/a"])
    assert len({one, *(paths.reference(*x) for x in [("E2", "v1", ["/a", "/b"]), ("E1", "v2", ["/a", "/b"])])}) == 3
