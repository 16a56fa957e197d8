"""What Eazepay's services share: an HTTP server that can be rolled without losing a request, metrics, the database."""

from eazepay.database import Database, Unavailable
from eazepay.server import Problem, Service

__all__ = ["Database", "Problem", "Service", "Unavailable"]
