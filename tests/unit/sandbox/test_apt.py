from __future__ import annotations

import pytest

from sandbox.apt import machine_sources, other_suite, parse_deb822, parse_list, render
from sandbox.box import SandboxError

DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/off
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://vendor.example/node
Suites: nodistro
Components: main
"""


def test_both_formats_name_the_same_mirror():
    listed = parse_list(
        "# off\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # x\n"
    )
    assert [(one.uris, one.suites, one.components) for one in listed] == [
        (["http://mirror.example/debian"], ["bookworm"], ["main", "contrib"])
    ]
    assert listed[0].options == {"Arch": "amd64", "Signed-By": "/k.gpg"}
    stanzas = parse_deb822(DEB822)
    assert [one.suites for one in stanzas] == [["bookworm", "bookworm-updates"], ["nodistro"]]


def test_another_suite_comes_from_the_machines_own_mirror_and_key():
    found = other_suite(parse_deb822(DEB822), "bookworm", "trixie", "deb-src")
    assert render(found) == (
        "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian.gpg\n"
    )


def test_a_security_mirror_is_not_taken_for_the_main_one():
    only = parse_list("deb http://mirror.example/security bookworm-security main\n")
    with pytest.raises(SandboxError, match="no Debian mirror for bookworm"):
        other_suite(only, "bookworm", "trixie")


def test_files_of_either_kind_are_read_and_others_are_not(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "c.list.save").write_text("deb http://c.example/debian bookworm main\n")
    uris = [uri for one in machine_sources(tmp_path) for uri in one.uris]
    assert uris == ["http://a.example/debian", "http://mirror.example/debian", "http://vendor.example/node"]
