# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What can be known to go wrong before anything is touched."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .api import CONFIG_MAPS, QUOTAS, SECRETS, SERVICE_ACCOUNTS, Api, ApiError, Resource
from .types import Cause, Problem, Service, Step

Json = Dict[str, Any]

# How many of a unit one is, for the quantities of quotas.
UNITS = {
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}


def immovable(workload: Json) -> str:
    """Why changing the template would bring nothing about, in words; empty when it would."""
    spec = workload.get("spec") or {}
    if spec.get("paused"):
        return "it is paused: resume it first (kubectl rollout resume)"
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return "its update strategy is OnDelete, so that it never replaces a pod by itself"
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    replicas = spec.get("replicas", 1)
    if workload.get("kind") == "StatefulSet" and replicas and partition >= replicas:
        return f"its partition of {partition} keeps all {replicas} pods at the old template"
    return ""


def gone(service: Service) -> Cause:
    return Cause("driver", f"{service.object} was deleted meanwhile")


def references(template: Mapping[str, Any]) -> Iterator[Tuple[str, str, str]]:
    """The (kind, name, key) that a pod template cannot do without; the key may be empty."""
    spec = template.get("spec") or {}
    if spec.get("serviceAccountName"):
        yield "ServiceAccount", spec["serviceAccountName"], ""
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for source in container.get("envFrom") or ():
            for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if source.get(key) and not source[key].get("optional"):
                    yield kind, source[key].get("name", ""), ""
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if source.get(key) and not source[key].get("optional"):
                    yield kind, source[key].get("name", ""), source[key].get("key", "")
    for volume in spec.get("volumes") or ():
        for part in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
            for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                source = part.get(key)
                if source and not source.get("optional"):
                    name = source.get("secretName") or source.get("name", "")
                    items = [item.get("key", "") for item in source.get("items") or ()] or [""]
                    for item in items:
                        yield kind, name, item


def quantity(text: Any) -> float:
    """A quantity as a number.

    :raises ValueError: it is none.
    """
    said = str(text).strip()
    unit = said.lstrip("+-0123456789.")
    if unit[:1] in ("e", "E") and len(unit) > 1 and unit not in UNITS:
        return float(said)
    return float(said[: len(said) - len(unit)]) * UNITS[unit]


def pod_needs(template: Mapping[str, Any]) -> Dict[str, float]:
    """What one pod counts for in a quota."""
    needs: Dict[str, float] = {"pods": 1.0, "count/pods": 1.0}
    for container in (template.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        for group in ("requests", "limits"):
            for name, value in (resources.get(group) or {}).items():
                needs[f"{group}.{name}"] = needs.get(f"{group}.{name}", 0.0) + quantity(value)
                if group == "requests":
                    needs[name] = needs[f"{group}.{name}"]
    return needs


def must_surge(workload: Json) -> bool:
    """Whether the first new pod comes before any old one goes."""
    spec = workload.get("spec") or {}
    if workload.get("kind") != "Deployment" or (spec.get("strategy") or {}).get("type") == "Recreate":
        return False
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    allowed = rolling.get("maxUnavailable", "25%")
    replicas = spec.get("replicas", 1)
    number = int(replicas * int(allowed[:-1]) / 100) if str(allowed).endswith("%") else int(allowed)
    return replicas > 0 and number == 0


def short_of(quota: Json, needs: Mapping[str, float]) -> List[str]:
    """What of a quota does not suffice for one more pod, in words."""
    status = quota.get("status") or {}
    if (quota.get("spec") or {}).get("scopes") or (quota.get("spec") or {}).get("scopeSelector"):
        return []
    missing = []
    for name, hard in (status.get("hard") or {}).items():
        used = (status.get("used") or {}).get(name, "0")
        if name in needs and quantity(used) + needs[name] > quantity(hard) + 1e-9:
            missing.append(f"{name} ({used} of {hard} used)")
    return missing


def preflight(api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]]) -> List[Problem]:
    """All that is wrong with what the steps name and need."""
    if not acting:
        return []
    problems: List[Problem] = []
    known: Dict[Tuple[str, str], Any] = {}
    quotas = _tried(lambda: api.list(QUOTAS)[0])
    for step, template, workload in acting:
        problems += _references(api, step, template, known)
        if workload is None:
            continue
        if workload.get("spec", {}).get("replicas") == 0:
            problems.append(Problem(step.name, "no_replicas", "it has no replicas: nothing will prove it", False))
        if isinstance(quotas, ApiError):
            continue
        for quota in quotas if must_surge(workload) else ():
            missing = short_of(quota, pod_needs(template))
            if missing:
                text = f"quota {quota['metadata']['name']} has no room for one more pod: {', '.join(missing)}"
                problems.append(Problem(step.name, "quota", text))
    if isinstance(quotas, ApiError):
        problems.append(Problem("", "unchecked", f"quotas were not checked: {quotas.message}", False))
    problems += _budgets(api, acting)
    return problems


def _references(api: Api, step: Step, template: Json, known: Dict[Tuple[str, str], Any]) -> List[Problem]:
    resources: Dict[str, Resource] = {
        "Secret": SECRETS,
        "ConfigMap": CONFIG_MAPS,
        "ServiceAccount": SERVICE_ACCOUNTS,
    }
    problems: List[Problem] = []
    told: Set[str] = set()
    for kind, name, key in references(template):
        if (kind, name) not in known:
            known[kind, name] = _tried(lambda kind=kind, name=name: _keys(api.get(resources[kind], name)))  # type: ignore[misc]
        found = known[kind, name]
        if isinstance(found, ApiError):
            missing = found.status == 404
            text = f"{kind} {name} does not exist" if missing else f"{kind} {name} was not checked: {found.message}"
            problem = Problem(step.name, "config_missing" if missing else "unchecked", text, missing)
        elif key and key not in found:
            problem = Problem(step.name, "config_missing", f"{kind} {name} has no key {key}")
        else:
            continue
        if problem.text not in told:
            told.add(problem.text)
            problems.append(problem)
    return problems


def _keys(thing: Json) -> Set[str]:
    # The values of secrets are none of our business: only names leave this function.
    return {*(thing.get("data") or {}), *(thing.get("binaryData") or {})}


def _budgets(api: Api, acting: Sequence[Tuple[Step, Json, Optional[Json]]]) -> List[Problem]:
    """Budgets that are overdrawn already. They bind evictions, not rollouts: worth a word, not a stop."""
    groups = _tried(lambda: api.json("GET", "/apis/policy"))
    if isinstance(groups, ApiError):
        return []
    path = f"/apis/{groups['preferredVersion']['groupVersion']}"
    budgets = _tried(lambda: api.list(Resource(path, "poddisruptionbudgets", "PodDisruptionBudget"))[0])
    if isinstance(budgets, ApiError):
        return []
    problems = []
    for step, template, dummy in acting:
        labels = (template.get("metadata") or {}).get("labels") or {}
        for budget in budgets:
            wanted = ((budget.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
            status = budget.get("status") or {}
            if (
                wanted
                and all(labels.get(key) == value for key, value in wanted.items())
                and status.get("currentHealthy", 0) < status.get("desiredHealthy", 0)
            ):
                text = (
                    f"PodDisruptionBudget {budget['metadata']['name']} is overdrawn already: "
                    f"{status.get('currentHealthy', 0)} of {status.get('desiredHealthy', 0)} pods are healthy"
                )
                problems.append(Problem(step.name, "budget", text, False))
    return problems


def _tried(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ApiError as error:
        return error
