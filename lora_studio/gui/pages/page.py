"""What every page of a step has: title, Back, one primary button, editors, what is missing."""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from lora_studio.core.problems import Step
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.controls.field_editor import FieldEditor, Style, editor
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.frame import PageHeader
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing


class StepPage(QWidget):
    """Base of the six steps. A page puts its cards into `body` and places editors by hand.

    Signals:
        continue_clicked, back_clicked: the user wants to go on, or back.
        ask(command): a question for the inspector; the answer comes through `on_event`.
        question_expected(kind): such a question may come soon, so its worker may start.
        question_dropped(kind): the user does not want to wait for the answer.
        question_outdated(command): what was asked about has changed, so the answer must not come.
        run_requested(kind): what `JobFlow.request` takes, such as "train", "export" or "all", or
            "cluster" for a folder that trains elsewhere.
        import_requested(what, place): begin a run with an "adapter" in a folder, or with the "model".
        library_wanted: show the adapter library.
        push_requested(repository, what, private): upload what the run has made to the hub.
        talk_wanted(speaker): the user wants to chat with something that was made.
        stop_requested: end the training after this step and keep the adapter.
        pause_requested: end the training after this step with a checkpoint to go on from.
        cancel_requested: end the job under way without a result.
        checkpoint_requested: write a checkpoint now.
        online_wanted: offline mode is to end.
        explain_requested(problem): what can be done about a problem that the page shows.
        status_changed: `missing` or `done` may answer differently now.
    """

    continue_clicked = Signal()
    back_clicked = Signal()
    ask = Signal(object)
    question_expected = Signal(str)
    question_dropped = Signal(str)
    question_outdated = Signal(object)
    run_requested = Signal(str)
    import_requested = Signal(str, str)
    library_wanted = Signal()
    push_requested = Signal(str, str, bool)
    talk_wanted = Signal(object)
    stop_requested = Signal()
    pause_requested = Signal()
    cancel_requested = Signal()
    checkpoint_requested = Signal()
    explain_requested = Signal(object)
    status_changed = Signal()
    online_wanted = Signal()

    step: ClassVar[Step]
    title: ClassVar[str]

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Builds the header and an empty, scrolling body."""
        super().__init__(parent)
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.state = state
        self.editors: dict[str, FieldEditor] = {}
        self.header = PageHeader(tr(self.title))
        self.header.back.clicked.connect(self.back_clicked)
        self.header.back.setToolTip(tr("Step before (Alt+Left)"))
        self.header.primary.clicked.connect(self.on_primary)
        self.area = QScrollArea(widgetResizable=True)
        self.area.setAccessibleName(tr(self.title))
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inner = QWidget()
        inner.setObjectName("scrolled")
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(Spacing.PAGE, Spacing.S, Spacing.PAGE, Spacing.PAGE)
        self.body.setSpacing(Spacing.L)
        self.area.setWidget(inner)
        self.area.verticalScrollBar().rangeChanged.connect(self._make_room)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(self.area, 1)
        state.problems_changed.connect(self.refresh)
        state.opened.connect(self.refresh)
        state.run_changed.connect(self.refresh)

    def add_editor(
        self, field: str, *, control: Control | None = None, style: Style = "auto"
    ) -> FieldEditor:
        """Makes and registers the one editor of a field; the page puts it into a layout."""
        assert field not in self.editors, f"{self.step}.{field} has an editor already"
        made = editor(self.state, self.step, field, control=control, style=style)
        self.editors[field] = made
        return made

    def focus_field(self, field: str | None) -> None:
        """Brings a field into view, opens what hides it and puts the cursor there."""
        found = self.editors.get(field or "")
        if found is None:
            return
        self.reveal(found)
        self.area.ensureWidgetVisible(found, 0, Spacing.XXL)
        found.focus()

    def reveal(self, found: FieldEditor) -> None:
        """Opens every collapsed section around an editor."""
        parent = found.parentWidget()
        while parent is not None and parent is not self:
            opener = getattr(parent, "set_open", None)
            if callable(opener):
                opener(True)
            parent = parent.parentWidget()

    def missing(self) -> str | None:
        """The one sentence of what this step still needs, None when it is ready."""
        errors = [item for item in self.state.problems(self.step) if item.severity == "error"]
        return tell(errors[0].what) if errors else None

    def done(self) -> bool:
        """Whether the rail shows this step as ready; steps with a job also need its result."""
        return self.missing() is None

    def resting(self) -> str:
        """What the rail says of a step whose job has begun and can go on; "" for any other."""
        return ""

    def on_event(self, event: object) -> None:
        """Takes every event of the inspector and of the job under way. One `match` per page."""

    def on_primary(self) -> None:
        """What the primary button does; Continue unless the page says otherwise."""
        self.continue_clicked.emit()

    def on_shown(self) -> None:
        """The user came to this page: the time to ask the inspector."""

    def sign_in(self) -> None:
        """Asks for a token of the hub, where the page can."""

    def online_changed(self) -> None:
        """Offline mode was turned on or off."""

    def leave(self) -> None:
        """The window closes: the time to end threads of one's own."""

    def _make_room(self, _lowest: int, highest: int) -> None:
        """Lets the scroll bar into the margin, so that cards keep their width."""
        bar = self.area.verticalScrollBar().sizeHint().width() if highest > 0 else 0
        left, right = Spacing.PAGE, Spacing.PAGE - bar
        if self.isRightToLeft():  # margins are not mirrored, and the bar is at the left
            left, right = right, left
        self.body.setContentsMargins(left, Spacing.S, right, Spacing.PAGE)

    def refresh(self, *_: object) -> None:
        """Brings the primary button and the rail in line with `missing`."""
        missing = self.missing()
        self.header.primary.setEnabled(missing is None)
        does = tr("{action} (Ctrl+Enter)").format(action=self.header.primary.text())
        self.header.primary.setToolTip(missing or does)
        self.status_changed.emit()
