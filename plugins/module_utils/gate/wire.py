# Copyright (c) 2026 The eazepay.ops authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Connections on which everything together, not each byte, has a time limit."""

from __future__ import annotations

import io
import socket
import ssl
import time
from typing import Any, List, Optional


class Limit:
    """A moment by which all must be done."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. :raises socket.timeout: none are."""
        rest = self.end - time.monotonic()
        if rest <= 0:
            raise socket.timeout(f"not done within {self.seconds:g} s")
        return rest


def connect(host: str, port: int, limit: Limit, ip_version: str = "any") -> socket.socket:
    """A TCP connection to the first address that answers. :raises OSError: none does."""
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(ip_version, socket.AF_UNSPEC)
    addresses = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    problem: Optional[OSError] = None
    for index, (family, kind, protocol, _name, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            # One dead address must not use up the time of the others.
            connection.settimeout(limit.left() / (len(addresses) - index))
            connection.connect(address)
            return connection
        except OSError as error:
            connection.close()
            problem = error
    raise problem or OSError(f"{host} has no address")


def context(
    verify: bool = True, ca: Optional[str] = None, certificate: Optional[str] = None, key: Optional[str] = None
) -> ssl.SSLContext:
    """How TLS is spoken. :raises OSError: a file that cannot be used."""
    made = ssl.create_default_context(cafile=ca)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if certificate:
        made.load_cert_chain(certificate, key)
    return made


def secure(connection: socket.socket, tls: ssl.SSLContext, name: str, limit: Limit) -> ssl.SSLSocket:
    """Speaks TLS on a connection. :raises OSError: they do not agree; the connection is closed then."""
    try:
        connection.settimeout(limit.left())
        return tls.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


def days_left(connection: ssl.SSLSocket) -> float:
    """Days until the certificate (or the first of those that can be seen) ends."""
    shown = connection.getpeercert() or {}
    return (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86400


class _Reader(io.RawIOBase):
    def __init__(self, connection: socket.socket, limit: Limit) -> None:
        self.connection = connection
        self.limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.connection.settimeout(self.limit.left())
        return self.connection.recv_into(buffer)


class Timed:
    """What http.client needs of a socket, under one time limit."""

    def __init__(self, connection: socket.socket, limit: Limit) -> None:
        self.connection = connection
        self.limit = limit

    def makefile(self, *_mode: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.connection, self.limit))

    def sendall(self, data: bytes) -> None:
        self.connection.settimeout(self.limit.left())
        self.connection.sendall(data)

    def close(self) -> None:
        """The caller closes the connection itself: the reader may still need it."""


def said(error: BaseException) -> str:
    """What went wrong on a connection, in few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.timeout):
        text = str(error)
        return text if text.startswith("not done") else f"time-out ({text})"
    if isinstance(error, socket.gaierror):
        return f"the name is not known: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


__all__: List[str] = ["Limit", "Timed", "connect", "context", "days_left", "said", "secure"]
