"""The Ollama panel of the export page: the server, its models, and creating a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QLineEdit, QWidget

from lora_studio.core import formatting
from lora_studio.core.export import (
    find_free_ollama_name,
    is_ollama_name_taken,
    suggest_ollama_name,
)
from lora_studio.core.problems import Problem, Step
from lora_studio.core.protocol import commands, events
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import (
    CollapsibleSection,
    button,
    clear_layout,
    column,
    label,
    row,
    set_role,
    tool_button,
)
from lora_studio.gui.widgets.dialog import Dialog

_STEP: Step = "export"


class OllamaServerPanel(QWidget):
    """Shows the connection to the server, its models, and the button that creates the run's model.

    Signals:
        ask(command): send a command to the query workers.
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
        self.setLayout(
            column(self.server, row(self.create_button, self.other_name, None), self.more)
        )
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


class OllamaModels(QWidget):
    """Shows one row per model.

    Signals:
        copy_clicked(name), remove_clicked(name): copy or remove a model.
    """

    copy_clicked = Signal(str)
    remove_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without models."""
        super().__init__(parent)
        self.names: list[str] = []
        self._shown: tuple[events.OllamaModel, ...] = ()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(0, 1)

    def show_models(self, models: Sequence[events.OllamaModel]) -> None:
        """Rebuild the rows if the models have changed."""
        if tuple(models) == self._shown:
            return
        self._shown = tuple(models)
        self.names = [model.name for model in models]
        clear_layout(self._grid)
        for line, model in enumerate(models):
            self._add(line, model)

    def _add(self, line: int, model: events.OllamaModel) -> None:
        name = model.name
        facts = f"{formatting.format_size(model.bytes)}  {model.quantization}".strip()
        parts = (
            label(name),
            label(facts, "muted"),
            tool_button(
                "copy", tr("Copy {name}").format(name=name), partial(self.copy_clicked.emit, name)
            ),
            tool_button(
                "trash",
                tr("Remove {name}").format(name=name),
                partial(self.remove_clicked.emit, name),
            ),
        )
        for place, part in enumerate(parts):
            self._grid.addWidget(part, line, place)


class ConfirmDialog(Dialog):
    """Ask whether to go ahead with an action.

    Signals:
        confirmed: the user chose the action.
    """

    confirmed = Signal()

    def __init__(
        self,
        title: str,
        text: str,
        action: str,
        parent: QWidget | None = None,
        *,
        danger: bool = False,
    ) -> None:
        """Label the button with `action`; if the action is dangerous, Enter cancels."""
        super().__init__(title, text, parent)
        self.cancel = self.add_button(button(tr("Cancel"), self.reject), default=danger)
        self.confirm = self.add_button(
            button(action, self._confirm, kind="danger" if danger else "primary"),
            default=not danger,
        )

    def _confirm(self) -> None:
        self.accept()
        self.confirmed.emit()


class CopyDialog(Dialog):
    """Ask for the name of a model's copy.

    Signals:
        chosen(source, target): copy the model; `target` is not in use.
    """

    chosen = Signal(str, str)

    def __init__(self, source: str, taken: tuple[str, ...], parent: QWidget | None = None) -> None:
        """Suggest a free name; `taken` are the names on the server."""
        super().__init__(
            tr("Copy {source}").format(source=source),
            tr("The copy shares the model's files, so it uses no additional disk space."),
            parent,
        )
        self._source, self._taken = source, taken
        self.name = QLineEdit(find_free_ollama_name(source, taken))
        self.name.setAccessibleName(tr("Name of the copy"))
        self._error = label("", "error", wrap=True)
        self.body.addWidget(self.name)
        self.body.addWidget(self._error)
        self.add_button(button(tr("Cancel"), self.reject))
        self.copy = self.add_button(button(tr("Copy"), self._accept, kind="primary"), default=True)
        self.name.textChanged.connect(self._check)
        self.name.selectAll()
        self._check()

    def _check(self) -> None:
        name = self.name.text().strip()
        full = name if ":" in name else f"{name}:latest"
        is_taken = full in self._taken
        self._error.setText(tr("A model with this name already exists.") if is_taken else "")
        self._error.setVisible(is_taken)
        self.copy.setEnabled(bool(name) and not is_taken)

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._source, self.name.text().strip())
