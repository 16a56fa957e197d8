"""Tiny images for tests: a static busybox that serves its version, or misbehaves. Made once a machine."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

RECIPE = "1"

SERVE = """\
#!/bin/sh
# What a container does is said by its image: FAULT.
case "$FAULT" in
  crash) echo "boom: no configuration"; exit 3 ;;
  job) echo "job done"; exit 0 ;;
  badjob) echo "job failed"; exit 7 ;;
esac
mkdir -p /www/cgi-bin
echo "$VERSION" > /www/version
[ "$FAULT" = unready ] || echo ok > /www/health
trap 'sleep 1; exit 0' TERM
httpd -f -p 8080 -h /www &
wait $!
"""
DOCKERFILE = """\
FROM scratch
COPY bin /bin
COPY serve /serve
ARG VERSION
ARG FAULT
ENV VERSION=${VERSION} FAULT=${FAULT} PATH=/bin
RUN ["/bin/busybox", "--install", "-s", "/bin"]
STOPSIGNAL SIGTERM
CMD ["/bin/sh", "/serve"]
"""


def tiny(registry: str, version: str, fault: str = "") -> str:
    """An image in the registry whose container serves /version and /health on port 8080; made when missing."""
    image = f"{registry}/t/tiny:{RECIPE}-{version}{f'-{fault}' if fault else ''}"
    with open(Path(tempfile.gettempdir()) / "eazepay-test-images.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = ["docker", "manifest", "inspect", "--insecure", image]
        if subprocess.run(there, check=False, capture_output=True).returncode == 0:
            return image
        made(image, version, fault)
        subprocess.run(["docker", "push", "--quiet", image], check=True, capture_output=True, text=True)
    return image


def made(image: str, version: str, fault: str = "", host: str = "") -> str:
    """Builds a tiny image under a name, on this machine's engine or another."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "bin").mkdir()
        shutil.copy2("/bin/busybox", folder / "bin" / "busybox")
        (folder / "serve").write_text(SERVE)
        (folder / "Dockerfile").write_text(DOCKERFILE)
        argv = ["docker", *(["--host", host] if host else []), "build", "--quiet", "--network", "none", "--tag", image]
        argv += ["--build-arg", f"VERSION={version}", "--build-arg", f"FAULT={fault}", scratch]
        subprocess.run(argv, check=True, capture_output=True, text=True)
    return image


TYPEORM = """\
ARG BASE
FROM ${BASE}
COPY node /usr/local/bin/node
COPY node_modules /app/node_modules
COPY service /app/service
WORKDIR /app/service
"""


def typeorm(sandbox: dict[str, str], service: Path) -> str:
    """A release's image that holds a service's migrations and TypeORM to run them; made when missing."""
    found = hashlib.sha256(TYPEORM.encode())
    for file in sorted(path for path in service.rglob("*") if path.is_file()):
        found.update(str(file.relative_to(service)).encode() + file.read_bytes())
    image = f"{sandbox['REGISTRY']}/t/typeorm:{found.hexdigest()[:12]}"
    with open(Path(tempfile.gettempdir()) / "eazepay-test-images.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = ["docker", "manifest", "inspect", "--insecure", image]
        if subprocess.run(there, check=False, capture_output=True).returncode == 0:
            return image
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            node = shutil.which("node")
            assert node, "Node is missing: run `make sandbox-up`"
            shutil.copy2(node, folder / "node")
            shutil.copytree(Path(sandbox["SANDBOX_DIR"], "node_modules"), folder / "node_modules", symlinks=True)
            shutil.copytree(service, folder / "service")
            (folder / "Dockerfile").write_text(TYPEORM)
            base = f"BASE={sandbox['REGISTRY']}/sandbox/base:1"
            argv = ["docker", "build", "--quiet", "--build-arg", base, "-t", image, scratch]
            subprocess.run(argv, check=True, capture_output=True, text=True)
        subprocess.run(["docker", "push", "--quiet", image], check=True, capture_output=True, text=True)
    return image
