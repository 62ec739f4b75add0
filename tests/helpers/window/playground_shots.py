"""Screenshots of the playground and the adapter library: scenario and states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.lora.adapters import AdapterFacts, AdapterFit, LayerFacts
from lora_studio.core.protocol import events
from lora_studio.gui.pages.playground.dialogs import TallyDialog, TokensDialog
from lora_studio.gui.window.main_window import Window
from tests.helpers.runs.job_events import emit, wait_until

_BASE = (
    "I do not know where your order is: I am a language model and cannot look into the systems of a "
    "shop. Please ask the shop where you bought it, and have the number of your order at hand.\n\n"
    "1. Look into the confirmation you were sent.\n2. Write to the shop."
)
_TUNED = (
    "On its way to you. It left our warehouse yesterday evening; the parcel's number is in the mail "
    "that we sent you."
)
_PROMPT = (
    ("<|im_start|>", True), ("user", False), ("\n", False), ("Where", False), (" is", False),
    (" my", False), (" order", False), ("?", False), ("<|im_end|>", True), ("\n", False),
    ("<|im_start|>", True), ("assistant", False), ("\n", False),
)  # fmt: skip


def scenario(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the answers of the chat and library workers; `folder` holds the adapters."""
    tokens = tuple(
        events.Token(id=1000 + 7 * position, text=text, state="context", special=special)
        for position, (text, special) in enumerate(_PROMPT)
    )
    text = "".join(text for text, _ in _PROMPT)
    return {
        "ask_chat": [
            emit(_answer(0, _BASE, 58, 2.0, "length")),
            emit(_answer(1, _TUNED, 27, 0.9)),
        ],
        "show_prompt": [emit(events.PromptShown(text=text, tokens=tokens))],
        "list_adapters": [emit(_adapters_found(folder))],
        "show_adapter": [
            emit(
                events.AdapterShown(
                    adapter=_facts(folder / "polite-style", layers=_layers()),
                    fit=AdapterFit(model="Llama-3.2-3B-Instruct", fits=True),
                )
            )
        ],
    }


def shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield an empty chat, answers side by side, a blind vote, prompt tokens and the library."""
    window.toasts.clear()
    window.show_page("playground")
    page, controller = window.playground, window.playground.controller
    wait_until(lambda: len(controller.conversation.chat_models) == 2)
    yield "playground", window
    _ask(window, "Where is my order?")
    page.prompt.setPlainText("Do you ship abroad?")
    yield "playground-answers", window
    page.columns[0].turns[0].tokens.click()
    dialog = page.window().findChild(TokensDialog)
    assert isinstance(dialog, TokensDialog)
    wait_until(lambda: bool(dialog.view.text()))
    yield "dialog-tokens", dialog
    dialog.reject()
    page.prompt.clear()
    page.blind.click()
    _ask(window, "Where is my order?")
    yield "playground-blind", window
    page.votes.better[page.blind_vote.order.index(1)].click()
    QTest.qWait(200)
    yield "playground-voted", window
    page.tally.click()
    wait_until(lambda: window.findChild(TallyDialog) is not None)
    tally = window.findChild(TallyDialog)
    assert isinstance(tally, TallyDialog)
    yield "dialog-votes", tally
    tally.reject()
    window.library.open()
    library = window.library.dialog
    assert library is not None
    wait_until(lambda: bool(library.norms.update_norms()))
    for line in (1, 2):
        library.table.item(line, 0).setCheckState(Qt.CheckState.Checked)
    yield "dialog-adapters", library
    library.reject()


def _ask(window: Window, text: str) -> None:
    window.playground.prompt.setPlainText(text)
    window.playground.ask_all()
    wait_until(lambda: not window.playground.controller.is_busy)
    QTest.qWait(150)


def _answer(column: int, text: str, tokens: int, seconds: float, ending: Any = "end") -> Any:
    return events.Answered(
        column=column, text=text, tokens=tokens, prompt_tokens=13, first_s=0.1, seconds=seconds,
        ending=ending,
    )  # fmt: skip


def _adapters_found(folder: Path) -> events.AdaptersFound:
    adapters = _adapters(folder)
    fits = {each.folder: AdapterFit(model="m", fits=each.rank < 32) for each in adapters}
    return events.AdaptersFound(adapters=adapters, fits=fits)


def _adapters(folder: Path) -> tuple[AdapterFacts, ...]:
    return (
        _facts(folder / "Projects" / "support-bot" / "runs" / "20261125-101500-support-bot"),
        _facts(folder / "polite-style"),
        _facts(folder / "product-facts", 32),
    )


def _facts(folder: Path, rank: int = 16, **more: Any) -> AdapterFacts:
    return AdapterFacts(
        folder=str(folder), base="meta-llama/Llama-3.2-3B-Instruct", rank=rank, ranks=(rank, rank),
        alpha=2 * rank, modules=("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"),
        parameters=1_500_000 * rank, bytes=6_100_000 * rank, **more,
    )  # fmt: skip


def _layers() -> tuple[LayerFacts, ...]:
    return tuple(
        LayerFacts(
            module=f"model.layers.{layer}.self_attn.{name}", rank=16, scale=2, shape_a=(16, 64),
            shape_b=(64, 16), norm=1 + 0.5 * math.sin(layer / 5) + layer * 0.03,
        )
        for layer in range(28) for name in ("q_proj", "v_proj")
    )  # fmt: skip
