# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The names that amazon.aws gives its options.
    DOCUMENTATION = r"""
options:
  endpoint_url:
    description:
      - Address of the service, where it is not AWS itself. The environment variable E(AWS_ENDPOINT_URL) serves too.
    type: str
    aliases: [aws_endpoint_url]
  region:
    description: AWS region; without it E(AWS_DEFAULT_REGION), the profile, or V(us-east-1).
    type: str
    aliases: [aws_region]
  access_key:
    description: Access key. Without it boto3 looks in the environment, the profile and the machine's role.
    type: str
    aliases: [aws_access_key_id, aws_access_key]
  secret_key:
    description: Secret key of O(access_key).
    type: str
    aliases: [aws_secret_access_key, aws_secret_key]
  session_token:
    description: Session token, for temporary credentials.
    type: str
    aliases: [aws_session_token]
  profile:
    description: Profile of the AWS configuration files.
    type: str
    aliases: [aws_profile]
  validate_certs:
    description: Whether certificates are checked.
    type: bool
    default: true
requirements:
  - boto3 >= 1.36
"""
