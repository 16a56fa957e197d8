from __future__ import annotations

from sandbox.seed.compose import release_of
from sandbox.seed.images import SERVICES
from sandbox.seed.kubernetes import fill_in, manifests
from sandbox.seed.source import COMPANY

VALUES = {"REGISTRY": "registry:5000", "RELEASE": "v9", "PGPORT": "5432", "PG_SOCKET_DIR": "/run/pg"}


def test_only_known_names_are_filled_in():
    assert fill_in("${RELEASE} $host ${name}_HOST \\$${name}", VALUES) == "v9 $host ${name}_HOST \\$${name}"


def test_release_of_an_image():
    assert release_of("localhost:5000/eazepay/identity-service:v1.1.0") == "v1.1.0"
    assert release_of("localhost:5000/eazepay/identity-service:v1.1.0@sha256:00") == "v1.1.0"
    assert release_of("localhost:5000/eazepay/identity-service@sha256:00") == "an untagged image"
    labels = {"org.opencontainers.image.version": "v1.1.0"}
    assert release_of("localhost:5000/eazepay/identity-service@sha256:00", labels) == "v1.1.0"


def test_every_service_has_a_deployment_that_never_goes_below_its_replicas():
    objects = manifests(COMPANY / "kubernetes", VALUES)
    found = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Deployment"}
    assert set(found) == {f"{name}-service" for name in SERVICES} | {"edge", "maintenance"}
    assert {spec["strategy"]["rollingUpdate"]["maxUnavailable"] for spec in found.values()} == {0}
    for name in SERVICES:
        container = found[f"{name}-service"]["template"]["spec"]["containers"][0]
        assert container["image"] == f"registry:5000/eazepay/{name}-service:v9"


def test_services_come_before_the_pods_that_read_their_addresses():
    kinds = [one["kind"] for one in manifests(COMPANY / "kubernetes", VALUES)]
    assert kinds[0] == "Namespace"
    assert max(index for index, kind in enumerate(kinds) if kind == "Service") < kinds.index("Deployment")
