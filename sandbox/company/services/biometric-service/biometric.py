"""Keeps users' templates and says whether one matches."""

from __future__ import annotations

from pathlib import Path

from eazepay import Service

service = Service(Path(__file__).parent)


@service.route("POST", "/verify")
def verify(body):
    with service.database.transaction() as cursor:
        cursor.execute(
            "SELECT 1 FROM templates WHERE person = %s AND digest = %s", (body.get("user"), body.get("digest"))
        )
        return 200, {"match": cursor.fetchone() is not None}


@service.route("GET", "/templates")
def count(_body):
    with service.database.transaction() as cursor:
        cursor.execute("SELECT count(*) AS templates FROM templates")
        return 200, cursor.fetchone()


if __name__ == "__main__":
    service.run()
