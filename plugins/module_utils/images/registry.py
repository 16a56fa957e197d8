# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a registry says of an image: by its HTTP API, without pulling it."""

from __future__ import annotations

import base64
import json
import os
import re
import time
import urllib.error
import urllib.request
from typing import Any, Dict, NamedTuple, Optional, Tuple
from urllib.parse import urlencode, urljoin, urlparse

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
HUB = "docker.io"
TRIES = 3


class Found(NamedTuple):
    """An image in a registry."""

    digest: str
    labels: Dict[str, str]
    manifest: bytes
    media_type: str


class NoRedirect(urllib.request.HTTPRedirectHandler):
    # Blobs lie elsewhere often, and that place must not see the registry's credentials.
    def redirect_request(self, *given: Any) -> None:
        return None


def split(repository: str) -> Tuple[str, str]:
    """A repository as (registry's host, path there), as Docker reads it."""
    host, slash, path = repository.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return host, path
    return HUB, repository if slash else f"library/{repository}"


class Registry:
    """One registry, asked with the given login, or with the one that ``docker login`` left.

    :param timeout: of each request, in seconds.
    """

    def __init__(self, host: str, username: str = "", password: str = "", timeout: float = 30.0) -> None:
        self.host = host
        name = re.sub(r":\d+$", "", host).strip("[]")
        plain = name == "localhost" or name.startswith("127.") or name == "::1"
        self.base = f"{'http' if plain else 'https'}://{'registry-1.docker.io' if host == HUB else host}"
        self.timeout = timeout
        self.basic = self._basic(username, password)
        self.tokens: Dict[str, str] = {}
        # Proxies are for the outside world; the registry beside us is none of it.
        self.opener = urllib.request.build_opener(NoRedirect(), *([urllib.request.ProxyHandler({})] if plain else []))

    def _basic(self, username: str, password: str) -> str:
        if username:
            return base64.b64encode(f"{username}:{password}".encode()).decode()
        folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        try:
            with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
                auths = json.load(file).get("auths") or {}
        except (OSError, ValueError):
            return ""
        key = "https://index.docker.io/v1/" if self.host == HUB else self.host
        return str((auths.get(key) or auths.get(f"https://{key}") or {}).get("auth") or "")

    def find(self, path: str, reference: str) -> Optional[Found]:
        """The image under a tag or digest; None when there is none.

        :raises OpsError: the registry could not be asked.
        """
        asked = self._request("GET", f"/v2/{path}/manifests/{reference}", path, accept=", ".join(MANIFESTS))
        if asked is None:
            return None
        body, headers = asked
        manifest = json.loads(body)
        image = manifest
        if "manifests" in manifest:
            # An index: any of its platforms carries the same labels; attestations are no platform.
            real = [
                one for one in manifest["manifests"] if (one.get("platform") or {}).get("architecture") != "unknown"
            ]
            inner = self._request(
                "GET", f"/v2/{path}/manifests/{real[0]['digest']}", path, accept=", ".join(MANIFESTS)
            ) if real else None  # fmt: skip
            image = json.loads(inner[0]) if inner else {}
        labels: Dict[str, str] = {}
        config = (image.get("config") or {}).get("digest")
        blob = self._request("GET", f"/v2/{path}/blobs/{config}", path) if config else None
        if blob:
            labels = (json.loads(blob[0]).get("config") or {}).get("Labels") or {}
        media_type = headers.get("Content-Type") or manifest.get("mediaType") or MANIFESTS[-1]
        return Found(headers.get("Docker-Content-Digest") or "", labels, body, media_type)

    def put(self, path: str, tag: str, found: Found) -> None:
        """Gives an image another tag."""
        self._request(
            "PUT", f"/v2/{path}/manifests/{tag}", path, "pull,push", data=found.manifest, kind=found.media_type
        )

    def _request(
        self,
        method: str,
        url: str,
        path: str,
        actions: str = "pull",
        accept: str = "",
        data: Any = None,
        kind: str = "",
    ) -> Optional[Tuple[bytes, Any]]:
        scope = f"repository:{path}:{actions}"
        problem = ""
        for attempt in range(TRIES):
            try:
                return self._once(method, urljoin(self.base, url), scope, accept, data, kind)
            except urllib.error.HTTPError as error:
                if error.code == 404 and method == "GET":
                    return None
                if error.code == 401 and scope not in self.tokens:
                    self.tokens[scope] = self._token(error.headers.get("WWW-Authenticate") or "", scope)
                    continue
                problem = f"it answers {error.code} {error.reason}"
                if error.code < 500 and error.code != 429:
                    break
            except (OSError, urllib.error.URLError) as error:
                problem = f"it does not answer: {getattr(error, 'reason', error)}"
            time.sleep(attempt)
        remedy = "Check the registry's login." if "40" in problem else "Is the registry up, and can this host reach it?"
        raise OpsError("ask", f"registry {self.host} for {path}", problem or "it refuses the login", remedy)

    def _once(self, method: str, url: str, scope: str, accept: str, data: Any, kind: str) -> Tuple[bytes, Any]:
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310
        if accept:
            request.add_header("Accept", accept)
        if kind:
            request.add_header("Content-Type", kind)
        if scope in self.tokens:
            request.add_unredirected_header("Authorization", self.tokens[scope])
        try:
            with self.opener.open(request, timeout=self.timeout) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            if error.code not in (301, 302, 303, 307, 308) or method != "GET":
                raise
            with self.opener.open(urljoin(url, error.headers["Location"]), timeout=self.timeout) as answer:
                return answer.read(), answer.headers

    def _token(self, challenge: str, scope: str) -> str:
        kind, dummy, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            return f"Basic {self.basic}"
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = said.get("realm", "")
        if urlparse(realm).scheme not in ("https", "http") or (
            self.base.startswith("https") and not realm.startswith("https")
        ):
            raise OpsError("log in to", f"registry {self.host}", f"it names no safe place to get a token: {realm}")
        query = urlencode({"service": said.get("service", ""), "scope": scope})
        request = urllib.request.Request(f"{realm}?{query}")  # noqa: S310
        if self.basic:
            request.add_header("Authorization", f"Basic {self.basic}")
        with self.opener.open(request, timeout=self.timeout) as answer:
            given = json.load(answer)
        return f"Bearer {given.get('token') or given.get('access_token')}"
