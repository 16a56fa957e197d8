"""Plain kubeconfigs mean here what they mean to the Python client; the others are left to it."""

from __future__ import annotations

import base64
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes import access as module
from ansible_collections.eazepay.ops.plugins.module_utils.kubernetes.access import (
    CLUSTER,
    USER,
    access,
    by_client,
    by_file,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pki")
    paths = {name: folder / name for name in ("key", "certificate", "locked")}
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1"]
    request += ["-subj", "/CN=it", "-nodes", "-keyout", paths["key"], "-out", paths["certificate"]]
    subprocess.run(request, check=True, capture_output=True)
    lock = ["openssl", "ec", "-in", paths["key"], "-out", paths["locked"], "-aes128", "-passout", "pass:secret"]
    subprocess.run(lock, check=True, capture_output=True)
    return paths


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "KUBECONFIG", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def written(folder: Path, cluster: dict, user: dict, namespace: str = "shop") -> str:
    contexts = [
        {"name": "it", "context": {"cluster": "it", "user": "it", **({"namespace": namespace} if namespace else {})}},
        {"name": "other", "context": {"cluster": "other", "user": "it", "namespace": "elsewhere"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [
            {"name": "it", "cluster": cluster},
            {"name": "other", "cluster": {"server": "https://other:6443"}},
        ],
        "users": [{"name": "it", "user": user}],
        "contexts": contexts,
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return str(file)


def either(name: str, file: Path, as_data: bool) -> dict[str, str]:
    """A part of a kubeconfig in the file itself, or as a path that is relative to it."""
    return {f"{name}-data": base64.b64encode(file.read_bytes()).decode()} if as_data else {name: f"pki/{file.name}"}


def parts(found) -> tuple:
    headers = {key.lower(): value for key, value in found.headers().items()}
    return found.host, found.namespace, headers


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secure=st.booleans(),
    authority=st.sampled_from(["", "data", "file"]),
    certificate=st.sampled_from(["", "data", "file"]),
    key=st.sampled_from(["data", "file"]),
    token=st.sampled_from(["", "abc.def"]),
    namespace=st.sampled_from(["", "shop"]),
    context=st.sampled_from([None, "it", "other"]),
)
def test_it_means_what_it_means_to_the_client(
    pki, tmp_path, secure, authority, certificate, key, token, namespace, context
):
    if not (tmp_path / "pki").exists():
        (tmp_path / "pki").symlink_to(pki["key"].parent)
    cluster = {"server": f"{'https' if secure else 'http'}://127.0.0.1:6443/", "extensions": [{"name": "x"}]}
    user: dict[str, str] = {"token": token} if token else {}
    if authority:
        cluster |= either("certificate-authority", pki["certificate"], authority == "data")
    if certificate:
        user |= either("client-certificate", pki["certificate"], certificate == "data")
        user |= either("client-key", pki["key"], key == "data")
    file = written(tmp_path, cluster, user, namespace)
    ours, theirs = by_file(file, context), by_client(file, context, True)
    assert ours is not None
    assert parts(ours) == parts(theirs)
    tls = ours.pool.connection_pool_kw.get("ssl_context")
    assert (tls is not None) == (secure or context == "other")
    if tls is not None:
        assert tls.verify_mode == ssl.CERT_REQUIRED
        assert tls.check_hostname
    if secure and authority and context != "other":
        assert [dict(one["subject"][0])["commonName"] for one in tls.get_ca_certs()] == ["it"]


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"insecure-skip-tls-verify": True}, {}),
        ({"proxy-url": "http://proxy:3128"}, {}),
        ({"tls-server-name": "kubernetes"}, {}),
        ({}, {"username": "it", "password": "hunter22"}),
        ({}, {"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}}),
        ({}, {"auth-provider": {"name": "oidc"}}),
        ({}, {"tokenFile": "token"}),
        ({}, {"as": "somebody-else", "token": "t"}),
        ({"server": 1}, {}),
        ({}, {"token": ""}),
    ],
)
def test_whatever_says_more_is_left_to_the_client(tmp_path, cluster, user):
    file = written(tmp_path, {"server": "https://127.0.0.1:6443", **cluster}, user)
    assert by_file(file, None) is None


def test_the_keys_that_are_read_are_those_that_are_plain():
    assert {"exec", "auth-provider", "as", "tokenFile"} & USER == set()
    assert {"insecure-skip-tls-verify", "proxy-url", "tls-server-name"} & CLUSTER == set()


@pytest.mark.parametrize(
    ("text", "context", "words"),
    [
        ("", None, "Invalid kube-config"),
        ("{}", None, "current-context"),
        (None, "nowhere", "Expected object with name nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_the_clients_words(tmp_path, text, context, words):
    file = written(tmp_path, {"server": "https://127.0.0.1:6443"}, {})
    if text is not None:
        Path(file).write_text(text)
    with pytest.raises(OpsError, match=words):
        access(file, context)


def test_a_missing_file(tmp_path):
    with pytest.raises(OpsError, match="connect to Kubernetes"):
        access(str(tmp_path / "none"), None)


@pytest.mark.parametrize("wrong", ["certificate", "locked", "nothing"])
def test_a_key_that_cannot_be_used_is_left_to_the_client(tmp_path, pki, wrong, monkeypatch):
    (tmp_path / "pki").symlink_to(pki["key"].parent)
    user = either("client-certificate", pki["certificate"], True)
    user |= either("client-key", pki.get(wrong, tmp_path / "pki" / wrong), False)
    asked = []
    monkeypatch.setattr(module, "by_client", lambda *given: asked.append(given))
    file = written(tmp_path, {"server": "https://127.0.0.1:6443"}, user)
    access(file, None)
    assert asked == [(file, None, True)]


def test_a_proxy_of_the_environment_is_left_to_the_client(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    asked = []
    monkeypatch.setattr(module, "by_client", lambda *given: asked.append(given))
    access(written(tmp_path, {"server": "https://127.0.0.1:6443"}, {}), None)
    assert asked


def test_the_environment_says_what_the_options_do_not(tmp_path, monkeypatch):
    file = written(tmp_path, {"server": "https://127.0.0.1:6443"}, {"token": "t"})
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", file)
    assert access(None, None).namespace == "shop"
    monkeypatch.setenv("K8S_AUTH_CONTEXT", "other")
    assert access(None, None).namespace == "elsewhere"
    assert access(None, "it").namespace == "shop" and access(file, "it").host == "https://127.0.0.1:6443"
