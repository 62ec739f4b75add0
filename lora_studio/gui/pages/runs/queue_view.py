"""The queue as a list: order by dragging or with Alt and the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDropEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing, set_icon
from lora_studio.gui.widgets.basics import button, label, row, tool_button

_NAME = Qt.ItemDataRole.UserRole


class QueueView(QWidget):
    """What waits, the next first.

    Signals:
        start_clicked, pause_clicked: the queue is to go on, or to rest after the job under way.
        moved(name, place): a run is to be at another place, 0 being the next to start.
        removed(names): runs are to leave the queue.
    """

    start_clicked = Signal()
    pause_clicked = Signal()
    moved = Signal(str, int)
    removed = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Nothing waits."""
        super().__init__(parent)
        self.status = label("", wrap=True)
        self.list = _List()
        self.list.moved.connect(self.moved)
        self.list.removed.connect(self.removed)
        self.go = button("", self._go)
        self.up = tool_button(
            "chevron-up", tr("Move up (Alt+Up)"), lambda: self.list.move_current(-1)
        )
        self.down = tool_button(
            "chevron-down", tr("Move down (Alt+Down)"), lambda: self.list.move_current(1)
        )
        self.out = tool_button(
            "close", tr("Remove from queue (Delete). The run itself is kept."),
            self.list.remove_chosen,
        )  # fmt: skip
        self._paused = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.status)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.go, None, self.up, self.down, self.out))
        self.list.currentRowChanged.connect(lambda _: self._enable())
        self.show_queue([], paused=False, running=False)

    def show_queue(
        self, entries: Sequence[tuple[str, str]], *, paused: bool, running: bool
    ) -> None:
        """`entries` are the name of the folder and the words for each; the chosen one stays."""
        self._paused = paused
        kept = self.list.chosen()
        self.list.fill(entries, kept)
        waiting = bool(entries)
        self.go.setVisible(waiting)
        self.go.setText(tr("Start queue") if paused else tr("Pause queue"))
        set_icon(self.go, "play" if paused else "pause")
        if not waiting:
            self.status.setText(
                tr("The queue is empty. Runs that you add start one after another.")
            )
        elif paused:
            self.status.setText(tr("Paused. Queued runs don’t start automatically."))
        elif running:
            self.status.setText(tr("The next run starts when the current job finishes."))
        else:
            self.status.setText(tr("The next run is starting."))
        self._enable()

    def _enable(self) -> None:
        place, count = self.list.currentRow(), self.list.count()
        self.up.setEnabled(place > 0)
        self.down.setEnabled(0 <= place < count - 1)
        self.out.setEnabled(place >= 0)

    def _go(self) -> None:
        (self.start_clicked if self._paused else self.pause_clicked).emit()


class _List(QListWidget):
    moved = Signal(str, int)
    removed = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName(tr("Queue"))
        self.setToolTip(tr("Drag or press Alt+Up/Alt+Down to reorder, Delete to remove"))
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def names(self) -> list[str]:
        """The folders, the next first."""
        return [str(self.item(n).data(_NAME)) for n in range(self.count())]

    def chosen(self) -> list[str]:
        """The folders of the chosen ones, the current one first."""
        current = self.currentItem()
        names = [str(current.data(_NAME))] if current is not None else []
        return names + [n for item in self.selectedItems() if (n := item.data(_NAME)) not in names]

    def fill(self, entries: Sequence[tuple[str, str]], kept: Sequence[str]) -> None:
        """Replaces all lines."""
        self.blockSignals(True)
        self.clear()
        for place, (name, words) in enumerate(entries, start=1):
            item = QListWidgetItem(f"{place}   {words}")
            item.setData(_NAME, name)
            item.setToolTip(name)
            item.setSizeHint(QSize(0, self.fontMetrics().height() + 15))
            self.addItem(item)
        names = self.names()
        wanted = [names.index(name) for name in kept if name in names]
        if wanted:
            self.setCurrentRow(wanted[0])
            for number in wanted:
                self.item(number).setSelected(True)
        self.blockSignals(False)

    def move_current(self, by: int) -> None:
        """Moves the current run earlier or later."""
        place = self.currentRow() + by
        if self.currentRow() >= 0 and 0 <= place < self.count():
            self.moved.emit(str(self.currentItem().data(_NAME)), place)

    def remove_chosen(self) -> None:
        """Takes the chosen runs out."""
        if names := self.chosen():
            self.removed.emit(names)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Alt with Up or Down moves, Delete takes out."""
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        if event.modifiers() & Qt.KeyboardModifier.AltModifier and event.key() in steps:
            self.move_current(steps[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_Delete:
            self.remove_chosen()
        else:
            super().keyPressEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """A run was dragged: says where to, and is filled anew by whoever keeps the queue."""
        dragged = self.currentItem()
        if dragged is None or event.source() is not self:
            event.ignore()
            return
        name = str(dragged.data(_NAME))
        super().dropEvent(event)
        place = self.names().index(name)
        # Not within the drop: Qt still has the lines in its hands that are then filled anew.
        QTimer.singleShot(0, self, lambda: self.moved.emit(name, place))
