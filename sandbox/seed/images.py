"""The services' images of a release: built, and pushed to the local registry."""

from __future__ import annotations

import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.box import Box, run, step

SERVICES = ("identity", "biometric", "transaction", "wallet", "agent", "ussd")
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def pushed(image: str) -> str | None:
    """The digest under which the local registry has an image (`host:port/name:tag`); None when it has not."""
    place, _, tag = image.rpartition(":")
    registry, _, name = place.partition("/")
    url = f"http://{registry}/v2/{name}/manifests/{tag}"
    asking = urllib.request.Request(url, method="HEAD", headers={"Accept": ", ".join(MANIFESTS)})
    try:
        with urllib.request.urlopen(asking, timeout=10) as answer:
            return str(answer.headers["Docker-Content-Digest"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def build(box: Box, folder: Path, release: str, again: bool = False) -> None:
    """Builds and pushes what the registry lacks of a release's images; all of them when `again` says so."""
    registry = box.read_env()["REGISTRY"]
    missing = [name for name in SERVICES if again or pushed(f"{registry}/eazepay/{name}-service:{release}") is None]
    if not missing:
        return

    def one(name: str) -> None:
        image = f"{registry}/eazepay/{name}-service:{release}"
        arguments = ["--build-arg", f"REGISTRY={registry}", "--build-arg", f"RELEASE={release}"]
        run(["docker", "build", "--quiet", *arguments, "-t", image, folder / "services" / f"{name}-service"])
        run(["docker", "push", "--quiet", image])

    with step("seed", f"images of {release}: {', '.join(missing)}"), ThreadPoolExecutor(3) as pool:
        list(pool.map(one, missing))
