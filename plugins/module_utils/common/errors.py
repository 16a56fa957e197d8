# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one exception family of the collection: what failed, why, and what to type next."""

from __future__ import annotations

from typing import Any, Dict


class OpsError(Exception):
    """Failed to *verb* *object*: *cause*. *remedy*.

    :param verb: what was tried, as in "back up" or "roll out".
    :param object: what it was tried on.
    :param cause: the root cause, without a final stop.
    :param remedy: a sentence with what to do or type next; may be empty.
    :param result: what is already known (partial results); a module returns it beside the message.
    """

    def __init__(self, verb: str, object: str, cause: str, remedy: str = "", **result: Any) -> None:
        self.verb = verb
        self.object = object
        self.cause = cause.strip().rstrip(".")
        self.remedy = remedy.strip()
        self.result: Dict[str, Any] = result
        super().__init__(self.message)

    @property
    def message(self) -> str:
        said = f"Failed to {self.verb} {self.object}: {self.cause}."
        return f"{said} {self.remedy}" if self.remedy else said


class InputError(OpsError):
    """An option that cannot be right; raised before anything is touched."""

    def __init__(self, option: str, cause: str, remedy: str = "") -> None:
        super().__init__("accept", f"option {option!r}", cause, remedy or "Nothing was touched.")
        self.option = option


class MissingLibrary(Exception):
    """A Python library that this host lacks; a module turns it into Ansible's own message.

    :param library: the name to install.
    :param trace: the traceback of the import.
    """

    def __init__(self, library: str, trace: str = "") -> None:
        super().__init__(library)
        self.library = library
        self.trace = trace
