"""List of the queued runs; reorder by dragging or with Alt and the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDropEvent, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing, set_icon
from lora_studio.gui.widgets.basics import button, label, row, tool_button
from lora_studio.gui.widgets.tooltips import plain_tip

_NAME = Qt.ItemDataRole.UserRole


class QueueView(QWidget):
    """Shows the queue, the next run first.

    Signals:
        start_clicked, pause_clicked: start the queue, or pause it after the current job.
        moved(name, index): move a run to a position, 0 being the next to start.
        removed(names): remove runs from the queue.
    """

    start_clicked = Signal()
    pause_clicked = Signal()
    moved = Signal(str, int)
    removed = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with an empty queue."""
        super().__init__(parent)
        self.status = label("", wrap=True)
        self.list = _List()
        self.list.moved.connect(self.moved)
        self.list.removed.connect(self.removed)
        self.toggle = button("", self._toggle)
        self.up = tool_button(
            "chevron-up", tr("Move up (Alt+Up)"), lambda: self.list.move_current(-1)
        )
        self.down = tool_button(
            "chevron-down", tr("Move down (Alt+Down)"), lambda: self.list.move_current(1)
        )
        self.remove = tool_button(
            "close", tr("Remove from queue (Delete). The run itself is kept."),
            self.list.remove_selected,
        )  # fmt: skip
        self._paused = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.status)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.toggle, None, self.up, self.down, self.remove))
        self.list.currentRowChanged.connect(lambda _: self._enable_buttons())
        self.show_queue([], paused=False, running=False)

    def show_queue(
        self, entries: Sequence[tuple[str, str]], *, paused: bool, running: bool
    ) -> None:
        """Show `entries` as (folder, title) pairs; the selection is kept."""
        self._paused = paused
        self.list.fill(entries, self.list.list_selected())
        self.toggle.setVisible(bool(entries))
        self.toggle.setText(tr("Start queue") if paused else tr("Pause queue"))
        set_icon(self.toggle, "play" if paused else "pause")
        if not entries:
            self.status.setText(
                tr("The queue is empty. Runs that you add start one after another.")
            )
        elif paused:
            self.status.setText(tr("Paused. Queued runs don't start automatically."))
        elif running:
            self.status.setText(tr("The next run starts when the current job finishes."))
        else:
            self.status.setText(tr("The next run is starting."))
        self._enable_buttons()

    def _enable_buttons(self) -> None:
        index, count = self.list.currentRow(), self.list.count()
        self.up.setEnabled(index > 0)
        self.down.setEnabled(0 <= index < count - 1)
        self.remove.setEnabled(index >= 0)

    def _toggle(self) -> None:
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

    def list_names(self) -> list[str]:
        """Return the folders, the next one first."""
        return [str(self.item(n).data(_NAME)) for n in range(self.count())]

    def list_selected(self) -> list[str]:
        """Return the folders of the selected runs, the current one first."""
        current = self.currentItem()
        names = [str(current.data(_NAME))] if current is not None else []
        return names + [n for item in self.selectedItems() if (n := item.data(_NAME)) not in names]

    def fill(self, entries: Sequence[tuple[str, str]], selected: Sequence[str]) -> None:
        """Replace all entries."""
        self.blockSignals(True)
        self.clear()
        for number, (name, title) in enumerate(entries, start=1):
            item = QListWidgetItem(f"{number}   {title}")
            item.setData(_NAME, name)
            item.setToolTip(plain_tip(name))
            item.setSizeHint(QSize(0, self.fontMetrics().height() + 15))
            self.addItem(item)
        names = self.list_names()
        rows = [names.index(name) for name in selected if name in names]
        if rows:
            self.setCurrentRow(rows[0])
            for each in rows:
                self.item(each).setSelected(True)
        self.blockSignals(False)

    def move_current(self, by: int) -> None:
        """Move the current run up (-1) or down (1)."""
        index = self.currentRow() + by
        if self.currentRow() >= 0 and 0 <= index < self.count():
            self.moved.emit(str(self.currentItem().data(_NAME)), index)

    def remove_selected(self) -> None:
        """Remove the selected runs."""
        if names := self.list_selected():
            self.removed.emit(names)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move with Alt and Up or Down, remove with Delete."""
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
        if event.modifiers() & Qt.KeyboardModifier.AltModifier and event.key() in steps:
            self.move_current(steps[Qt.Key(event.key())])
        elif event.key() == Qt.Key.Key_Delete:
            self.remove_selected()
        else:
            super().keyPressEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """Emit the new position of a dragged run; the owner of the queue then refills the list."""
        dragged = self.currentItem()
        if dragged is None or event.source() is not self:
            event.ignore()
            return
        name = str(dragged.data(_NAME))
        super().dropEvent(event)
        index = self.list_names().index(name)
        # Delayed, because refilling the list while Qt handles the drop would delete its items.
        QTimer.singleShot(0, self, lambda: self.moved.emit(name, index))
