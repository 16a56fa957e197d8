# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How an API server is reached: what a kubeconfig, or the pod that this runs in, says of it.

The Python client understands whatever kubeconfigs may say, but importing it takes half a second, which would be most of
what a task costs that changes nothing. So certificates and tokens are read here, and all the rest (programs and
providers that give credentials, proxies, several files, what is wrong in a file) is left to the client.
"""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import tempfile
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import MissingLibrary, OpsError

# What may stand in a kubeconfig that is read here.
CLUSTER = {"server", "certificate-authority", "certificate-authority-data", "extensions"}
USER = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token"}
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}

# The watches keep their connections; beside them a few requests run at the same time.
CONNECTIONS = 16


@dataclass(frozen=True)
class Access:
    """An API server that can be asked."""

    host: str
    namespace: str  # the context's own; empty when it has none
    pool: Any  # urllib3's
    headers: Callable[[], Dict[str, str]]  # by which a request is let in; asked for each, for tokens expire


@dataclass(frozen=True)
class Plain:
    """A context of a kubeconfig that holds certificates or a token only."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    namespace: str


def access(kubeconfig: Optional[str], context: Optional[str]) -> Access:
    """The way to the API server.

    :raises OpsError: the kubeconfig cannot be used.
    :raises MissingLibrary: the Python client is not installed.
    """
    file = kubeconfig or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG")
    context = context or os.environ.get("K8S_AUTH_CONTEXT")
    default = os.path.expanduser("~/.kube/config")
    if not any(value for name, value in os.environ.items() if name.lower() in PROXIES):
        # Whatever is wrong, the client says it in its own words.
        with contextlib.suppress(ImportError, OSError, ValueError):
            found = by_file(os.path.expanduser(file or default), context)
            if found is not None:
                return found
    return by_client(file, context, bool(file or context or os.path.exists(default)))


def by_file(path: str, context: Optional[str]) -> Optional[Access]:
    """The way as a plain kubeconfig says it; None when it says more.

    :raises ImportError: what the client brings along is not there.
    :raises OSError: a file or a certificate cannot be read.
    :raises ValueError: a file or a certificate holds something else.
    """
    import urllib3
    import yaml

    with open(path, encoding="utf-8") as file:
        try:
            config = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    found = plain(config, context)
    if found is None:
        return None
    host = found.cluster["server"].rstrip("/")
    options: Dict[str, Any] = {"maxsize": CONNECTIONS}
    if host.startswith("https:"):
        options["ssl_context"] = secured(found, os.path.dirname(os.path.abspath(path)))
    headers = {"authorization": f"Bearer {found.user['token']}"} if found.user.get("token") else {}
    return Access(host, found.namespace, urllib3.PoolManager(**options), lambda: headers)


def plain(config: Any, context: Optional[str]) -> Optional[Plain]:
    """The context asked for, or the current one; None when there is more to it than certificates and a token."""
    try:
        chosen = _named(config["contexts"], context or config["current-context"])["context"]
        cluster = _named(config["clusters"], chosen["cluster"])["cluster"]
        user = _named(config["users"], chosen["user"])["user"]
        values = [value for part in (cluster, user) for key, value in part.items() if key != "extensions"]
        known = set(cluster) <= CLUSTER and set(user) <= USER
        if not known or not all(isinstance(value, str) and value for value in values):
            return None
        if not cluster["server"].startswith(("https://", "http://")):
            return None
        return Plain(cluster, user, chosen.get("namespace") or "")
    except (AttributeError, KeyError, TypeError):
        return None


def _named(items: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    found = [one for one in items if one["name"] == name]
    if len(found) != 1:
        raise KeyError(name)
    return found[0]


def secured(found: Plain, folder: str) -> ssl.SSLContext:
    """TLS as the kubeconfig wants it. Paths in it are relative to ``folder``.

    :raises OSError: a file cannot be read, or holds no certificate or key.
    :raises ValueError: something is no base64, or no text.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    def content(section: Mapping[str, str], key: str) -> bytes:
        if f"{key}-data" in section:
            return base64.b64decode(section[f"{key}-data"])
        if key not in section:
            return b""
        with open(os.path.join(folder, section[key]), "rb") as file:
            return file.read()

    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    authority = content(found.cluster, "certificate-authority")
    if authority:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    else:
        context.load_default_certs()
    pair = content(found.user, "client-certificate") + b"\n" + content(found.user, "client-key")
    if pair.strip():
        # OpenSSL reads these from a file only: one that nobody else can read, and that is gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair)
            file.flush()
            # A key with a passphrase is an error, and no question to a terminal.
            context.load_cert_chain(file.name, password="")
    return context


def by_client(file: Optional[str], context: Optional[str], configured: bool) -> Access:
    """The way as the Python client finds it: by a kubeconfig, or as the pod's own account.

    :param configured: whether there is a kubeconfig.
    """
    try:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ImportError:
        raise MissingLibrary("kubernetes", traceback.format_exc()) from None
    found = client.Configuration()
    try:
        if configured:
            config.load_kube_config(
                config_file=os.path.expanduser(file) if file else None,
                context=context,
                client_configuration=found,
                persist_config=False,
            )
            contexts, active = config.list_kube_config_contexts(config_file=file)
            chosen = next((one for one in contexts if one["name"] == context), active) or {}
            namespace = (chosen.get("context") or {}).get("namespace") or ""
        else:
            config.load_incluster_config(client_configuration=found)
            namespace = _pod_namespace()
    except (ConfigException, OSError) as error:
        raise OpsError(
            "connect to", "Kubernetes", str(error), "Give kubeconfig and context, or run in the cluster."
        ) from None
    # Retries are ours to make: those of the library know nothing of what is safe to repeat.
    found.retries = False
    found.connection_pool_maxsize = CONNECTIONS

    def headers() -> Dict[str, str]:
        settings: Mapping[str, Any] = dict(found.auth_settings())
        said = [one for one in settings.values() if one.get("in") == "header" and one.get("value")]
        return {one["key"]: one["value"] for one in said}

    return Access(found.host, namespace, client.ApiClient(found).rest_client.pool_manager, headers)


def _pod_namespace() -> str:
    with contextlib.suppress(OSError), open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
        return file.read().strip()
    return ""
