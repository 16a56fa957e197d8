"""Keeps wallets and their balances, in cents."""

from __future__ import annotations

from pathlib import Path

from eazepay import Problem, Service

service = Service(Path(__file__).parent)


@service.route("POST", "/wallets")
def create(body):
    with service.database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO wallets (owner) VALUES (%s) RETURNING id, owner, balance, currency", (body.get("owner", ""),)
        )
        return 201, cursor.fetchone()


@service.route("GET", "/wallets/<wallet>")
def show(_body, wallet):
    with service.database.transaction() as cursor:
        cursor.execute("SELECT id, owner, balance, currency FROM wallets WHERE id::text = %s", (wallet,))
        found = cursor.fetchone()
    if found is None:
        raise Problem(404, "no such wallet")
    return 200, found


@service.route("POST", "/wallets/<wallet>/deposit")
def deposit(body, wallet):
    amount = body.get("amount")
    if not isinstance(amount, int) or amount <= 0:
        raise Problem(422, "amount is a positive number of cents")
    with service.database.transaction() as cursor:
        cursor.execute(
            "UPDATE wallets SET balance = balance + %s WHERE id::text = %s RETURNING id, owner, balance, currency",
            (amount, wallet),
        )
        found = cursor.fetchone()
        if found is None:
            raise Problem(404, "no such wallet")
        cursor.execute("INSERT INTO entries (wallet, amount) VALUES (%s, %s)", (found["id"], amount))
    return 200, found


if __name__ == "__main__":
    service.run()
