from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import sandbox
from sandbox.mend_bundle import LEAST_SHARES, bundle, mend
from sandbox.parts.engine import RUNTIME, lacks_sys_resource


def test_the_capability_is_read_from_the_process_status():
    assert lacks_sys_resource("Name:\tx\nCapEff:\t000001fffeffffff\n")
    assert not lacks_sys_resource("CapEff:\t000001ffffffffff\n")


def test_where_the_bundle_is():
    assert bundle(["--log", "x", "create", "--bundle", "/b", "id"]) == "/b"
    assert bundle(["run", "--bundle=/b", "id"]) == "/b"
    assert bundle(["create", "id"]) == "."


def test_only_a_negative_score_is_dropped():
    for score, left in ((-999, {}), (0, {"oomScoreAdj": 0}), (500, {"oomScoreAdj": 500})):
        config = {"process": {"oomScoreAdj": score}}
        assert mend(config) is (score < 0)
        assert config == {"process": left}
    assert not mend({"process": {}}) and not mend({})


def test_very_small_cpu_shares_are_raised():
    for shares, left in ((2, LEAST_SHARES), (LEAST_SHARES, LEAST_SHARES), (1024, 1024), (0, 0)):
        config = {"linux": {"resources": {"cpu": {"shares": shares}}}}
        assert mend(config) is (shares != left)
        assert config["linux"]["resources"]["cpu"]["shares"] == left


def test_the_wrapper_mends_the_bundle_and_hands_every_word_to_runc(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"process": {"oomScoreAdj": -998, "cwd": "/"}}))
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    wrapper = tmp_path / "wrapper"
    fix = Path(sandbox.__file__).with_name("mend_bundle.py")
    wrapper.write_text(RUNTIME.format(python=sys.executable, fix=fix, runc=runc))
    for file in (runc, wrapper):
        file.chmod(0o755)
    argv = [wrapper, "--log", "a b", "create", "--bundle", tmp_path, "id"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["--log", "a b", "create", "--bundle", str(tmp_path), "id"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"process": {"cwd": "/"}}
