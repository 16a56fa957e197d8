"""Whoever works in playbooks/ gets the same settings as whoever works in the checkout."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[3]


def settings(file):
    parser = ConfigParser()
    parser.read(file)
    return {
        (section, key): str((file.parent / value).resolve()) if key.endswith(("path", "dir")) else value
        for section in parser.sections()
        for key, value in parser[section].items()
    }


def test_both_configurations_say_the_same():
    assert settings(ROOT / "ansible.cfg") == settings(ROOT / "playbooks" / "ansible.cfg")
    assert (
        settings(ROOT / "ansible.cfg")["defaults", "callbacks_enabled"]
        == "eazepay.ops.dossier, eazepay.ops.announce, eazepay.ops.heartbeat"
    )
