# Copyright (c) 2026 The eazepay.ops authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The names that community.postgresql gives its options, and what every module here needs besides.
    DOCUMENTATION = r"""
options:
  login_host:
    description: Host of the server itself; a transaction pooler is refused. Without it E(PGHOST), or the local
      socket.
    type: str
    aliases: [host]
  login_port:
    description: Port of the server; without it E(PGPORT), or 5432.
    type: int
    aliases: [port]
  login_user:
    description: Role to work as; it owns the databases or is a superuser. Without it E(PGUSER), or the system's
      user.
    type: str
  login_password:
    description:
      - Password of the role. PostgreSQL's programs get it through a file that nobody else can read, never on
        a command line.
      - Without it E(PGPASSWORD) and the user's password file serve.
    type: str
  login_unix_socket:
    description: Folder of the server's Unix socket, instead of O(login_host).
    type: path
    aliases: [unix_socket]
  login_db:
    description: Database to connect to for the work that belongs to no database. The locks live in it.
    type: str
    default: postgres
  ssl_mode:
    description: How TLS is used, as libpq says it.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
    aliases: [sslmode]
  ca_cert:
    description: File of the authorities that may have signed the server's certificate.
    type: path
    aliases: [ssl_rootcert]
  lock_timeout:
    description:
      - Seconds to wait while another run has the database. Backup, migration and restore of one database exclude
        each other.
    type: float
    default: 0
  lock_wait_timeout:
    description: Seconds to wait for a lock on a table that somebody else holds.
    type: float
    default: 30
  bin_dir:
    description:
      - Folder of PostgreSQL's programs. Without it they are looked for in the folders of the distributions
        and on E(PATH);
        only those of the server's own major version are used.
    type: path
requirements:
  - psycopg2
"""
