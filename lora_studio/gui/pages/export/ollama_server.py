"""The Ollama panel of the export page: the server, its models, and creating a model."""

from __future__ import annotations

import os

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core.export import (
    find_free_ollama_name,
    is_ollama_name_taken,
    suggest_ollama_name,
)
from lora_studio.core.problems import Problem, Step
from lora_studio.core.protocol import commands
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.export.ollama_dialogs import ConfirmDialog, CopyDialog
from lora_studio.gui.pages.export.ollama_models import OllamaModels
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import CollapsibleSection, button, label, row, set_role

_STEP: Step = "export"


class OllamaServerPanel(QWidget):
    """Shows the connection to the server, its models, and the button that creates the run's model.

    Signals:
        ask(command): send a command to the inspector.
        create_requested(kind): start the job "create_ollama", or "create_ollama_anyway" for a file
            whose quality loss exceeds the limits.
    """

    ask = Signal(object)
    create_requested = Signal(str)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Read the server's details from the project's facts."""
        super().__init__(parent)
        self.state = state
        self.searching = False
        self.server = label(role="muted", wrap=True)
        self.create_button = button(
            tr("Create model in Ollama"), self.request_create, icon="export"
        )
        self.other_name = button(tr("Use another name"), self._use_free_name, kind="link")
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
        """Update the panel; `can_create` says whether the run has files to create a model from."""
        server = self.state.facts.ollama
        self.setVisible(self.state.get(_STEP, "ollama_create") is True)
        self.create_button.setEnabled(server is not None and can_create)
        self.more.setVisible(server is not None and bool(server.details))
        self.other_name.setVisible(self.is_taken())
        if server is None:
            set_role(self.server, "muted")
            self.server.setText(
                tr("Looking for Ollama…")
                if self.searching
                else tr("Ollama isn't running on this computer. Get it from ollama.com/download.")
            )
            return
        set_role(self.server, "ok")
        template = (
            tr(
                "✓ Connected to Ollama {version} at {host}. The existing model with this name will "
                "be replaced."
            )
            if self.is_taken()
            else tr("✓ Connected to Ollama {version} at {host}.")
        )
        self.server.setText(template.format(version=server.version, host=server.host))
        self.other_name.setText(tr("Use {name} instead").format(name=self._find_free_name()))
        self.models.show_models(server.details)

    def name(self) -> str:
        """Return the name that the model will get."""
        name = str(self.state.get(_STEP, "ollama_name"))
        return name or suggest_ollama_name(self.state.name)

    def is_taken(self) -> bool:
        """Return whether the server has a model with this name."""
        server = self.state.facts.ollama
        return server is not None and is_ollama_name_taken(self.name(), server.models)

    def confirm_replacing(self, action: str) -> ConfirmDialog:
        """Return a dialog that confirms replacing the model; connect `confirmed`, then open it."""
        return ConfirmDialog(
            tr("Replace {name}?").format(name=self.name()),
            tr(
                "Ollama already has a model with this name. Its current contents will be lost "
                "unless you copy it under another name first."
            ),
            action,
            self.window(),
            danger=True,
        )

    def use_host_for_session(self, host: str) -> None:
        """Use an address with a password until the window closes, without saving it to a file."""
        os.environ["OLLAMA_HOST"] = host
        self.state.set(_STEP, "ollama_host", "")
        self.state.messages.info(
            tr(
                "The address contains a password, so it is used only until you close the window "
                "and isn't saved. To use it permanently, set the OLLAMA_HOST environment "
                "variable."
            )
        )

    def request_create(self) -> None:
        """Create the run's model; confirm first if it replaces a model."""
        if not self.is_taken():
            self.create_requested.emit("create_ollama")
            return
        dialog = self.confirm_replacing(tr("Replace"))
        dialog.confirmed.connect(lambda: self.create_requested.emit("create_ollama"))
        dialog.open()

    def offer_anyway(self, problem: Problem) -> None:
        """Ask whether to create a model whose quality loss exceeds the limits."""
        dialog = ConfirmDialog(
            tr("Create the model anyway?"),
            tr(
                "{problem} The file is valid, but the model's answers are worse than those of "
                "your trained adapter."
            ).format(problem=localize(problem.what)),
            tr("Create anyway"),
            self.window(),
            danger=True,
        )
        dialog.confirmed.connect(lambda: self.create_requested.emit("create_ollama_anyway"))
        dialog.open()

    def _find_free_name(self) -> str:
        server = self.state.facts.ollama
        return find_free_ollama_name(self.name(), server.models if server else ())

    def _use_free_name(self) -> None:
        self.state.set(_STEP, "ollama_name", self._find_free_name())

    def _copy(self, name: str) -> None:
        server = self.state.facts.ollama
        dialog = CopyDialog(name, server.models if server else (), self.window())
        dialog.chosen.connect(self._ask_copy)
        dialog.open()

    def _ask_copy(self, source: str, target: str) -> None:
        self.ask.emit(
            commands.CopyOllama(source=source, target=target, host=self.state.get_ollama_host())
        )

    def _remove(self, name: str) -> None:
        dialog = ConfirmDialog(
            tr("Remove {name} from Ollama?").format(name=name),
            tr(
                "You can't undo this. Your run's files are kept, so you can create the model again."
            ),
            tr("Remove"),
            self.window(),
            danger=True,
        )
        question = commands.RemoveOllama(name=name, host=self.state.get_ollama_host())
        dialog.confirmed.connect(lambda: self.ask.emit(question))
        dialog.open()
