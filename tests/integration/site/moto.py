"""The sandbox's moto server, with S3's writes one by one: moto checks If-None-Match and writes in two steps."""

from __future__ import annotations

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


if __name__ == "__main__":
    S3Response._key_response_put = put_alone  # type: ignore[assignment,method-assign]
    aws.main(int(sys.argv[1]))
