"""What belongs to a build, and what is to be done about an image."""

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.images.plan import (
    BUILD,
    CONTENT,
    KEEP,
    REFUSE,
    build_failure,
    decide,
    ignore_rules,
    ignored,
)
from ansible_collections.eazepay.ops.plugins.module_utils.images.registry import split


@pytest.mark.parametrize(
    ("labels", "overwrite", "action"),
    [
        (None, False, BUILD),
        ({CONTENT: "a"}, False, KEEP),
        ({CONTENT: "a"}, True, KEEP),
        ({CONTENT: "b"}, False, REFUSE),
        ({CONTENT: "b"}, True, BUILD),
        ({}, False, REFUSE),
    ],
)
def test_a_release_is_built_once(labels, overwrite, action):
    assert decide("a", labels, overwrite).action == action


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("node_modules", "node_modules/a/b.js", True),
        ("/node_modules/", "node_modules/a/b.js", True),
        ("node_modules", "web/node_modules/a.js", False),
        ("# *.md", "README.md", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("x+(y)", "x+(y)", True),
    ],
)
def test_dockerignore(rules, path, out):
    assert ignored(path, ignore_rules(rules)) is out


@pytest.mark.parametrize(
    ("repository", "parts"),
    [
        ("localhost:5000/shop/a", ("localhost:5000", "shop/a")),
        ("registry.example.com/a", ("registry.example.com", "a")),
        ("shop/a", ("docker.io", "shop/a")),
        ("nginx", ("docker.io", "library/nginx")),
    ],
)
def test_whose_registry(repository, parts):
    assert split(repository) == parts


def test_a_failed_build_names_its_step():
    output = """#5 [2/3] RUN make
#5 0.3 no rule to make target
#5 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
------
 > [2/3] RUN make:
0.3 no rule to make target
------
ERROR: failed to solve: exit code: 2
"""
    step, lines = build_failure(output)
    assert step == "step 2/3, RUN make" and "no rule to make target" in lines and "exit code: 2" in lines
