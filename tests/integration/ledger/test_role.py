from __future__ import annotations

from tests.integration.announce.play import play


def test_the_role_passes_everything_on(tmp_path):
    store = {"ledger_store": str(tmp_path / "ledger")}
    locked = play(tmp_path, "ledger", "ledger_result", {**store, "ledger_state": "locked", "ledger_owner": "a"})
    assert locked.rc == 0, locked.output
    # The play has ended, so its lock is dead although it has not expired.
    holder = locked.result["lock"]["holder"]
    assert holder["pid"] and holder["place"]
    taken = play(tmp_path, "ledger", "ledger_result", {**store, "ledger_state": "locked", "ledger_owner": "b"})
    assert taken.rc == 0, taken.output
    assert taken.result["taken_from"]["owner"] == "a" and taken.result["taken_from"]["why"] == "dead"
    queried = play(tmp_path, "ledger", "ledger_result", store)
    assert queried.result["lock"]["owner"] == "b"
