# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is to be done to each service, and why. Pure: from what is asked for and what is found, to steps."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import InputError, OpsError

from .images import parse, short
from .order import Cycle, ordered
from .types import ADOPT, NONE, RESTART, ROLL, Plan, Revision, Service, State, Step


def services(raw: Iterable[Mapping[str, Any]], restart_token: Optional[str] = None) -> List[Service]:
    """The services as a caller's dictionaries describe them, checked without looking at any target.

    :raises InputError: a duplicate, an unknown or circular dependency, an image that does not parse.
    """
    found: Dict[str, Service] = {}
    wrong: List[str] = []
    for one in raw:
        name = one["name"]
        if name in found:
            wrong.append(f"{name} is given twice")
            continue
        images = dict(one.get("images") or {})
        if one.get("image"):
            images.setdefault("", one["image"])
        for container, image in images.items():
            try:
                parse(str(image))
            except ValueError as error:
                wrong.append(f"{name}{f' (container {container})' if container else ''}: {error}")
        found[name] = Service(
            name=name,
            workload=one.get("workload") or name,
            kind=one.get("kind") or "Deployment",
            images=images,
            depends_on=tuple(one.get("depends_on") or ()),
            restart_token=one.get("restart_token") or restart_token,
            to_revision=one.get("to_revision"),
        )
    workloads: Dict[Tuple[str, str], str] = {}
    for service in found.values():
        other = workloads.setdefault((service.kind, service.workload), service.name)
        if other != service.name:
            wrong.append(f"{other} and {service.name} are both {service.object}")
        for needed in service.depends_on:
            if needed not in found:
                wrong.append(f"{service.name} depends on {needed}, which is not among the services")
    if wrong:
        raise InputError("services", "; ".join(wrong))
    try:
        ordered({service.name: service.depends_on for service in found.values()})
    except Cycle as cycle:
        raise InputError("services", f"they depend on each other in a circle: {cycle}") from None
    return list(found.values())


def plan(
    wanted: Sequence[Service],
    states: Mapping[str, State],
    state: str = "deployed",
    release: str = "",
    *,
    histories: Optional[Mapping[str, Sequence[Revision]]] = None,
    to_revision: Optional[int] = None,
) -> Plan:
    """One step a service, in an order that respects the dependencies.

    :param state: deployed, restarted, rolled_back or observed.
    :param histories: for rolled_back, what each service can go back to.
    :raises OpsError: anything about any service that makes the plan impossible; all of it in one message.
    """
    by_name = {service.name: service for service in wanted}
    steps: List[Step] = []
    wrong: List[str] = []
    for name in ordered({service.name: service.depends_on for service in wanted}):
        service, found = by_name[name], states.get(name) or State(name, exists=False)
        try:
            if not found.exists:
                raise ValueError(found.problem or "there is no such workload")
            if state == "observed":
                step = Step(service, NONE, "only looked at", found, found.images, found.restart_token)
            elif state == "restarted":
                step = _restarted(service, found, release)
            elif state == "rolled_back":
                step = _rolled_back(service, found, release, (histories or {}).get(name) or (), to_revision)
            else:
                step = _deployed(service, found, release)
            if step.acts and found.problem:
                raise ValueError(found.problem)
        except ValueError as error:
            wrong.append(f"{name} ({service.object}): {error}")
            continue
        steps.append(step)
    if wrong:
        raise OpsError("plan", "the rollout", "; ".join(wrong), "Nothing was touched.")
    return Plan(tuple(steps))


def named_images(service: Service, found: State) -> Dict[str, str]:
    """Every container's image afterwards.

    :raises ValueError: a container that the workload does not have, or that has to be named.
    """
    images = dict(found.images)
    for container, image in service.images.items():
        images[_container(container, service, found)] = image
    return images


def _container(container: str, service: Service, found: State) -> str:
    if container:
        if container not in found.images:
            raise ValueError(f"it has no container {container}, only {', '.join(found.images) or 'none'}")
        return container
    main = found.main or tuple(found.images)
    if len(main) == 1:
        return main[0]
    for name in (service.workload, service.name):
        if name in main:
            return name
    raise ValueError(f"say which container the image is for: it has {', '.join(main)}")


def _deployed(service: Service, found: State, release: str) -> Step:
    images = named_images(service, found)
    token = service.restart_token if service.restart_token is not None else found.restart_token
    differing = [container for container in images if images[container] != found.images.get(container)]
    if not differing and token == found.restart_token:
        return _in_place(service, found, release)
    changes = [f"{_from_to(found.images.get(container, ''), images[container])}" for container in differing]
    if token != found.restart_token:
        changes.append(f"restart {token}")
    return Step(
        service,
        ROLL if differing else RESTART,
        ", ".join(dict.fromkeys(changes)),
        found,
        images,
        token,
        back=_back(found),
        release=release,
    )


def _in_place(service: Service, found: State, release: str) -> Step:
    """Nothing to write; but what is still rolling, or was left by a run that never ended, is awaited."""
    if found.unfinished is not None:
        reason, back = "already in place, left by a run that did not end: awaited", found.unfinished
    elif not found.settled:
        # Not ours: were it to fail, the state before this run is this very state.
        reason, back = "already in place, still rolling: awaited", None
    else:
        return Step(service, NONE, "nothing differs", found, found.images, found.restart_token, release=release)
    return Step(service, ADOPT, reason, found, found.images, found.restart_token, back=back, release=release)


def _restarted(service: Service, found: State, release: str) -> Step:
    token = service.restart_token or release
    if not token:
        raise ValueError("a restart needs a restart_token (or a release), so that the second run restarts nothing")
    if token == found.restart_token:
        return _in_place(service, found, release)
    return Step(service, RESTART, f"restart {token}", found, found.images, token, back=_back(found), release=release)


def _rolled_back(
    service: Service, found: State, release: str, history: Sequence[Revision], to_revision: Optional[int]
) -> Step:
    number = service.to_revision if service.to_revision is not None else to_revision
    past = [one for one in history if not one.current]
    target: Optional[Revision] = None
    if number is not None:
        target = next((one for one in history if one.revision == str(number)), None)
        if target is None:
            raise ValueError(f"it has no revision {number}; {_listed(history)}")
    elif service.images:
        images = named_images(service, found)
        target = next((one for one in history if dict(one.images) == images), None)
        if target is None:
            return _deployed(service, found, release)
    elif release:
        # The current one counts: then there is nothing to do.
        target = next((one for one in history if one.release == release), None)
        if target is None:
            raise ValueError(f"no revision was released as {release}; {_listed(history)}")
    elif found.unfinished is not None:
        target = Revision("", found.unfinished_images, found.unfinished_release, found.unfinished)
    else:
        raise ValueError(f"say where to: to_revision, release or image; {_listed(past)}")
    if target.current:
        return _in_place(service, found, release or target.release)
    where = f"revision {target.revision}" if target.revision else "before the run that did not end"
    main = next(iter(found.main or tuple(found.images)), "")
    return Step(
        service,
        ROLL,
        f"back to {where}: {_from_to(found.images.get(main, ''), target.images.get(main, ''))}",
        found,
        dict(target.images),
        found.restart_token,
        target=target.snapshot,
        back=found.snapshot,
        release=target.release,
    )


def _back(found: State) -> Any:
    # What a run that died left behind is half rolled and unproven: what was before it is the last good state.
    return found.unfinished if found.unfinished is not None else found.snapshot


def _from_to(before: str, after: str) -> str:
    short_before, short_after = short(before), short(after)
    if short_before == short_after:
        return f"{before} -> {after}"
    return f"{short_before} -> {short_after}"


def _listed(history: Sequence[Revision]) -> str:
    if not history:
        return "no earlier revision is kept"
    known = "; ".join(
        f"{one.revision}: {one.release or ', '.join(short(image) for image in one.images.values())}"
        for one in history[:10]
    )
    return f"known revisions are {known}"
