# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Maintenance as a lease: somebody's, for a reason, until a time; it lifts itself when nobody renews or lifts it."""

from __future__ import annotations

import time
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..common.errors import InputError, OpsError
from ..ledger import lease as leases
from ..ledger.ledger import TIMES, text_of
from .file_switch import Unknown


def moment(text: str) -> float:
    """:raises InputError: it is no moment with an offset from UTC."""
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise InputError("until", f"{text!r} is not like 2026-12-05T01:00:00Z")
    return parsed.timestamp()


def addresses(given: Sequence[str]) -> List[str]:
    """Addresses as a proxy writes them, each once. Pure.

    :raises InputError: one is no address.
    """
    found = set()
    for text in given:
        try:
            found.add(str(ip_address(text.strip())))
        except ValueError as error:
            raise InputError("allow", f"{text!r} is no IP address (networks and names are not known here)") from error
    return sorted(found)


class Maintenance:
    """A switch and who may turn it.

    :param switch: a FileSwitch or ClusterSwitch.
    :param clock: seconds since the epoch.
    """

    def __init__(self, switch: Any, clock: Callable[[], float] = time.time) -> None:
        self.switch = switch
        self.clock = clock

    def read(self, force: str) -> Optional[Dict[str, Any]]:
        try:
            found: Optional[Dict[str, Any]] = self.switch.read()
            return found
        except Unknown as error:
            if not force:
                raise OpsError(
                    "read",
                    f"the maintenance of {self.switch.where}",
                    f"it is on, and not by this module: {error}",
                    "Ask who switched it on, or turn it with force and a reason.",
                ) from error
            now = self.clock()
            unknown = {"owner": "somebody unknown", "purpose": "", "generation": 0}
            return {**unknown, "since": now, "heartbeat": now, "expires": now + 1}

    def enable(
        self,
        owner: str,
        reason: str,
        seconds: float,
        force: str = "",
        check: bool = False,
        until: str = "",
        allow: Sequence[str] = (),
    ) -> Dict[str, Any]:
        """Switches maintenance on for ``seconds``, or renews it for the same owner.

        :param until: the moment (ISO 8601) at which it ends at the latest.
        :param allow: addresses that are let in all the same.
        """
        let_in = addresses(allow)
        now = self.clock()
        if until:
            seconds = min(seconds, moment(until) - now)
            if seconds <= 0:
                raise InputError("until", f"{until} is over")
        with self.switch.alone():
            decision = leases.take(self.read(force), owner, reason, seconds, now, {}, False, force)
            if not decision.granted:
                raise self.refusal("enable", decision.holder)
            # A renewal switches nothing, unless others are let in.
            before = (decision.document or {}).get("allow", [])
            lease = {**(decision.document or {}), "allow": let_in}
            if not check:
                self.switch.on(lease)
        return self.result(lease, decision.why != leases.MINE or before != let_in)

    def disable(self, owner: str, force: str = "", check: bool = False) -> Dict[str, Any]:
        """Switches maintenance off, if it is ``owner``'s or has expired."""
        with self.switch.alone():
            found = self.read(force)
            decision = leases.give_up(found, owner, self.clock(), force)
            if not decision.granted:
                raise self.refusal("disable", decision.holder)
            if found and not check:
                self.switch.off()
        return self.result(None, bool(found))

    def status(self) -> Dict[str, Any]:
        return self.result(self.read(""), False)

    def result(self, lease: Optional[Dict[str, Any]], changed: bool) -> Dict[str, Any]:
        shown = {key: text_of(value) if key in TIMES else value for key, value in (lease or {}).items()}
        overdue = bool(lease) and self.clock() >= (lease or {})["expires"]
        return {"changed": changed, "enabled": bool(lease), "overdue": overdue, "lease": shown}

    def refusal(self, verb: str, holder: Dict[str, Any]) -> OpsError:
        return OpsError(
            verb,
            f"maintenance of {self.switch.where}",
            f"{holder['owner']} has it on since {text_of(holder['since'])} for {holder['purpose']!r}, "
            f"until {text_of(holder['expires'])} at most",
            "Agree with them, or turn it with force and a reason.",
            lease={key: text_of(value) if key in TIMES else value for key, value in holder.items()},
        )
