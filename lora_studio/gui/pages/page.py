"""Base classes of all pages: a header, a body to fill, and the signals that the window connects."""

from __future__ import annotations

from typing import ClassVar, cast

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core.problems import Step
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.controls.field_editor import FieldEditor, Style, make_editor
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, flow_row, label
from lora_studio.gui.widgets.tooltips import plain_tip


class PageHeader(QWidget):
    """Title, Back and the primary button of a page; `extra` holds widgets between them."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        """Create the header; `primary` reads Continue until the page changes its text."""
        super().__init__(parent)
        self.title = label(title, "title")
        self.back = button(tr("Back"))
        self.primary = button(tr("Continue"), kind="primary")
        set_scaled_sizes(self.title, height=32)  # as high as buttons, even without any
        extra = flow_row()
        self.extra = cast(FlowLayout, extra.layout())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Spacing.PAGE, Spacing.L, Spacing.PAGE, Spacing.S)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.title)
        layout.addWidget(extra, 1)
        layout.addWidget(self.back)
        layout.addWidget(self.primary)


class AppPage(QWidget):
    """Base of the pages that aren't a step: Home, Runs, Playground and Settings.

    A subclass adds its widgets to `body`.

    Signals:
        ask(command): a question for the query workers; the answer arrives in `on_event`.
        go_to(name): open another page: a step or the `name` of an `AppPage`.
    """

    ask = Signal(object)
    go_to = Signal(str)

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, parent: QWidget | None = None, *, scrolls: bool = True) -> None:
        """Create the header, without Back and primary button, and an empty body.

        With `scrolls`, the body is in a scroll area. Pages whose tables scroll by themselves pass
        False and get the whole height.
        """
        super().__init__(parent)
        self.header = PageHeader(tr(self.title))
        self.header.back.hide()
        self.header.primary.hide()
        inner, self.body = _make_page_body()
        _build_page(
            self, self.header, _make_scroll_area(inner, tr(self.title)) if scrolls else inner
        )

    def press_primary(self) -> None:
        """Press the primary button if there is one, as Ctrl+Enter does."""
        if self.header.primary.isVisible() and self.header.primary.isEnabled():
            self.header.primary.click()

    def on_shown(self) -> None:
        """Handle the page being shown, for example by refreshing what may have changed."""

    def on_event(self, event: object) -> None:
        """Handle an event of the query workers or of the running job. One `match` per page."""

    def stop_background_work(self) -> None:
        """Stop threads and timers: the window is closing."""


class StepPage(QWidget):
    """Base of the six steps. A subclass adds its cards to `body` and lays out editors by hand.

    Signals:
        continue_clicked, back_clicked: open the next step, or the previous one.
        ask(command): a question for the query workers; the answer arrives in `on_event`.
        question_expected(kind): such a question may follow soon, so its worker may start.
        question_dropped(kind): the user doesn't want to wait for the answer.
        question_outdated(command): the subject of the question changed; drop its answer.
        run_requested(kind): what `JobLauncher.request` accepts, such as "train", "export" or "all",
            or "cluster" for a folder that trains elsewhere.
        import_requested(what, folder): start a run with an "adapter" in a folder, or the "model".
        library_requested: show the adapter library.
        push_requested(repository, what, private): upload a result of the run to the Hub.
        chat_requested(chat_model): chat with a model or an adapter.
        stop_requested: stop training after this step and keep the adapter.
        pause_requested: stop training after this step and save a checkpoint to resume from.
        cancel_requested: end the running job without a result.
        checkpoint_requested: write a checkpoint now.
        online_requested: turn off offline mode.
        page_requested(name): open another page, which isn't a step.
        explain_requested(problem): explain a problem on this page and how to solve it.
        status_changed: the result of `find_blocker`, `is_done` or a caption may have changed.
    """

    continue_clicked = Signal()
    back_clicked = Signal()
    ask = Signal(object)
    question_expected = Signal(str)
    question_dropped = Signal(str)
    question_outdated = Signal(object)
    run_requested = Signal(str)
    import_requested = Signal(str, str)
    library_requested = Signal()
    push_requested = Signal(str, str, bool)
    chat_requested = Signal(object)
    stop_requested = Signal()
    pause_requested = Signal()
    cancel_requested = Signal()
    checkpoint_requested = Signal()
    explain_requested = Signal(object)
    status_changed = Signal()
    online_requested = Signal()
    page_requested = Signal(str)

    step: ClassVar[Step]
    title: ClassVar[str]

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Create the header and an empty, scrolling body."""
        super().__init__(parent)
        self.state = state
        self.editors: dict[str, FieldEditor] = {}
        self.header = PageHeader(tr(self.title))
        self.header.back.clicked.connect(self.back_clicked)
        self.header.back.setToolTip(tr("Previous step (Alt+Left)"))
        self.header.primary.clicked.connect(self.on_primary)
        inner, self.body = _make_page_body()
        self.area = _make_scroll_area(inner, tr(self.title))
        self.area.verticalScrollBar().rangeChanged.connect(self._fit_margins)
        _build_page(self, self.header, self.area)
        state.problems_changed.connect(self.refresh)
        state.opened.connect(self.refresh)
        state.run_changed.connect(self.refresh)

    def add_editor(
        self, field: str, *, control: Control | None = None, style: Style = "auto"
    ) -> FieldEditor:
        """Create, register and return the editor of a field; the page adds it to a layout."""
        assert field not in self.editors, f"{self.step}.{field} has an editor already"
        field_editor = make_editor(self.state, self.step, field, control=control, style=style)
        self.editors[field] = field_editor
        return field_editor

    def focus_field(self, field: str | None) -> None:
        """Scroll a field into view, expand the sections around it and focus it."""
        field_editor = self.editors.get(field or "")
        if field_editor is None:
            return
        self.reveal(field_editor)
        self.area.ensureWidgetVisible(field_editor, 0, Spacing.XXL)
        field_editor.focus()

    def reveal(self, field_editor: FieldEditor) -> None:
        """Expand every collapsed section around an editor."""
        parent = field_editor.parentWidget()
        while parent is not None and parent is not self:
            set_open = getattr(parent, "set_open", None)
            if callable(set_open):
                set_open(True)
            parent = parent.parentWidget()

    def find_blocker(self) -> str | None:
        """Return a sentence on what this step still needs, None if it is ready."""
        errors = [item for item in self.state.list_problems(self.step) if item.severity == "error"]
        return localize(errors[0].what) if errors else None

    def is_done(self) -> bool:
        """Return whether the rail shows this step as ready; a step with a job needs its result."""
        return self.find_blocker() is None

    def describe_outdated(self) -> str:
        """Return a caption for the rail if the result was created with other settings, "" if not."""
        return ""

    def describe_paused(self) -> str:
        """Return the caption that the rail shows for a resumable job of this step, "" if there is none."""
        return ""

    def on_event(self, event: object) -> None:
        """Handle an event of the query workers or of the running job. One `match` per page."""

    def describe_unchecked(self) -> str:
        """Return the caption of the rail while a worker hasn't read what this step names, "" after that."""
        return ""

    def on_primary(self) -> None:
        """Handle a click on the primary button: Continue, unless the page overrides it."""
        self.continue_clicked.emit()

    def on_shown(self) -> None:
        """Handle the page being shown, for example by asking the query workers."""

    def sign_in(self) -> None:
        """Ask for a Hub token, on pages that can."""

    def repeat_queries(self) -> None:
        """Repeat queries that failed, because offline mode or a consent has changed."""

    def check_files(self) -> None:
        """Repeat queries about files that have changed on disk since they were asked."""

    def stop_background_work(self) -> None:
        """Stop threads and timers: the window is closing."""

    def _fit_margins(self, _lowest: int, highest: int) -> None:
        """Let the scroll bar use the margin, so that the cards keep their width."""
        bar = self.area.verticalScrollBar().sizeHint().width() if highest > 0 else 0
        self.body.setContentsMargins(Spacing.PAGE, Spacing.S, Spacing.PAGE - bar, Spacing.PAGE)

    def refresh(self, *_: object) -> None:
        """Update the primary button and the rail from `find_blocker`."""
        blocker = self.find_blocker()
        self.header.primary.setEnabled(blocker is None)
        action = tr("{action} (Ctrl+Enter)").format(action=self.header.primary.text())
        self.header.primary.setToolTip(plain_tip(blocker or action))
        self.status_changed.emit()


def _make_page_body() -> tuple[QWidget, QVBoxLayout]:
    """Return the widget that a page scrolls and the layout inside it."""
    inner = QWidget()
    inner.setObjectName("scrolled")
    body = QVBoxLayout(inner)
    body.setContentsMargins(Spacing.PAGE, Spacing.S, Spacing.PAGE, Spacing.PAGE)
    body.setSpacing(Spacing.L)
    return inner, body


def _make_scroll_area(inner: QWidget, name: str) -> QScrollArea:
    area = QScrollArea(widgetResizable=True)
    area.setAccessibleName(name)
    area.setFrameShape(QFrame.Shape.NoFrame)
    # It gets the focus with the page, so that keys scroll it, but isn't a stop of Tab: nothing shows there.
    area.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    area.setWidget(inner)
    return area


def _build_page(page: QWidget, header: PageHeader, content: QWidget) -> None:
    """Lay out a page: its header above its content."""
    page.setObjectName("page")
    page.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(header)
    layout.addWidget(content, 1)
