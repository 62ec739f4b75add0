"""The table of quantizations: rows, sizes and self-test results."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QModelIndex, Qt
from pytestqt.qtbot import QtBot

from lora_studio.core.export import COMMON, QUANTIZATIONS
from lora_studio.core.protocol import events
from lora_studio.gui.pages.export.quant_table import QuantTable
from lora_studio.gui.theme import color
from lora_studio.gui.widgets.self_test_text import describe_self_test, format_badge
from tests.helpers.models import model_facts

#: The quantizations for models without experts.
ALL = tuple(name for name, facts in QUANTIZATIONS.items() if not facts.needs_experts)


@pytest.fixture
def table(qtbot: QtBot) -> QuantTable:
    quant_table = QuantTable()
    qtbot.addWidget(quant_table)
    quant_table.show_value(["Q4_K_M"])
    return quant_table


def cell(table: QuantTable, name: str, column: int) -> QModelIndex:
    return table.rows.index([*table.rows.names].index(name), column)


def verdict_of(stage: str, verdict: str, **facts: object) -> events.SelfTested:
    return events.SelfTested.model_validate(
        {
            "stage": stage, "conversations": 32, "positions": 1000, "tokens_equal": True,
            "top1": 0.9, "kl": 0.03, "top1_limit": 0.6, "kl_limit": 0.4,
            "passed": verdict != "failed", "verdict": verdict, **facts,
        }
    )  # fmt: skip


def test_common_quantizations_are_listed_and_all_on_demand(table: QuantTable) -> None:
    assert table.rows.names == COMMON
    table.more.click()
    assert table.rows.names == ALL
    assert table.more.text() == "Show fewer"
    table.rows.toggle_row([*table.rows.names].index("IQ2_XS"))
    table.more.click()
    assert set(table.rows.names) == {*COMMON, "IQ2_XS"}


def test_type_for_experts_is_listed_only_where_possible(table: QuantTable) -> None:
    assert table.more.text() == f"Show all {len(ALL)}"
    table.more.click()
    table.set_sizes(dict.fromkeys(ALL, 1))
    assert "MXFP4_MOE" not in table.rows.names
    table.set_sizes(dict.fromkeys(QUANTIZATIONS, 1))
    assert table.rows.names == tuple(QUANTIZATIONS)
    table.more.click()
    assert table.more.text() == f"Show all {len(QUANTIZATIONS)}"
    table.set_sizes({})
    table.show_value(["MXFP4_MOE"])
    assert "MXFP4_MOE" in table.rows.names


def test_first_checked_quantization_stays_first(table: QuantTable) -> None:
    checked: list[list[str]] = []
    table.edited.connect(checked.append)
    for name in ("F16", "Q8_0", "Q4_K_M", "Q4_K_M"):
        table.rows.toggle_row([*table.rows.names].index(name))
    assert checked == [
        ["Q4_K_M", "F16"], ["Q4_K_M", "F16", "Q8_0"], ["F16", "Q8_0"], ["F16", "Q8_0", "Q4_K_M"],
    ]  # fmt: skip


def test_table_is_as_tall_as_its_rows(table: QuantTable) -> None:
    few = table.view.height()
    table.more.click()
    assert table.view.height() - few == 30 * (len(ALL) - len(COMMON))


def test_size_is_estimated_then_calculated_then_measured(table: QuantTable) -> None:
    size, about = cell(table, "Q4_K_M", 2), Qt.ItemDataRole.ToolTipRole
    assert table.rows.data(size) == "–"
    table.set_model(model_facts.model(parameters=8_000_000_000))
    assert table.rows.data(size) == "≈ 4.9 GB"
    assert "model's tensor sizes" in table.rows.data(size, about)
    table.set_sizes({"Q4_K_M": 4_700_000_000})
    assert table.rows.data(size) == "4.7 GB"
    assert "by the quantizer" in table.rows.data(size, about)
    assert table.rows.data(cell(table, "Q8_0", 2)) == "not supported"
    assert "can't write this type" in table.rows.data(cell(table, "Q8_0", 2), about)
    written = events.GgufWritten(file="f", quantization="Q4_K_M", bytes=4_710_000_000, tool="t")
    table.show_results([written], [])
    assert table.rows.data(size, about) == "File size"


def test_tooltip_names_special_requirements(table: QuantTable) -> None:
    table.show_all(True)
    about = Qt.ItemDataRole.ToolTipRole
    assert "importance matrix" in table.rows.data(cell(table, "IQ1_S", 0), about)
    assert "ternary models" in table.rows.data(cell(table, "TQ1_0", 0), about)
    assert table.rows.data(cell(table, "Q8_0", 0), about) is None


@pytest.mark.parametrize(
    ("verdict", "glyph", "tint"),
    [("passed", "✓", "ok"), ("lossy", "⚠", "warn"), ("failed", "✗", "error")],
)
def test_verdict_has_glyph_and_color(
    verdict: str, glyph: str, tint: str, table: QuantTable
) -> None:
    event = verdict_of("Q4_K_M", verdict)
    table.show_results([], [event])
    index = cell(table, "Q4_K_M", 4)
    assert table.rows.data(index) == format_badge(event)
    assert format_badge(event).startswith(glyph)
    assert table.rows.data(index, Qt.ItemDataRole.ForegroundRole) == color(tint)


def test_failed_self_test_names_the_likely_cause() -> None:
    description = describe_self_test(
        verdict_of("merged", "failed", cause="the adapter has not been merged at all")
    )
    assert description.startswith("Failed")
    assert "Most likely cause: the adapter has not been merged at all." in description


def test_badge_says_which_limits_apply() -> None:
    merged = events.SelfTested(
        stage="merged", top1=0.934, kl=0.02, top1_passing=0.95, kl_passing=0.01,
        passed=True, verdict="lossy",
    )  # fmt: skip
    file = events.SelfTested(
        stage="Q4_K_M", top1=0.896, kl=0.08, top1_passing=0.8, kl_passing=0.2, passed=True
    )
    assert format_badge(merged) == "⚠ top-1 93.4 % (≥ 95 %), KL 0.02 (≤ 0.01)"
    assert format_badge(file) == "✓ top-1 89.6 % (≥ 80 %), KL 0.08 (≤ 0.2)"
    assert "its limits are strict" in describe_self_test(merged)
    assert "more differences are expected" in describe_self_test(file)
