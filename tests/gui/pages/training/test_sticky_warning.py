"""Warnings that come and go with every step stay visible for a while."""

from __future__ import annotations

import pytest

from lora_studio.core.curves.verdict import divergence_verdict
from lora_studio.gui.pages.training import verdict_card

FIRST, SECOND = divergence_verdict("The loss rose."), divergence_verdict("The loss rose more.")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only value is the time, in seconds, that the card reads."""
    now = [100.0]
    monkeypatch.setattr(verdict_card.time, "monotonic", lambda: now[0])
    return now


def test_warning_stays_for_its_duration_after_the_cause_is_gone(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    assert warning.update(None) is None
    assert warning.update(FIRST) is FIRST
    clock[0] += 9
    assert warning.update(None) is FIRST
    clock[0] += 2
    assert warning.update(None) is None


def test_newer_warning_replaces_the_older_and_restarts_the_time(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    warning.update(FIRST)
    clock[0] += 9
    assert warning.update(SECOND) is SECOND
    clock[0] += 9
    assert warning.update(None) is SECOND


def test_cleared_warning_is_gone_immediately(clock: list[float]) -> None:
    warning = verdict_card.StickyWarning(seconds=10)
    warning.update(FIRST)
    warning.clear()
    assert warning.update(None) is None
