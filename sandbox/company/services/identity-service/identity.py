"""Registers users."""

from __future__ import annotations

from pathlib import Path

from eazepay import Problem, Service

service = Service(Path(__file__).parent)


@service.route("POST", "/register")
def register(body):
    name, phone = body.get("name"), body.get("phone")
    if not name or not phone:
        raise Problem(422, "name and phone are required")
    with service.database.transaction() as cursor:
        cursor.execute("INSERT INTO users (name, phone) VALUES (%s, %s) RETURNING id, name, phone", (name, phone))
        return 201, cursor.fetchone()


@service.route("GET", "/users/<user>")
def user(_body, user):
    with service.database.transaction() as cursor:
        cursor.execute("SELECT id, name, phone FROM users WHERE id::text = %s", (user,))
        found = cursor.fetchone()
    if found is None:
        raise Problem(404, "no such user")
    return 200, found


if __name__ == "__main__":
    service.run()
