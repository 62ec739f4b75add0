"""Fixtures that several tests of the core share."""

from __future__ import annotations

import pytest

from tests.helpers.real_go import NoGoError, RealGo, set_up


@pytest.fixture(scope="session")
def real_go() -> RealGo:
    """The real Go template engine; the tests that need it are skipped where it cannot be built."""
    try:
        return set_up()
    except NoGoError as reason:
        pytest.skip(str(reason))
