"""Foreign text in the terminal and in the window: shown as it is, nothing it names is read."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import draw_text

_PIECES = (
    "<img src='file:///dev/zero'>", "<b>b</b>", "&lt;", "&#x200b;", "<a href='http://x'>y</a>", "![a](file:///dev/zero)", "[x](y)",
    "```", "`a`", "# h", "* x", "1. y", "> q", "| a | b |\n|---|---|", "---", "\n\n", "<!-- c -->", "<script>", "<style>*{}</style>",
    "<table>" * 40, "> " * 200, "* " * 200, "[" * 300, "**" * 200, "\x1b[2J", "\x1b]52;c;YQ==\x07", "\x9b31m", "\x07", "\r", "\t", "\0",
    "\u202e", "\u2066", "\ud83d", "[red]x[/red]", "[link=file:///x]y[/link]", "[/]", "[bold", "\\[", ":smile:", "$x$", "<think>", "</think>",
    "&amp;" * 30, "http://127.0.0.1:9/", "a" * 3000, "\u0301" * 200, "🙂", "<qt>", "<?xml?>", "<font size=9999>", "data:text/html,x",
)  # fmt: skip


def generate_text(rng: random.Random) -> bytes:
    """Return a text with markup, control characters, and addresses."""
    text = "".join(
        rng.choice((rng.choice(_PIECES), rng.choice(_PIECES), draw_text(rng, 20)))
        for _ in range(rng.randrange(1, 7))
    )
    return text.encode("utf-8", "surrogatepass")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: Escape sequences of our own: styles.
_STYLE = re.compile(r"\x1b\[[\d;]*m")


def run_terminal(content: bytes, sandbox: Path) -> str:
    """Print the text as a problem, an event, and a line on a terminal."""
    from lora_studio.cli import console
    from lora_studio.core.messages import text as message
    from lora_studio.core.problems import Where, error
    from lora_studio.core.protocol import events

    text = content.decode("utf-8", "surrogatepass")
    problem = error("a.b", "It has {x}.", "Mend {x}.", where=Where(file=text, field=text), x=text)
    for as_json in (False, True):
        display = console.Display(as_json=as_json)
        output = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
        display.console = display.notes = console.SafeConsole(
            file=output, force_terminal=True, highlight=False, color_system="standard", width=80
        )
        display.print_problem(problem)
        display.print_line(text)
        display.print_title(text)
        for event in (
            events.Failed(problem=problem),
            events.LogLine(text=message("{a}", a=text)),
            events.Sampled(step=1, index=0, prompt=text, source="base", text=text),
        ):
            if not as_json:
                display.show(event)
        output.flush()
        shown = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
        if _CONTROL.search(_STYLE.sub("", shown)):
            raise WrongResultError("a control character reached the terminal")
    return "shown"


def run_window(content: bytes, sandbox: Path) -> str:
    """Show the text in a tooltip, a label, and an answer."""
    from PySide6.QtGui import Qt, QTextDocumentFragment
    from PySide6.QtWidgets import QApplication

    from lora_studio.gui.pages.playground.chat_column import AnswerText
    from lora_studio.gui.widgets.basics import label
    from lora_studio.gui.widgets.tooltips import plain_tip

    application = QApplication.instance() or QApplication([])
    text = content.decode("utf-8", "replace")
    tip = plain_tip(text)
    if Qt.mightBeRichText(tip):
        shown = QTextDocumentFragment.fromHtml(tip).toPlainText().replace("\0", "")
        if shown.split() != text.replace("\0", "").split():
            raise WrongResultError("a tooltip shows another text")
    view = label(text, wrap=True)
    view.sizeHint()
    answer = AnswerText("a")
    answer.show_answer(text)
    answer.toPlainText()
    for widget in (view, answer):
        widget.deleteLater()
    application.sendPostedEvents(None, 52)  # deletions
    return "shown"


FAMILIES = [
    SimpleFamily("terminal-texts", generate_text, run_terminal, weight=0.5, smoke=20),
    SimpleFamily("window-texts", generate_text, run_window, weight=0.5, smoke=30),
]
