# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How every module of the collection ends: with a result, or with one clear error and never a traceback."""

from __future__ import annotations

import signal
import traceback
from typing import Any, Callable, Dict

from ansible.module_utils.basic import missing_required_lib

from .errors import MissingLibrary, OpsError
from .redact import Redactor


class Interrupted(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. Only what puts back should catch it, and then raise it again."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def interrupt_on_signals() -> None:
    """Turns the signals that ask a process to end into ``Interrupted``, so that ``finally`` blocks run."""

    def interrupt(signum: int, frame: Any) -> None:
        # The second one must not interrupt the putting back.
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(signum)

    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, interrupt)


def run(module: Any, function: Callable[[], Dict[str, Any]], secrets: Any = ()) -> None:
    """Calls ``function`` and ends the module with what it returns.

    :param function: returns the result; ``changed`` and ``diff`` included.
    :param secrets: values that must not show in any message or result.
    """
    redactor = Redactor(secrets)
    interrupt_on_signals()
    try:
        result = function()
    except MissingLibrary as missing:
        module.fail_json(msg=missing_required_lib(missing.library), exception=missing.trace)
    except OpsError as error:
        result = dict(error.result)
        result.setdefault("changed", False)
        module.fail_json(msg=redactor.text(error.message), **redactor.value(result))
    except Interrupted as signalled:
        module.fail_json(
            msg=f"Interrupted by {signalled}. Run the same task again: it takes up where this one stopped."
        )
    except Exception as error:
        # A defect of ours: the user gets one sentence, and the place in `exception`, which shows with -vvv only.
        module.fail_json(
            msg=redactor.text(
                f"Failed for an unforeseen reason: {type(error).__name__}: {error}. Please report it, with -vvv."
            ),
            exception=redactor.text(traceback.format_exc()),
        )
    module.exit_json(**redactor.value(result) if secrets else result)
