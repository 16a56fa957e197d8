# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The order that dependencies ask for."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence


class Cycle(ValueError):
    """Services that depend on each other; ``names`` begins and ends with the same one."""

    def __init__(self, names: List[str]) -> None:
        super().__init__(" -> ".join(names))
        self.names = names


def ordered(depends_on: Mapping[str, Sequence[str]]) -> List[str]:
    """The names, each after all that it depends on, otherwise in the order given. Names outside are ignored.

    :raises Cycle: when there is no such order.
    """
    done: Dict[str, bool] = {}
    result: List[str] = []
    for first in depends_on:
        # Not recursive: a chain of services may be longer than Python's stack.
        path: List[str] = []
        todo = [(first, False)]
        while todo:
            name, leaving = todo.pop()
            if leaving:
                done[name] = True
                path.pop()
                result.append(name)
            elif name not in done:
                done[name] = False
                path.append(name)
                todo.append((name, True))
                todo += [(other, False) for other in reversed(depends_on[name]) if other in depends_on]
            elif not done[name] and name in path:
                raise Cycle([*path[path.index(name) :], name])
    return result
