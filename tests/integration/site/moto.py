"""The sandbox's moto server, with S3's writes one by one: moto checks If-None-Match and writes in two steps."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from moto.s3.responses import S3Response

from sandbox.servers import aws

writes = threading.RLock()
put = S3Response._key_response_put


def put_alone(self: Any, *arguments: Any) -> Any:
    with writes:
        return put(self, *arguments)


def completed_at(invalidation: Any) -> float:
    """Never, while the file that T_HOLD names exists; so tests need not guess how long something takes."""
    if os.path.exists(os.environ["T_HOLD"]):
        return float("inf")
    return float(invalidation.began) + 0.5


if __name__ == "__main__":
    S3Response._key_response_put = put_alone  # type: ignore[assignment,method-assign]
    aws.completed_at = completed_at
    aws.main(int(sys.argv[1]))
