"""moto's S3, CloudFront and Secrets Manager, mended where moto is too kind: limits of CloudFront, buckets of others."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from moto.backends import get_backend
from moto.cloudfront import models
from moto.cloudfront.exceptions import CloudFrontException
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.utilities.paginator import paginate
from werkzeug.serving import run_simple

from sandbox.servers.invalidations import MAX_PATHS, MAX_WILDCARDS, bad_paths, over_limit

COMPLETES_AFTER = float(os.environ.get("SANDBOX_INVALIDATION_SECONDS", "2"))


def completed_at(invalidation: Any) -> float:
    return float(invalidation.began) + COMPLETES_AFTER


def status(invalidation: Any) -> str:
    return "Completed" if time.time() >= completed_at(invalidation) else "InProgress"


def begin(self: Any, distribution: Any, paths: list[str], caller_ref: str) -> None:
    self.id = models.random_id()
    self.create_time = models.utcnow()
    self.began = time.time()
    self.distribution = distribution
    self.paths = paths
    self.caller_ref = caller_ref


def create(self: models.CloudFrontBackend, dist_id: str, paths: list[str], caller_ref: str) -> models.Invalidation:
    distribution = self.distributions.get(dist_id)
    if distribution is None:
        raise models.NoSuchDistribution
    known = self.invalidations.setdefault(dist_id, [])
    for earlier in known:
        if earlier.caller_ref == caller_ref:
            if sorted(earlier.paths) == sorted(paths):
                return earlier
            raise CloudFrontException(
                "InvalidationBatchAlreadyExists",
                "There is an existing invalidation batch with the same caller reference but different paths: "
                f"{earlier.id}",
            )
    bad = bad_paths(paths)
    if bad or not paths:
        raise CloudFrontException(
            "InvalidArgument", f"Your request contains one or more invalid invalidation paths. {bad[:3]}"
        )
    if over_limit((path for other in known if other.status == "InProgress" for path in other.paths), paths):
        raise CloudFrontException(
            "TooManyInvalidationsInProgress",
            f"Processing your request would put you over the allowed limit of {MAX_PATHS} paths and {MAX_WILDCARDS} "
            "wildcards in progress.",
        )
    invalidation = models.Invalidation(distribution, paths, caller_ref)
    known.append(invalidation)
    return invalidation


@paginate(pagination_model=models.CloudFrontBackend.PAGINATION_MODEL)
def list_invalidations(self: models.CloudFrontBackend, dist_id: str) -> list[models.Invalidation]:
    if dist_id not in self.distributions:
        raise models.NoSuchDistribution
    return list(reversed(self.invalidations.get(dist_id, [])))  # the newest first


def mend() -> None:
    invalidation: Any = models.Invalidation
    invalidation.__init__ = begin
    invalidation.status = property(status)
    backend: Any = models.CloudFrontBackend
    backend.create_invalidation = create
    backend.list_invalidations = list_invalidations


def distributions(since: float) -> list[dict[str, Any]]:
    """What the CDN needs to serve: each distribution's origin, and its invalidations completed after `since`."""
    now = time.time()
    found = []
    for account in list(get_backend("cloudfront").values()):
        for backend in list(account.values()):
            for distribution in list(backend.distributions.values()):
                config: Any = distribution.distribution_config
                origin = config.Origins["Items"][0]
                done = [
                    {"at": completed_at(invalidation), "paths": invalidation.paths}
                    for invalidation in list(backend.invalidations.get(distribution.id, []))
                    if since <= completed_at(invalidation) <= now
                ]
                found.append(
                    {
                        "id": distribution.id,
                        "hosts": [*config.Aliases.get("Items", []), distribution.domain_name],
                        "enabled": str(config.Enabled).lower() == "true",
                        "bucket": origin.domain_name.split(".s3", 1)[0],
                        "origin_path": origin.origin_path or "",
                        "root_object": config.DefaultRootObject or "",
                        "invalidations": done,
                    }
                )
    return found


def with_distributions(application: Any) -> Any:
    """Adds /sandbox/distributions?since=<seconds>, which the CDN asks before each answer."""

    def respond(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/sandbox/distributions":
            return application(environ, start_response)
        since = float(environ["QUERY_STRING"].partition("=")[2] or 0)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(distributions(since)).encode()]

    return respond


def main(port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["MOTO_PORT"] = str(port)
    os.environ["MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS"] = "false"  # a bucket belongs to who made it
    mend()
    application = with_distributions(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]))
