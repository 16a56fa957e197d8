import functools
import html
import json
import urllib.parse

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.redact import MASK, Redactor
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text",
    [
        "postgres://eazepay:canary!x@db/wallet",
        "PGPASSWORD=canary!x",
        '{"password": "canary!x y", "user": "me"}',
        "Authorization: Bearer canary!x",
        "db_password: canary!x",
        "--api-key=canary!x",
        "AWS_SECRET_ACCESS_KEY='canary!x'",
    ],
)
def test_what_looks_like_a_secret_does_not_show(text):
    shown = Redactor().text(text)
    assert "canary" not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "text", ["connected to db as eazepay", "token bucket is full", "GET http://host:8080/path 200"]
)
def test_plain_text_is_left_alone(text):
    assert Redactor().text(text) == text


@given(
    st.text(min_size=4, alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="*")),
    st.text(),
    st.text(),
)
def test_a_known_secret_never_shows(secret, before, after):
    redactor = Redactor([secret])
    assert secret not in redactor.text(before + secret + after).replace(MASK, "")


ADDRESS = functools.partial(urllib.parse.quote, safe="")


@given(st.text(min_size=4, max_size=20), st.sampled_from([html.escape, json.dumps, repr, ADDRESS]))
def test_a_secret_does_not_show_in_another_spelling(secret, spelt):
    inside = spelt(secret)[1:-1] if spelt in (json.dumps, repr) else spelt(secret)
    masked = Redactor([secret]).text(f"<{inside}>")
    assert inside not in masked or inside in f"<{MASK}>", masked


def test_structures_keep_their_shape():
    redactor = Redactor(["s3cret"])
    assert redactor.value({"a": ["x s3cret", 1, None], "password": "p", "n": {"token": "t"}}) == {
        "a": ["x " + MASK, 1, None],
        "password": MASK,
        "n": {"token": MASK},
    }
