"""Answers the menus that feature phones dial."""

from __future__ import annotations

from pathlib import Path

from eazepay import Problem, Service

service = Service(Path(__file__).parent)

MENU = "CON Eazepay\n1. Balance\n2. Send money"


@service.route("POST", "/sessions")
def dial(body):
    if not body.get("phone"):
        raise Problem(422, "phone is required")
    with service.database.transaction() as cursor:
        cursor.execute("INSERT INTO sessions (phone) VALUES (%s) RETURNING id", (body["phone"],))
        return 201, {**cursor.fetchone(), "menu": MENU}


if __name__ == "__main__":
    service.run()
