"""What the cluster needs of the machine's network: iptables, a route for the Services, and nothing left afterwards."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sandbox.box import SandboxError, run

SERVICES = "10.96.0.0/16"
COMMANDS = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
TABLES = ("nat", "filter", "mangle")
# kube-proxy's own kinds of rules: a backend whose kernel modules are missing fails on the first.
PROBE = (
    "-m comment --comment x -m statistic --mode random --probability 0.5 -j MARK --or-mark 0x4000",
    "-m mark --mark 0x4000/0x4000 -j MASQUERADE",
    "-p tcp -m tcp --dport 1 -j DNAT --to-destination 192.0.2.1:1",
    "-m addrtype --dst-type LOCAL -j RETURN",
)


def works(iptables: str, chain: str = "EAZEPAY-PROBE") -> bool:
    """Whether the kernel takes kube-proxy's rules from this iptables. The chain is never reached by a packet."""

    def ask(*words: str) -> bool:
        return run([iptables, "-w", "5", "-t", "nat", *words], check=False).returncode == 0

    if not ask("-N", chain):
        return False
    try:
        return all(ask("-A", chain, *rule.split()) for rule in PROBE)
    finally:
        ask("-F", chain)
        ask("-X", chain)


def backend() -> str:
    """`-legacy` where its rules work, as what kube-proxy of that age was made for; otherwise the machine's default."""
    for suffix in ("-legacy", ""):
        path = shutil.which(f"iptables{suffix}")
        if path and works(path):
            return suffix
    raise SandboxError("iptables does not take kube-proxy's rules: the kernel lacks a module, or this is not root")


def link(folder: Path) -> None:
    """A folder for PATH in which iptables is the backend that works."""
    suffix = backend()
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        head, _, tail = name.partition("-")
        path = shutil.which(f"{head}{suffix}" + (f"-{tail}" if tail else ""))
        place = folder / name
        place.unlink(missing_ok=True)
        if path:
            place.symlink_to(path)


def route() -> None:
    """Service addresses stay on this machine even while kube-proxy does not run; else another host might answer."""
    run(["ip", "route", "replace", SERVICES, "dev", "docker0"])


def unroute() -> None:
    run(["ip", "route", "del", SERVICES, "dev", "docker0"], check=False)


def without_cluster(saved: str) -> str:
    """Input for `iptables-restore --noflush` that takes the cluster's chains out of one saved table."""
    table = next((line for line in saved.splitlines() if line.startswith("*")), "")
    chains = re.findall(r"^:(KUBE-\S+)", saved, re.MULTILINE)
    if not table or not chains:
        return ""
    jumps = [line for line in saved.splitlines() if re.match(r"-A (?!KUBE-)\S+ .*-j KUBE-", line)]
    return "\n".join(
        [
            table,
            *(f":{chain} - [0:0]" for chain in chains),  # with --noflush this empties a chain
            *(jump.replace("-A", "-D", 1) for jump in jumps),
            *(f"-X {chain}" for chain in chains),
            "COMMIT\n",
        ]
    )


def clean() -> None:
    """Removes the rules of kube-proxy and kubelet from each backend that the machine has."""
    for family in ("iptables", "ip6tables"):
        for suffix in ("-legacy", "-nft"):
            save, restore = (shutil.which(f"{family}{suffix}-{word}") for word in ("save", "restore"))
            if not (save and restore):
                continue
            for table in TABLES:
                asked = run([save, "-t", table], check=False)
                wanted = without_cluster(asked.stdout) if asked.returncode == 0 else ""
                if wanted:
                    run([restore, "--wait=5", "--noflush"], input=wanted)
