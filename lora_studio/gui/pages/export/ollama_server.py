"""The Ollama side of the export page: the server, its models, creating and managing them."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.export import (
    free_ollama_name,
    is_ollama_name_taken,
    suggested_ollama_name,
)
from lora_studio.core.problems import Problem, Step
from lora_studio.core.protocol import commands, events
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.export.ollama_dialogs import ConfirmDialog, CopyDialog
from lora_studio.gui.pages.export.ollama_models import OllamaModels
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import CollapsibleSection, button, label, row, set_role

_STEP: Step = "export"


class OllamaServerPanel(QWidget):
    """Whether a server answers, its models, and the button that creates the run's model there.

    Signals:
        ask(command): a question for the inspector.
        create_requested(kind): "create_ollama", or "create_ollama_anyway" despite what bits lose.
    """

    ask = Signal(object)
    create_requested = Signal(str)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Shows what the project's facts know of the server."""
        super().__init__(parent)
        self.state = state
        self.searching = False
        self.server = label(role="muted", wrap=True)
        self.create_button = button(tr("Create in Ollama"), self.request_create, icon="export")
        self.other_name = button(tr("Another name"), self._take_free_name, kind="link")
        self.models = OllamaModels()
        self.more = CollapsibleSection(tr("Models in Ollama"))
        self.more.add(self.models)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.ROW)
        layout.addWidget(self.server)
        layout.addLayout(row(self.create_button, self.other_name, None))
        layout.addWidget(self.more)
        self.models.copy_clicked.connect(self._copy)
        self.models.remove_clicked.connect(self._remove)

    def show_server(self, *, can_create: bool) -> None:
        """Shows the server as it is known now; `can_create` says that the run has files."""
        found = self.state.facts.ollama
        self.setVisible(self.state.get(_STEP, "ollama_create") is True)
        self.create_button.setEnabled(found is not None and can_create)
        self.more.setVisible(found is not None and bool(found.details))
        self.other_name.setVisible(self.is_taken())
        if found is None:
            set_role(self.server, "muted")
            self.server.setText(
                tr("Looking for Ollama…")
                if self.searching
                else tr("Ollama was not found on this computer. Get it from ollama.com/download.")
            )
            return
        set_role(self.server, "ok")
        text = tr("✓ Ollama {version} at {host}.").format(version=found.version, host=found.host)
        if self.is_taken():
            text += " " + tr("A model of this name is there and will be replaced.")
        self.server.setText(text)
        self.other_name.setText(tr("Name it {name} instead").format(name=self._free_name()))
        self.models.show_models(found.details)

    def name(self) -> str:
        """What the model will be called."""
        name = str(self.state.get(_STEP, "ollama_name"))
        return name or suggested_ollama_name(self.state.name)

    def is_taken(self) -> bool:
        """Whether the server has a model of this name."""
        found = self.state.facts.ollama
        return found is not None and is_ollama_name_taken(self.name(), found.models)

    def confirm_replacing(self, action: str) -> ConfirmDialog:
        """Asks whether a model may be replaced; connect `confirmed`, then open it."""
        return ConfirmDialog(
            tr("Replace {name}?").format(name=self.name()),
            tr(
                "Ollama has a model of this name. What it is now will be lost, unless it has a "
                "second name."
            ),
            action,
            self.window(),
            danger=True,
        )

    def request_create(self) -> None:
        """Creates the run's model; asks first where one of its name is there."""
        if not self.is_taken():
            self.create_requested.emit("create_ollama")
            return
        dialog = self.confirm_replacing(tr("Replace it"))
        dialog.confirmed.connect(lambda: self.create_requested.emit("create_ollama"))
        dialog.open()

    def offer_anyway(self, problem: Problem) -> None:
        """Asks whether a file that loses more than the limits allow is good enough."""
        dialog = ConfirmDialog(
            tr("Create it all the same?"),
            tr(
                "{problem} The model answers worse than what you trained; the file itself is sound."
            ).format(problem=tell(problem.what)),
            tr("Create it"),
            self.window(),
            danger=True,
        )
        dialog.confirmed.connect(lambda: self.create_requested.emit("create_ollama_anyway"))
        dialog.open()

    def _free_name(self) -> str:
        found = self.state.facts.ollama
        return free_ollama_name(self.name(), found.models if found else ())

    def _take_free_name(self) -> None:
        self.state.set(_STEP, "ollama_name", self._free_name())

    def _copy(self, name: str) -> None:
        found: events.OllamaFound | None = self.state.facts.ollama
        dialog = CopyDialog(name, found.models if found else (), self.window())
        dialog.chosen.connect(self._ask_copy)
        dialog.open()

    def _ask_copy(self, source: str, target: str) -> None:
        self.ask.emit(
            commands.CopyOllama(source=source, target=target, host=self.state.ollama_host())
        )

    def _remove(self, name: str) -> None:
        dialog = ConfirmDialog(
            tr("Remove {name} from Ollama?").format(name=name),
            tr("It cannot be brought back, except by creating it anew. Files of your runs stay."),
            tr("Remove"),
            self.window(),
            danger=True,
        )
        question = commands.RemoveOllama(name=name, host=self.state.ollama_host())
        dialog.confirmed.connect(lambda: self.ask.emit(question))
        dialog.open()
