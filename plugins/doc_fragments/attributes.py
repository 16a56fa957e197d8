# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # What every module of the collection promises.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Computes and returns what it would do, and touches nothing.
  diff_mode:
    support: full
    description: Returns what differs, or what would, in diff mode.
  idempotent:
    support: full
    description: The second run changes nothing.
"""

    PROGRESS = r"""
options:
  progress_file:
    description:
      - File on the target to which progress is appended while the module works, one JSON object a line.
      - The action plugin of the same name sets it and shows the lines as they come; there is rarely a reason to set it.
    type: path
"""
