from __future__ import annotations

import pytest

from tests.postgres import server


@pytest.fixture(params=[15, 18])
def both(request):
    """A throwaway server of each major version."""
    return server(request.param)


@pytest.fixture
def pg():
    return server(15)
