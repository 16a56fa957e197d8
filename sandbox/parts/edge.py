"""The CDN in front of the portals' buckets."""

from __future__ import annotations

from sandbox.parts import aws
from sandbox.parts.server import ServerPart

PORT = 15080


class Edge(ServerPart):
    name = "edge"
    needs = ("aws",)
    server = "cdn"
    ports = (PORT,)
    arguments = (str(aws.PORT),)
    probe = f"http://127.0.0.1:{PORT}/"

    def env(self) -> dict[str, str]:
        return {"CDN_URL": f"http://127.0.0.1:{PORT}"}
