from __future__ import annotations

import pytest

from tests.postgres import server


@pytest.fixture
def pg():
    return server(15)
