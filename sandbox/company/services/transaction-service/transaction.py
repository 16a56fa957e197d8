"""Books transactions between users, in cents."""

from __future__ import annotations

from pathlib import Path

from eazepay import Problem, Service

service = Service(Path(__file__).parent)


@service.route("POST", "/transactions")
def book(body):
    sender, receiver, amount = body.get("sender"), body.get("receiver"), body.get("amount")
    if not sender or not receiver or not isinstance(amount, int) or amount <= 0:
        raise Problem(422, "sender, receiver and a positive amount in cents are required")
    with service.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO transactions (sender, receiver, amount) VALUES (%s, %s, %s) RETURNING id, state",
            (sender, receiver, amount),
        )
        return 201, cursor.fetchone()


@service.route("GET", "/transactions/<transaction>")
def show(_body, transaction):
    with service.database.transaction() as cursor:
        cursor.execute(
            "SELECT id, sender, receiver, amount, state FROM transactions WHERE id::text = %s", (transaction,)
        )
        found = cursor.fetchone()
    if found is None:
        raise Problem(404, "no such transaction")
    return 200, found


if __name__ == "__main__":
    service.run()
