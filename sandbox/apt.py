"""Sources of another Debian suite, derived from the machine's own: no address stands in the project."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.box import SandboxError

APT = Path("/etc/apt")


@dataclass
class Source:
    """One entry of apt's sources."""

    types: list[str]
    uris: list[str]
    suites: list[str]
    components: list[str]
    options: dict[str, str] = field(default_factory=dict)  # by deb822's names, such as Signed-By


def parse_list(text: str) -> list[Source]:
    """Entries of the one-line format."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            kind, options, uri, suite, components = match.groups()
            pairs = (word.partition("=")[::2] for word in (options or "").split())
            named = {"-".join(part.capitalize() for part in name.split("-")): value for name, value in pairs}
            found.append(Source([kind], [uri], [suite], components.split(), named))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Entries of the stanza format."""
    found = []
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace() and name:
                fields[name] += "\n" + line.rstrip()
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if "URIs" in fields and fields.get("Enabled", "yes").lower() not in ("no", "false"):
            words = [fields.pop(key, "").split() for key in ("Types", "URIs", "Suites", "Components")]
            fields.pop("Enabled", None)
            found.append(Source(words[0], words[1], words[2], words[3], fields))
    return found


def machine_sources(apt: Path = APT) -> list[Source]:
    found = []
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.is_file() and file.suffix in (".list", ".sources"):
            parse = parse_deb822 if file.suffix == ".sources" else parse_list
            found += parse(file.read_text())
    return found


def render(source: Source) -> str:
    lines = [
        f"Types: {' '.join(source.types)}",
        f"URIs: {' '.join(source.uris)}",
        f"Suites: {' '.join(source.suites)}",
        f"Components: {' '.join(source.components)}",
        *(f"{name}: {value}" for name, value in source.options.items()),
    ]
    return "\n".join(lines) + "\n"


def other_suite(sources: list[Source], codename: str, suite: str, kind: str = "deb") -> Source:
    """The machine's Debian mirror, for another suite. It is the entry that serves `codename` itself with `main`."""
    for source in sources:
        if codename in source.suites and "main" in source.components and "deb" in source.types:
            return Source([kind], source.uris[:1], [suite], ["main"], source.options)
    raise SandboxError(f"apt's sources name no Debian mirror for {codename}, so nothing can be fetched from {suite}")


def codename(os_release: Path = Path("/etc/os-release")) -> str:
    match = re.search(r"^VERSION_CODENAME=(\w+)", os_release.read_text(), re.MULTILINE)
    return match.group(1) if match else ""


def suite_sources(scratch: Path, suite: str, kind: str = "deb") -> list[str]:
    """apt-get's options to work with only that suite (kind: deb or deb-src), its lists kept in `scratch`."""
    source = other_suite(machine_sources(), codename(), suite, kind)
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    file = scratch / "suite.sources"
    file.write_text(render(source))
    settings = {
        "Dir::Etc::sourcelist": file,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": scratch / "lists",
        "Dir::Cache": scratch / "cache",
        "APT::Sandbox::User": "root",
        "APT::Get::List-Cleanup": "0",
        "Acquire::Retries": "3",
        "Acquire::Languages": "none",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
