# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # A cluster.
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - A kubeconfig file on the host that runs the module. E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG) and C(~/.kube/config)
        are used otherwise, and the pod's own account where there is none of them.
    type: path
  context:
    description: The context of the kubeconfig. E(K8S_AUTH_CONTEXT) or its current one by default.
    type: str
"""

    # Where services run: in a namespace of a cluster, or as a Compose project.
    SERVICES = r"""
options:
  kubeconfig:
    description:
      - A kubeconfig file on the host that runs the module. E(K8S_AUTH_KUBECONFIG), E(KUBECONFIG) and C(~/.kube/config)
        are used otherwise, and the pod's own account where there is none of them.
    type: path
  context:
    description: The context of the kubeconfig. E(K8S_AUTH_CONTEXT) or its current one by default.
    type: str
  namespace:
    description: The namespace of the services. The context's own by default.
    type: str
  compose:
    description: The Compose project, for services that run on Compose.
    type: dict
    suboptions:
      project_src:
        description: The project's folder.
        type: path
        required: true
      project_name:
        description: The project's name.
        type: str
      files:
        description: The Compose files, relative to the folder.
        type: list
        elements: str
        default: []
      env_files:
        description: Environment files for the interpolation, relative to the folder.
        type: list
        elements: str
        default: []
      profiles:
        description: Profiles to enable.
        type: list
        elements: str
        default: []
      docker_host:
        description: The engine's address.
        type: str
"""
