"""A moto server of the tests' own, with the sandbox's mended CloudFront, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.eazepay.ops.plugins.module_utils.common.errors import OpsError

ROOT = Path(__file__).parents[3]
KEYS = {"access_key": "test", "secret_key": "test-secret", "region": "eu-west-1"}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def aws_server(hold: str = "/nonexistent") -> Iterator[dict[str, Any]]:
    """Gives the AWS options of a server that is up.

    :param hold: while this file exists, no invalidation is completed.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.site.moto", str(port)],
        cwd=ROOT,
        env={**os.environ, "T_HOLD": hold},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, "moto ended"
                time.sleep(0.1)
        else:
            raise AssertionError("moto did not come up within 60 s")
        yield {"endpoint_url": url, **KEYS}
    finally:
        process.terminate()
        process.wait(30)


def boto(service: str, aws: dict[str, Any]) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws["endpoint_url"],
        region_name=aws["region"],
        aws_access_key_id=aws["access_key"],
        aws_secret_access_key=aws["secret_key"],
        aws_session_token=aws.get("session_token"),
    )


def keys_of(account: str, aws: dict[str, Any]) -> dict[str, str]:
    """Credentials of another account, as STS gives them to who takes one of its roles."""
    role = f"arn:aws:iam::{account}:role/other"
    given = boto("sts", aws).assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "session_token": "SessionToken"}
    return {option: given[name] for option, name in names.items()}


def in_process(module: Any, function: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """What a module would return, without the second that starting a process and boto3 takes."""
    validated = ArgumentSpecValidator(module.SPEC).validate(arguments)
    assert not validated.error_messages, validated.error_messages
    try:
        return {"failed": False, **function(validated.validated_parameters, check)}
    except OpsError as error:
        return {"changed": False, **error.result, "failed": True, "msg": error.message}
