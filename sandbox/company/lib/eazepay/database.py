"""A small pool of PostgreSQL connections. A database that is gone costs requests, never the service."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Iterator

import psycopg2
import psycopg2.extras


class Unavailable(Exception):
    """The database does not answer, or all connections are in use for too long."""


class Database:
    """Where it is comes from PGHOST, PGPORT, PGUSER, PGPASSWORD."""

    def __init__(self, name: str, service: str, most: int = 4, kept: int = 2):
        self.name = name
        self.service = service
        self.kept = kept
        self.free = threading.Semaphore(most)
        self.lock = threading.Lock()
        self.idle: list[Any] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor whose rows are dicts; commits at the end, rolls back on an exception."""
        if not self.free.acquire(timeout=5):
            raise Unavailable("all database connections are in use")
        try:
            connection = self.take()
            try:
                with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                    yield cursor
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                raise Unavailable(str(error).strip()) from error
            finally:
                self.give(connection)
        finally:
            self.free.release()

    def take(self) -> Any:
        while True:
            with self.lock:
                connection = self.idle.pop() if self.idle else None
            if connection is None:
                try:
                    return psycopg2.connect(dbname=self.name, connect_timeout=3, application_name=self.service)
                except psycopg2.OperationalError as error:
                    raise Unavailable(str(error).strip()) from error
            try:  # a restore or a restart of the server ends connections that lie here
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
                return connection
            except psycopg2.Error:
                connection.close()

    def give(self, connection: Any) -> None:
        with self.lock:
            if not connection.closed and len(self.idle) < self.kept:
                self.idle.append(connection)
                return
        connection.close()

    def answers(self) -> bool:
        try:
            with self.transaction() as cursor:
                cursor.execute("SELECT 1")
            return True
        except (Unavailable, psycopg2.Error):
            return False
