"""Warnings that come and go with every step: shown for a while, then gone."""

from __future__ import annotations

import pytest

from lora_studio.core.curves.verdict import diverged
from lora_studio.gui.pages.training import lingering


def test_a_warning_stays_for_a_while_after_it_was_seen_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(lingering.time, "monotonic", lambda: clock[0])
    shown = lingering.StickyWarning(stays=10)
    first, second = diverged("The loss rose."), diverged("The loss rose more.")
    assert shown.of(None) is None
    assert shown.of(first) is first
    clock[0] += 9
    assert shown.of(None) is first
    assert shown.of(second) is second, "a newer one takes its place"
    clock[0] += 9
    assert shown.of(None) is second
    clock[0] += 2
    assert shown.of(None) is None
    shown.of(first)
    shown.clear()
    assert shown.of(None) is None
