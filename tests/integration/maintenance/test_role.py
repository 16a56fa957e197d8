from __future__ import annotations

from tests.integration.announce.play import play


def test_the_role_switches_and_proves_it(tmp_path, proxy, folder):
    given = {
        "maintenance_switch": str(folder / "on"),
        "maintenance_owner": "a",
        "maintenance_reason": "upgrade",
        "maintenance_probes": [{"url": proxy, "host": "any.example.com"}],
        "maintenance_probe_timeout": 5,
    }
    on = play(tmp_path, "maintenance", "maintenance_result", {**given, "maintenance_state": "enabled"})
    assert on.rc == 0, on.output
    assert on.result["enabled"] and on.result["lease"]["purpose"] == "upgrade"
    off = play(tmp_path, "maintenance", "maintenance_result", {**given, "maintenance_state": "disabled"})
    assert off.rc == 0, off.output
    assert not off.result["enabled"] and not (folder / "on").exists()


def test_a_proxy_that_does_not_obey_is_a_failure(tmp_path, proxy, folder):
    (folder / "elsewhere").mkdir()
    given = {
        "maintenance_state": "enabled",
        "maintenance_switch": str(folder / "elsewhere" / "on"),
        "maintenance_owner": "a",
        "maintenance_reason": "upgrade",
        "maintenance_duration": 1,
        "maintenance_probes": [{"url": proxy}],
        "maintenance_probe_timeout": 1,
    }
    assert play(tmp_path, "maintenance", "maintenance_result", given).rc == 2
