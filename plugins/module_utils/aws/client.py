# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Clients of AWS: the options that modules share, and errors in words."""

from __future__ import annotations

import io
import traceback
from typing import Any, Dict, List, Tuple

from ..common.errors import MissingLibrary, OpsError

AWS_SPEC: Dict[str, Any] = {
    "endpoint_url": {"type": "str", "aliases": ["aws_endpoint_url"]},
    "region": {"type": "str", "aliases": ["aws_region"]},
    "access_key": {"type": "str", "aliases": ["aws_access_key_id", "aws_access_key"], "no_log": False},
    "secret_key": {"type": "str", "aliases": ["aws_secret_access_key", "aws_secret_key"], "no_log": True},
    "session_token": {"type": "str", "aliases": ["aws_session_token"], "no_log": True},
    "profile": {"type": "str", "aliases": ["aws_profile"]},
    "validate_certs": {"type": "bool", "default": True},
}

# What a code of AWS means to who reads it, and what to do about it.
MEANINGS = {
    "NoSuchBucket": ("the bucket does not exist", "Create it, or correct its name."),
    "AccessDenied": (
        "access is denied",
        "The credentials are valid but may not do this: check their policy, the bucket's policy and its account.",
    ),
    "InvalidAccessKeyId": ("AWS does not know the access key", "Check access_key, profile or the environment."),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", "Check secret_key."),
    "ExpiredToken": ("the session's credentials have expired", "Get new ones and run again."),
    "SlowDown": ("S3 asks to slow down, after all retries", "Run again later, or lower the concurrency."),
    "NoSuchDistribution": ("the distribution does not exist", "Check its id and the account."),
}


def client(service: str, params: Dict[str, Any], connections: int = 10, attempts: int = 8) -> Any:
    """A client of AWS made from a module's options.

    :param connections: that may be open at once.
    :raises MissingLibrary: without boto3. Only its core is used: what boto3 adds takes longer to import than the core.
    """
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise MissingLibrary("boto3", traceback.format_exc()) from error
    config = Config(
        max_pool_connections=connections,
        retries={"mode": "standard", "max_attempts": attempts},
        connect_timeout=10,
        read_timeout=60,
        # Uploads carry a SHA-256 of our own; a second checksum would cost time and prove nothing more.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = Session(profile=params.get("profile"))
        made = session.create_client(
            service,
            endpoint_url=params.get("endpoint_url") or None,
            region_name=params.get("region") or session.get_config_variable("region") or "us-east-1",
            aws_access_key_id=params.get("access_key"),
            aws_secret_access_key=params.get("secret_key"),
            aws_session_token=params.get("session_token"),
            verify=None if params.get("validate_certs", True) else False,
            config=config,
        )
        made.meta.events.register_last("before-call.s3", send_at_once)
        return made
    except (BotoCoreError, ValueError) as error:
        raise OpsError("reach", f"AWS {service}", str(error), "Check the AWS options and the environment.") from error


def send_at_once(params: Dict[str, Any], **_rest: Any) -> None:
    """A body that is in memory goes with its request: to ask first, as botocore does, doubles a small upload's time."""
    if isinstance(params.get("body"), (bytes, io.BytesIO)):
        params["headers"].pop("Expect", None)


def secrets(params: Dict[str, Any]) -> List[str]:
    """The values among a module's options that must not show."""
    return [params[name] for name in ("secret_key", "session_token") if params.get(name)]


def code(error: Exception) -> str:
    """AWS's code of an error ("NoSuchKey"), or the HTTP status as text; empty for what is no answer of AWS."""
    response = getattr(error, "response", None) or {}
    named = str(response.get("Error", {}).get("Code", ""))
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    return {"403": "AccessDenied", "Forbidden": "AccessDenied"}.get(named, named) or status


def explain(error: Exception) -> Tuple[str, str]:
    """The cause and the remedy of an error that boto3 raised."""
    found = code(error)
    if found in MEANINGS:
        cause, remedy = MEANINGS[found]
        return f"{cause} ({found})", remedy
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return (
            "there are no AWS credentials",
            "Give access_key and secret_key, a profile, or the environment's AWS_ variables.",
        )
    if name in ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"):
        return str(error), "Check endpoint_url, region and the network; then run again."
    return str(error), ""


def errors() -> Tuple[Any, ...]:
    """What boto3 raises; for ``except``."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)
