"""What an inventory says of migrations, as the role migrate gets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def services(inventory, **variables):
    program = Path(sys.executable).with_name("ansible")
    argv = [program, "control", "-i", f"inventories/{inventory}", "--playbook-dir", "playbooks", "-m", "debug"]
    argv += ["-a", "msg=<{{ migrate_services | to_json }}>", "-e", json.dumps({"release": "v1.1.0", **variables})]
    done = subprocess.run(argv, check=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    found = re.search(r"<(\[.*\])>", " ".join(done.stdout.split()))
    assert found, done.stdout
    return {one["name"]: one for one in json.loads(found.group(1))}


def test_in_a_folder_of_the_releases_files_or_in_the_image_of_the_release(sandbox):
    local = services("local")
    assert local["wallet"]["directory"].endswith("/v1.1.0/services/wallet-service") and "image" not in local["wallet"]
    settings = {"runner": "kubernetes", "chdir": "/app"}
    digests = {"wallet": f"{sandbox['REGISTRY']}/eazepay/wallet-service@sha256:1"}
    job = services("staging", eazepay_migrations=settings, images_digests=digests)["wallet"]
    assert job == {
        "name": "wallet", "database": "wallet", "runner": "kubernetes", "chdir": "/app", "image": digests["wallet"],
        "workload": "wallet-service", "kind": "Deployment",
    }  # fmt: skip
