# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""How checks read in a module's arguments. Nothing but data, for modules that seldom make any."""

from __future__ import annotations

from typing import Any, Dict, List

KINDS: List[str] = ["http", "tcp", "tls", "postgres", "prometheus", "kubernetes", "docker", "command", "logs"]

# Errors in logs, as people write them and as JSON has them.
PATTERN = r'(^|[^A-Za-z])(ERROR|FATAL|CRITICAL|PANIC|Traceback)|"(level|severity)": ?"(error|fatal|critical|panic)"'

STEP: Dict[str, Any] = {
    "name": {"type": "str"},
    "url": {"type": "str"},
    "host": {"type": "str"},
    "method": {"type": "str"},
    "headers": {"type": "dict"},
    "body": {"type": "str"},
    "body_json": {"type": "raw"},
    "status": {"type": "list", "elements": "int"},
    "json": {"type": "dict"},
    "body_matches": {"type": "str"},
    "headers_match": {"type": "dict"},
    "capture": {"type": "dict"},
    "warn_seconds": {"type": "float"},
    "fail_seconds": {"type": "float"},
}
TLS: Dict[str, Any] = {
    "validate_certs": {"type": "bool", "default": True},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path"},
}
HTTP: Dict[str, Any] = {
    **{key: value for key, value in STEP.items() if key not in ("name", "method", "status")},
    "method": {"type": "str", "default": "GET"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "bearer_token": {"type": "str", "no_log": True},
    "redirects": {"type": "str", "choices": ["refuse", "follow"], "default": "refuse"},
    "max_redirects": {"type": "int", "default": 5},
    "max_bytes": {"type": "int", "default": 1048576},
    "timeout": {"type": "float", "default": 5},
    "ip_version": {"type": "str", "choices": ["any", "4", "6"], "default": "any"},
    "warn_days": {"type": "float"},
    "fail_days": {"type": "float"},
    **TLS,
    "steps": {"type": "list", "elements": "dict", "options": STEP},
}
LIMITS: Dict[str, Any] = {
    "warn": {"type": "float"},
    "fail": {"type": "float"},
    "direction": {"type": "str", "choices": ["above", "below"], "default": "above"},
}
LIMITED: Dict[str, Any] = {"type": "dict", "options": LIMITS, "required_one_of": [("warn", "fail")]}
PROMETHEUS: Dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    **LIMITS,
    "any_value": {"type": "bool", "default": False},
    "unit": {"type": "str"},
    "series": {"type": "int", "default": 1},
    "window": {"type": "float", "default": 300},
    "min_window": {"type": "float", "default": 20},
    "step": {"type": "float"},
    "judge": {"type": "str", "choices": ["worst", "last", "mean"], "default": "worst"},
    "min_points": {"type": "int", "default": 1},
    "volume": {
        "type": "dict",
        "options": {"query": {"type": "str", "required": True}, "min": {"type": "float", "required": True}},
    },
    "baseline": {
        "type": "dict",
        "options": {"factor": {"type": "float", "default": 2}, "floor": {"type": "float", "required": True}},
    },
    "headers": {"type": "dict"},
    "bearer_token": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 10},
    "max_bytes": {"type": "int", "default": 8388608},
    **TLS,
}
LOGIN: Dict[str, Any] = {
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "path"},
    "login_db": {"type": "str", "default": "postgres"},
    "ssl_mode": {
        "type": "str",
        "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        "default": "prefer",
    },
    "ca_cert": {"type": "path"},
}
POSTGRES: Dict[str, Any] = {
    **LOGIN,
    "query": {"type": "str"},
    "query_limits": LIMITED,
    "connections_limits": LIMITED,
    "replication_lag_limits": LIMITED,
    "oldest_transaction_limits": LIMITED,
    "invalid_indexes": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 10},
}
CHECK: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "no_data": {"type": "str", "choices": ["fail", "warn", "pass"], "default": "fail"},
    "http": {"type": "dict", "options": HTTP},
    "tcp": {
        "type": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "timeout": {"type": "float", "default": 5},
            "ip_version": {"type": "str", "choices": ["any", "4", "6"], "default": "any"},
        },
    },
    "tls": {
        "type": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "ca_cert": {"type": "path"},
            "client_cert": {"type": "path"},
            "client_key": {"type": "path"},
            "warn_days": {"type": "float", "default": 30},
            "fail_days": {"type": "float", "default": 7},
            "timeout": {"type": "float", "default": 5},
        },
    },
    "postgres": {"type": "dict", "options": POSTGRES},
    "prometheus": {"type": "dict", "options": PROMETHEUS},
    "kubernetes": {
        "type": "dict",
        "options": {
            "workload": {"type": "str", "required": True},
            "kind": {"type": "str", "choices": ["Deployment", "StatefulSet", "DaemonSet"], "default": "Deployment"},
            "namespace": {"type": "str"},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
            "timeout": {"type": "float", "default": 30},
        },
    },
    "docker": {
        "type": "dict",
        "options": {
            "container": {"type": "str"},
            "project": {"type": "str"},
            "service": {"type": "str"},
            "docker_host": {"type": "str"},
            "timeout": {"type": "float", "default": 20},
        },
        "required_one_of": [("container", "service")],
        "required_together": [("project", "service")],
        "mutually_exclusive": [("container", "service")],
    },
    "command": {
        "type": "dict",
        "options": {
            "argv": {"type": "list", "elements": "str", "required": True},
            "rc": {"type": "list", "elements": "int", "default": [0]},
            "stdout_matches": {"type": "str"},
            "env": {"type": "dict"},
            "chdir": {"type": "path"},
            "timeout": {"type": "float", "default": 60},
        },
    },
    "logs": {
        "type": "dict",
        "mutually_exclusive": [["argv", "pods"]],
        "required_one_of": [["argv", "pods"]],
        "options": {
            "argv": {"type": "list", "elements": "str"},
            "pods": {
                "type": "dict",
                "options": {
                    "selector": {"type": "str", "required": True},
                    "namespace": {"type": "str"},
                    "kubeconfig": {"type": "path"},
                    "context": {"type": "str"},
                    "since": {"type": "str"},
                },
            },
            "pattern": {"type": "str", "default": PATTERN},
            "most": {"type": "int", "default": 10},
            "window": {"type": "float", "default": 60},
            "chdir": {"type": "path"},
            "timeout": {"type": "float", "default": 60},
        },
    },
}
# How the argument "checks" reads in a module.
CHECKS: Dict[str, Any] = {
    "type": "list",
    "elements": "dict",
    "options": CHECK,
    "mutually_exclusive": [KINDS],
    "required_one_of": [KINDS],
}
# How the argument "monitor" reads in a module.
MONITOR: Dict[str, Any] = {
    "checks": {**CHECKS, "default": []},
    "interval": {"type": "float", "default": 5},
    "consecutive": {"type": "int", "default": 2},
    "bake": {"type": "int", "default": 0},
    "since": {"type": "float"},
}
