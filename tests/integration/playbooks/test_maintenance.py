"""The playbooks `maintenance` and `announce` on a company of two tiny services."""

from __future__ import annotations

import calendar
import json
import threading
import time
import urllib.request

import pytest

from tests.deployments import kill
from tests.shop import shop

HOUR = 3600.0
NOTICE = {"kind": "maintenance", "reason": "upgrade"}


@pytest.fixture(scope="module")
def company(sandbox, tmp_path_factory):
    with shop(tmp_path_factory.mktemp("shop"), sandbox) as made:
        yield made


@pytest.fixture(autouse=True)
def off(company):
    company.switch.unlink(missing_ok=True)
    for notice in (company.folder / "ledger").glob("notices/*"):
        notice.unlink()


class Users:
    """Somebody who asks all the time, and remembers each answer."""

    def __init__(self, company):
        self.company, self.answers, self.over = company, [], threading.Event()
        self.thread = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        while not self.over.wait(0.05):
            status, _body, retry_after = self.company.ask()
            self.answers.append((status, retry_after))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def silences(company):
    with urllib.request.urlopen(f"{company.sandbox['ALERTMANAGER_URL']}/api/v2/silences", timeout=10) as found:
        mine = [one for one in json.load(found) if one["matchers"][0]["value"] == company.id]
    return [one["status"]["state"] for one in mine]


def iso(ahead):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead))


def test_scheduled_maintenance_is_announced_has_a_window_and_turns_users_away(company):
    refused = company.play("maintenance.yml", "-e", "state=on", "-e", "reason=upgrade", ok=False)
    assert "announce it 2 days before" in refused and company.ask()[0] == 200
    told = ("-e", "stage=maintenance", "-e", "minutes=60", "-e", "reason=upgrade")
    company.play("announce.yml", *told, "-e", f"starts={iso(60 * HOUR)}")
    assert "Maintenance of local scheduled for" in company.mails("users")[-1]["subject"]
    # Told now, for in 60 hours.
    assert "not before" in company.play("maintenance.yml", "-e", "state=on", "-e", "reason=upgrade", ok=False)
    assert company.ask()[0] == 200

    company.notice(50 * HOUR, **NOTICE, starts=iso(-60), minutes=10)
    for notice in (company.folder / "ledger" / "notices").glob("*-maintenance.json"):
        notice.unlink()
    with Users(company) as users:
        on = company.play("maintenance.yml", "-e", "state=on", "-e", "reason=upgrade", "-e", "minutes=30")
        while_on = len(users.answers)
        assert company.ask()[0] == 503
        off = company.play("maintenance.yml", "-e", "state=off")
        assert company.ask()[:2] == (200, "v2")
    assert "local (compose): on upgrade, since" in on and "local (compose): off" in off
    # Half an hour was asked for; what is left of the window is less.
    lease = next(one for one in company.ledger.notices() if one["kind"] == "maintenance_on")["lease"]
    left = company.ledger.notices()[-1]["until"]
    assert lease["expires"] == left
    codes = [status for status, _retry in users.answers]
    assert set(codes) == {200, 503}, "nothing but pages and maintenance"
    assert all(retry for status, retry in users.answers if status == 503), "503 says when to come back"
    first, last = codes.index(503), len(codes) - 1 - codes[::-1].index(503)
    assert set(codes[first : last + 1]) == {503} and first < while_on <= last + 1
    assert silences(company) == ["expired"]


def test_a_schedule_announces_without_a_date_and_a_survey_with_empty_texts(company):
    survey = ("-e", "starts=", "-e", "release=", "-e", "minutes=30", "-e", "reason=monthly")
    company.play("announce.yml", "-e", "stage=maintenance", *survey, "-e", "starts_in=72")
    (notice,) = company.ledger.notices()
    ahead = calendar.timegm(time.strptime(notice["starts"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()
    assert 71.8 * HOUR < ahead <= 72 * HOUR and notice["starts"][15:] in ("0:00Z", "5:00Z")
    assert notice["minutes"] == 30
    assert "scheduled for " + notice["starts"] in company.mails("users")[-1]["subject"]


def test_a_notice_can_be_waived_with_a_reason_that_is_kept(company):
    waive = {"notice": "the regulator asks for it today"}
    company.play("maintenance.yml", "-e", "state=on", "-e", "reason=upgrade", waive=waive)
    assert company.ask()[0] == 503 and "active" in silences(company)
    assert company.ledger.notices()[0]["waived"] == waive
    again = company.play("maintenance.yml")
    assert "on upgrade, since" in again
    company.play("maintenance.yml", "-e", "state=off")
    assert company.ask()[0] == 200 and "active" not in silences(company)


def test_an_emergency_is_on_at_once_and_begins_a_post_mortem(company):
    run = company.start(
        "maintenance.yml", "-e", "state=on", "-e", "kind=emergency", "-e", "reason='wallet loses bookings'"
    )
    output = " ".join(run.communicate(timeout=300)[0].split())
    assert run.returncode == 0, output[-4000:]
    assert company.ask()[0] == 503
    assert "Diagnostics: /" in output and "Post-mortem: " in output
    [page] = (company.folder / "postmortems").glob("*.md")
    text = page.read_text()
    assert "wallet loses bookings" in text and "v1.1.0" in text and "## Timeline" in text and "## Why" in text
    assert "password" not in text.lower()
    assert any("emergency maintenance" in one["subject"] for one in company.mails("users"))
    company.play("maintenance.yml", "-e", "state=off", "-e", "kind=emergency")
    assert company.ask()[0] == 200


def test_nobody_is_let_in_to_what_is_not_well(company):
    company.play("maintenance.yml", "-e", "state=on", "-e", "kind=emergency", "-e", "reason=trouble")
    company.docker("stop", "--timeout", "1", "wallet-service")
    refused = company.play("maintenance.yml", "-e", "state=off", ok=False)
    assert "not healthy: wallet" in refused and "It stays on until" in refused and company.ask()[0] == 503
    company.docker("start", "wallet-service")
    company.docker("up", "--detach", "--wait")
    company.play("maintenance.yml", "-e", "state=off")
    assert company.ask()[0] == 200


def test_a_run_that_is_killed_leaves_maintenance_that_lifts_itself(company):
    run = company.start(
        "maintenance.yml", "-e", "state=on", "-e", "kind=emergency", "-e", "reason=trouble", maintenance_duration=4
    )
    deadline = time.monotonic() + 120
    while company.ask()[0] != 503:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    kill(run)
    while company.ask()[0] == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert company.ask()[:2] == (200, "v2")


def test_bad_input_is_refused(company):
    for more, said in (
        (["state=maybe"], "state is on, off or status"),
        (["state=on"], "People have to be told why"),
        (["state=on", "reason=x", "kind=casual"], "kind is scheduled or emergency"),
    ):
        refused = company.play("maintenance.yml", *(word for one in more for word in ("-e", one)), ok=False)
        assert said in refused and company.ask()[0] == 200
    for more, said in ((["stage=party"], "stage is"), (["stage=maintenance", "reason=x"], "When?")):
        assert said in company.play("announce.yml", *(word for one in more for word in ("-e", one)), ok=False)
