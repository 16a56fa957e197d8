# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The options by which modules say where something runs, as ``doc_fragments/targets.py`` documents them."""

from __future__ import annotations

from typing import Any, Dict

CLUSTER_SPEC: Dict[str, Any] = {"kubeconfig": {"type": "path"}, "context": {"type": "str"}}

SERVICES_SPEC: Dict[str, Any] = {
    **CLUSTER_SPEC,
    "namespace": {"type": "str"},
    "compose": {
        "type": "dict",
        "options": {
            "project_src": {"type": "path", "required": True},
            "project_name": {"type": "str"},
            "files": {"type": "list", "elements": "str", "default": []},
            "env_files": {"type": "list", "elements": "str", "default": []},
            "profiles": {"type": "list", "elements": "str", "default": []},
            "docker_host": {"type": "str"},
        },
    },
}
