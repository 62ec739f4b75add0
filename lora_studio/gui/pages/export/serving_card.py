"""Card that serves a run on this computer with llama-server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSpinBox,
    QToolButton,
    QWidget,
)

from lora_studio.core import formatting, serving
from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs import chat_models
from lora_studio.core.serving import RunOption
from lora_studio.gui.controls.adapter_weights import WeightEditor
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import TaskRunner
from lora_studio.gui.widgets.basics import (
    Card,
    FlowLayout,
    LabelRole,
    WheelNeedsFocus,
    button,
    label,
    row,
    set_role,
    tool_button,
    with_title,
)
from lora_studio.gui.widgets.glyph import ElidedLabel
from lora_studio.gui.widgets.rich_text import CodeView
from lora_studio.gui.widgets.tooltips import plain_tip

#: Lines of the server's output to show.
_LINES = 200


class _Combo(WheelNeedsFocus, QComboBox):
    pass


class _Port(WheelNeedsFocus, QSpinBox):
    pass


class ServingCard(Card):
    """Starts and stops llama-server, and shows its address, requests to copy, and its output.

    `embeds`: the run trained an embedding model, whose adapter isn't served on the base model.

    Signals:
        explain_requested(problem): explain why serving failed.
    """

    explain_requested = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Offer the run of `state` whenever `show_run` is called."""
        super().__init__(tr("Serve"), parent)
        self.state = state
        self.worker = OnDemandWorker(self)
        self.ready: events.ServerReady | None = None
        self.problem: Problem | None = None
        self.embeds = False
        self._command_id = ""
        self._stage: Text | None = None
        self._shown: object = None
        self._notes: list[str] = []
        self._create_parts()
        self._add_parts()
        self.worker.event_received.connect(self._on_event)
        self.worker.busy_changed.connect(self._refresh)
        self.model.currentIndexChanged.connect(self._refresh)
        self.show_run()

    def _create_parts(self) -> None:
        self.model = _Combo()
        self.model.setAccessibleName(tr("Model to serve"))
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.adapters = ServedAdapters(self.state)
        self.port = _Port(minimum=0, maximum=65535)
        self.port.setSpecialValueText(tr("Any free port"))
        self.port.setAccessibleName(tr("Port"))
        self.port.lineEdit().setTextMargins(Spacing.S, 0, Spacing.XS, 0)
        self.start_button = button(tr("Start server"), self.start, icon="play")
        self.stop_button = button(tr("Stop server"), self.stop, icon="stop")
        self.status = label(wrap=True)
        self.remedy = label(role="muted", wrap=True)
        self.notes = label(role="muted", wrap=True)
        self.what_now = button(
            tr("What now?"), lambda: self.explain_requested.emit(self.problem), kind="link"
        )
        self.copy_address = self._copy_button(tr("Copy address"), serving.get_api_address)
        self.copy_key = self._copy_button(tr("Copy API key"), lambda ready: ready.key)
        self.copy_curl = self._copy_button(tr("Copy curl command"), serving.format_curl)
        self.copy_python = self._copy_button(tr("Copy Python code"), serving.format_python)
        self.log = CodeView(tr("Output of llama-server"))
        self.log.setMaximumBlockCount(_LINES)
        set_scaled_sizes(self.log, height=110)

    def _add_parts(self) -> None:
        about = label(
            tr(
                "Answers requests from programs on this computer at an OpenAI-compatible address, "
                "using llama-server. Programs need the API key, so that no web page can use the model: that of the "
                "environment variable LLAMA_API_KEY, or a new one each time. The server stops when you close the window. If llama-server is built for "
                "your GPU, the model takes GPU memory while it runs."
            ),
            role="muted",
            wrap=True,
        )
        self.copies = QWidget()
        flow = FlowLayout(self.copies)
        for part in (self.copy_address, self.copy_key, self.copy_curl, self.copy_python):
            flow.addWidget(part)
        self.served = with_title(tr("Adapters and their scales"), self.adapters)
        self.add(
            about,
            with_title(tr("Model"), self.model),
            self.served,
            with_title(tr("Port"), self.port),
            row(self.start_button, self.stop_button, None),
            self.status,
            self.remedy,
            row(self.what_now, None),
            self.copies,
            self.notes,
            self.log,
        )

    # --- the run ------------------------------------------------------------------------------

    def show_run(self) -> None:
        """Offer the GGUF files and the adapter of the current run."""
        run = self.state.run
        files = chat_models.list_gguf_files(run) if run is not None else []
        has_adapter = run is not None and run.has_adapter and not self.embeds
        self.setVisible(self.worker.busy or bool(files) or has_adapter)
        if (key := (run, files, has_adapter)) == self._shown:
            return
        self._shown = key
        self.model.clear()
        for file in files:
            self.model.addItem(file.name, str(file))
        if has_adapter:
            self.model.addItem(tr("Base model + adapters"), "")
        if run is not None and files:
            chosen = serving.choose_gguf_file(run)
            self.model.setCurrentIndex(max(self.model.findData(str(chosen)), 0))
        self.adapters.set_run(RunOption.read(run) if run is not None and has_adapter else None)
        self._refresh()

    def start(self) -> None:
        """Start the server for the chosen model."""
        if (run := self.state.run) is None:
            return
        file = str(self.model.currentData() or "")
        command = commands.Serve(
            runs=(ServedRun(run=str(run.path)),) if file else self.adapters.get_chosen(),
            file=file,
            port=self.port.value(),
            llama_cpp=str(self.state.get("export", "llama_cpp") or ""),
        )
        self.ready = self.problem = self._stage = None
        self._notes = []
        self._command_id = command.id
        self.log.clear()
        self.worker.send(command)

    def stop(self) -> None:
        """Stop the server."""
        self.worker.cancel()

    def stop_background_work(self) -> None:
        """Stop the server and the search for runs: the window is closing."""
        self.worker.stop_background_work()
        self.adapters.stop_background_work()

    # --- events -------------------------------------------------------------------------------

    def _on_event(self, event: object) -> None:
        match event:
            case events.Progress():
                self._stage = event.stage
            case events.ServerReady():
                self.ready = event
            case events.ServerLogged():
                self.log.appendPlainText("\n".join(event.lines))
                return
            case events.LogLine():
                self._notes.append(localize(event.text))
            case events.Warned():
                self._notes.append(
                    f"⚠ {localize(event.problem.what)} {localize(event.problem.remedy)}"
                )
            case events.Failed():
                self.problem, self.ready = event.problem, None
            case events.Done() | events.Cancelled():
                self.ready = None
        self._refresh()

    def _refresh(self, *_: object) -> None:
        busy, ready = self.worker.busy, self.ready
        for part in (self.model, self.adapters, self.port):
            part.setEnabled(not busy)
        self.served.setVisible(not self.model.currentData())
        self.start_button.setVisible(not busy)
        self.start_button.setEnabled(self.model.count() > 0)
        self.stop_button.setVisible(busy)
        self.copies.setVisible(ready is not None)
        self.log.setVisible(bool(self.log.toPlainText()) or busy)
        self.what_now.setVisible(self.problem is not None)
        self.notes.setText("\n".join(self._notes))
        self.notes.setVisible(bool(self._notes))
        self._show_status(busy=busy)

    def _show_status(self, *, busy: bool) -> None:
        role: LabelRole = "muted"
        status = ""
        if self.ready is not None:
            role = "ok"
            address, served = serving.get_api_address(self.ready), Path(self.ready.file).name
            if names := [formatting.format_run_name(each.name) for each in self.ready.adapters]:
                served = tr("base model with {adapters}").format(adapters=", ".join(names))
            status = tr("✓ Ready at {address}, serving {model}").format(
                address=address, model=served
            )
        elif busy:
            stage = localize(self._stage) if self._stage is not None else ""
            status = tr("Starting: {stage}…").format(stage=stage) if stage else tr("Starting…")
        elif self.problem is not None:
            role = "error"
            status = f"✗ {localize(self.problem.what)}"
        set_role(self.status, role)
        self.status.setText(status)
        self.status.setVisible(bool(status))
        self.remedy.setText("" if self.problem is None else localize(self.problem.remedy))
        self.remedy.setVisible(self.problem is not None)

    # --- actions ------------------------------------------------------------------------------

    def _copy_button(
        self, title: str, describe: Callable[[events.ServerReady], str]
    ) -> QPushButton:
        def copy() -> None:
            if self.ready is not None:
                self._copy(describe(self.ready))

        return button(title, copy, icon="copy")

    def _copy(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self.state.messages.success(tr("Copied: {text}").format(text=text))


class ServedAdapters(QWidget):
    """Lists the adapters to serve, with a menu of runs to add."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Start without a run."""
        super().__init__(parent)
        self._state = state
        self._tasks = TaskRunner(self._on_failed, self)
        self.runs: list[RunOption] = []
        self.scales: list[WeightEditor] = []
        self._rows: list[tuple[QLabel, WeightEditor, QToolButton]] = []
        self.menu = QMenu(self)
        self.add = button(tr("Add adapter…"), icon="plus")
        self.add.setMenu(self.menu)
        self.menu.aboutToShow.connect(self._search)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.S)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(0, 1)
        self._grid.addLayout(row(self.add, None), 1000, 0, 1, 3)

    def set_run(self, run: RunOption | None) -> None:
        """Replace all adapters by that of one run, or none."""
        while self.runs:
            self._remove(self.runs[-1])
        if run is not None:
            self._append(run)

    def get_chosen(self) -> tuple[ServedRun, ...]:
        """Return the runs with their scales."""
        pairs = zip(self.runs, self.scales, strict=True)
        return tuple(ServedRun(run=str(run.path), scale=box.value()) for run, box in pairs)

    def stop_background_work(self) -> None:
        """End the search: the window is closing."""
        self._tasks.stop_background_work()

    def _append(self, run: RunOption) -> None:
        name, scale = ElidedLabel(run.name), WeightEditor(1.0, run.name)
        name.setToolTip(plain_tip(f"{run.name}\n{run.path}"))
        remove = tool_button("close", tr("Remove {name}").format(name=run.name))
        remove.clicked.connect(partial(self._remove, run))
        remove.setVisible(bool(self.runs))  # the chosen run stays
        number = len(self.runs)
        for column, part in enumerate((name, scale, remove)):
            self._grid.addWidget(part, number, column)
        self.runs.append(run)
        self.scales.append(scale)
        self._rows.append((name, scale, remove))

    def _remove(self, run: RunOption, *_: object) -> None:
        number = self.runs.index(run)
        for part in self._rows.pop(number):
            self._grid.removeWidget(part)
            part.hide()
            part.deleteLater()
        del self.runs[number], self.scales[number]

    def _search(self) -> None:
        """Fill the menu with the runs of this base model."""
        self.menu.clear()
        self.menu.addAction(tr("Looking for runs…")).setEnabled(False)
        runs, first = self._state.runs_folder, self.runs[0] if self.runs else None
        if runs is None or first is None:
            return
        self._tasks.start(
            lambda thread: list(
                thread.cooperative_iter(serving.iter_runs_of_base(runs, first.path))
            ),
            self._fill_menu,
        )

    def _on_failed(self, problem: object) -> None:
        assert isinstance(problem, Problem)
        self._state.messages.problem(problem)

    def _fill_menu(self, options: object) -> None:
        self.menu.clear()
        assert isinstance(options, list)
        for option in options:
            if option not in self.runs:
                self.menu.addAction(option.name).triggered.connect(partial(self._on_chosen, option))
        if self.menu.isEmpty():
            self.menu.addAction(tr("No other run has this base model")).setEnabled(False)

    def _on_chosen(self, option: RunOption, *_: object) -> None:
        self._append(option)
