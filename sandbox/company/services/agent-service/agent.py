"""Knows the agents who take and pay out cash."""

from __future__ import annotations

from pathlib import Path

from eazepay import Problem, Service

service = Service(Path(__file__).parent)


@service.route("GET", "/agents/<agent>")
def show(_body, agent):
    with service.database.transaction() as cursor:
        cursor.execute("SELECT id, name, region, float_cents FROM agents WHERE id::text = %s", (agent,))
        found = cursor.fetchone()
    if found is None:
        raise Problem(404, "no such agent")
    return 200, found


if __name__ == "__main__":
    service.run()
