"""Fixtures of the core tests."""

from __future__ import annotations

import pytest

from tests.helpers.models.real_go import NoGoError, RealGo, set_up


@pytest.fixture(scope="session")
def real_go() -> RealGo:
    """Return the real Go template engine; skip the test if it can't be built."""
    try:
        return set_up()
    except NoGoError as reason:
        pytest.skip(str(reason))
