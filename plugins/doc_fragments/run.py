# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every callback that follows a run has to know of it."""

from __future__ import annotations


class ModuleDocFragment:
    """Facts by which a run says how far it is."""

    DOCUMENTATION = r"""
options:
  step_fact:
    description: The fact that says which step a run is in.
    type: str
    default: run_step
    ini:
      - {section: callback_run, key: step_fact}
    env:
      - {name: ANSIBLE_RUN_STEP_FACT}
"""
