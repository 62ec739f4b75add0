"""The dialogs that explain a problem, and ask whether foreign code may run."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QComboBox, QPlainTextEdit, QWidget

from lora_studio.core import limits
from lora_studio.core.problems import Problem
from lora_studio.core.project.project import SPECS
from lora_studio.core.system import consent
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_facts
from lora_studio.gui.problems.suggested_actions import MEMORY_PROBLEMS, suggest_action
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.widgets.basics import button, column, label, row
from lora_studio.gui.widgets.dialog import Dialog


class ProblemDialog(Dialog):
    """The dialog that every "What now?" button opens.

    Signals:
        action_requested(problem): run the suggested action.
        diagnostics_requested: save a diagnostics file.
    """

    action_requested = Signal(object)
    diagnostics_requested = Signal()

    def __init__(self, problem: Problem, parent: QWidget) -> None:
        """Show the problem, with a button for its suggested action."""
        super().__init__(
            tr("What now?"), f"{localize(problem.what)}\n\n{localize(problem.remedy)}", parent
        )
        self._problem = problem
        parts = [label(explain_kind(problem), "muted", wrap=True)]
        if problem.where.file:
            parts.append(label(problem.where.file, "caption", wrap=True))
        parts.append(label(tr("Code: {code}").format(code=problem.code), "caption"))
        self.body.addLayout(column(*parts, spacing=Spacing.M))
        self._add_docs(parent)
        self.copy = self.add_button(button(tr("Copy"), self._copy, icon="copy"))
        self.add_button(button(tr("Diagnostics file…"), self._request_diagnostics))
        action = suggest_action(problem)
        if action is not None and action.is_in_dialog:
            self.action = self.add_button(button(action.label, self._run_action))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def _add_docs(self, over: QWidget) -> None:
        """Add a link to the documentation of the setting that the problem is about."""
        step, field = self._problem.where.step, self._problem.where.field
        if step is None or field not in SPECS[step].model_fields:
            return
        facts = localize_facts(SPECS[step], field or "")
        self.docs = button(
            tr("About {setting}").format(setting=facts.title),
            lambda: docs_viewer.show(facts.help_topic, over),
            kind="link",
            icon="info",
            role="accent",
        )
        self.docs.clicked.connect(self.accept)
        self.body.addLayout(row(self.docs, None))

    def _run_action(self) -> None:
        self.accept()
        self.action_requested.emit(self._problem)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(f"{self._problem} [{self._problem.code}]")

    def _request_diagnostics(self) -> None:
        self.accept()
        self.diagnostics_requested.emit()


#: First part of a problem's code -> explanation.
_EXPLANATIONS = {
    "adapters": mark(
        "You can combine adapters only if they were trained on the same base model. The Merge page "
        "shows the base model of each adapter."
    ),
    "chat": mark(
        "To chat, you need a run with a trained adapter, or a merged or exported model. Choose "
        "another model, or finish that step first."
    ),
    "cluster": mark(
        "A cluster folder contains everything it needs, with relative paths. Copy the whole folder "
        "and start it with the command in its README.md."
    ),
    "dataset": mark(
        "The Dataset page shows how each row was read and why rows were skipped. Nothing you do "
        "there changes your files."
    ),
    "device": mark(
        "All programs share the memory of a device. Close other programs that use it, or choose "
        "a lower precision, rank, sequence length, or micro-batch size. The Train page shows how "
        "much memory each of them uses."
    ),
    "disk": mark(
        "Models and checkpoints are large. Free up space on that disk or choose another folder. "
        "Complete files are not affected."
    ),
    "engine": mark(
        "The engine contains PyTorch and the training libraries and is installed separately from "
        "the app. Settings shows which engine is in use. To test it, run `lora-studio engine check`; "
        "to repair it, run `lora-studio engine repair`."
    ),
    "export": mark(
        "Export reads the merged model of a run and writes GGUF files. You can repeat it as often as "
        "you like; the trained adapter doesn't change."
    ),
    "files": mark(
        "Another program might have the file open, or the disk might be full, disconnected, or "
        "write-protected. The previous content is unchanged."
    ),
    "gpu": mark(
        "A process can't use the GPU after such an error, so each job starts a new one. On Linux with an "
        "NVIDIA GPU, `nvidia-smi` shows whether the driver still finds the GPU, and the system's log "
        "(`journalctl -k`) gives the reason as an Xid number."
    ),
    "grid": mark(
        "A grid search creates one run for each combination of values and adds the runs to the "
        "queue. The project itself doesn't change."
    ),
    "hub": mark(
        "The Hugging Face Hub couldn't be reached or denied access. Gated models need an access "
        "token. Everything on your own disk works without a network."
    ),
    "lint": mark(
        "The Findings list on the Dataset page shows mistakes in your data, the affected rows and, "
        "where possible, a repair that leaves your files unchanged."
    ),
    "lora": mark(
        "Which modules can be adapted depends on the model. The LoRA page lists its modules."
    ),
    "merging": mark(
        "Merging adds the adapter's weights to a full copy of its base model. The adapter must "
        "belong to that base model, and the disk needs space for the copy."
    ),
    "model": mark(
        "A base model is a folder in Hugging Face format with safetensors weights, a model on the "
        "Hub, or a GGUF file. The Model page shows its details."
    ),
    "ollama": mark(
        "Ollama is a separate program. It must be installed and running at the address on the Export "
        "page. To check, run `ollama list` in a terminal."
    ),
    "offline": mark(
        "In offline mode, LoRA Studio doesn't connect to other computers. Models, data, and "
        "Ollama on this computer work as usual. Anything that needs the Hub waits until you turn "
        "it off."
    ),
    "project": mark(
        "A project is a folder with one text file and the runs next to it. The file is replaced in "
        "one step, so a full disk or a crash never leaves it incomplete."
    ),
    "queue": mark(
        "The queue is a file in the project's runs folder that all windows and the command line "
        "share. The queued runs themselves don't depend on it."
    ),
    "run": mark(
        "A run is a folder with everything about one training. A running one is locked; you can "
        "merge, export, and delete the others."
    ),
    "selftest": mark(
        "The self-test asks each form of the model the same questions. If the answers differ, the "
        "exported model isn't what you trained. Don't use that file until the test passes."
    ),
    "serve": mark(
        "Serving runs llama-server, a program of llama.cpp, on this computer. The Export page shows "
        "which model and adapters it serves."
    ),
    "template": mark(
        "A chat template defines how a conversation becomes text. Ollama uses a different "
        "template language from Hugging Face. A converted template is used only if it is verified "
        "to produce the same text."
    ),
    "settings": mark(
        "Your settings are stored in the configuration folder, which Settings shows. Projects and "
        "runs don't depend on them."
    ),
    "system": mark(
        "The operating system refused what the app needs to work: a folder, memory, or open files. "
        "Your projects and runs are not affected."
    ),
    "training": mark(
        "The settings on the Train page are checked before each start. A message next to a setting "
        "tells you if it doesn't fit your data or device."
    ),
    "worker": mark(
        "Each job runs in its own process, and this one stopped unexpectedly. Saved checkpoints and "
        "adapters are intact. The log of the run shows its last output."
    ),
    "evaluation": mark(
        "An evaluation compares models on rows that weren't trained on. Answers that were computed "
        "before are kept, so you can change what this problem is about and continue the evaluation, "
        "or start a new one with other models, test sets, or metrics."
    ),
    "window": mark(
        "This is a bug in LoRA Studio. Your project is saved, and a running job continues without "
        "the window. To report the bug, attach a diagnostics file (Help menu)."
    ),
}
_DEFAULT = mark(
    "Try the suggestion above first. The log has more details, and a diagnostics file (Help menu) "
    "contains what others need to help you."
)

#: Kinds that share the explanation of another one.
_ALIASES = {
    "estimate": "device", "gguf": "export", "imatrix": "export", "import": "merging",
    "playground": "files", "quantize": "export",
}  # fmt: skip


def explain_kind(problem: Problem) -> str:
    """Return a translated paragraph about problems of this kind."""
    family = problem.code.partition(".")[0]
    family = "device" if problem.code in MEMORY_PROBLEMS else _ALIASES.get(family, family)
    return tr(_EXPLANATIONS.get(family, _DEFAULT))


#: Bytes of a file that are shown; no model's code file is longer.
_MAX_SHOWN = 400_000

#: Size of the code view in pixels.
_VIEW_SIZE = (720, 360)


class ConsentDialog(Dialog):
    """Shows where code came from and every line of it, with a button that allows it to run.

    Signals:
        allowed: the user has allowed the code, and this is stored.
        failed(reason): the consent couldn't be stored.
    """

    allowed = Signal()
    failed = Signal(object)

    def __init__(self, code: ForeignCode, parent: QWidget) -> None:
        """Show the code's files, the first one open."""
        super().__init__(tr("Allow this code to run?"), _explain(code), parent)
        self._code = code
        self.files = QComboBox()
        self.files.setAccessibleName(tr("File"))
        self.files.addItems(code.files)
        self.source = QPlainTextEdit(readOnly=True)
        self.source.setAccessibleName(tr("Code"))
        self.source.setProperty("mono", True)
        self.source.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.source.setMinimumSize(*_VIEW_SIZE)
        self.files.currentTextChanged.connect(self._show_file)
        self.body.addLayout(
            column(
                label(str(code.folder), "caption", wrap=True),
                self.files,
                self.source,
                label(
                    tr(
                        "This applies to exactly this code. If a file changes, you're asked again. "
                        "You can withdraw it in Settings."
                    ),
                    "muted",
                    wrap=True,
                ),
                spacing=Spacing.M,
            )
        )
        self.buttons.insertStretch(0)
        self.allow = self.add_button(button(tr("Allow this code"), self._allow, kind="danger"))
        self.cancel = self.add_button(button(tr("Cancel"), self.reject), default=True)
        self._show_file(self.files.currentText())

    def _show_file(self, name: str) -> None:
        """Show a file if it is the one that was hashed, as the user would allow that one."""
        try:
            content = read_bytes(self._code.folder / name, limits.LARGE_FILE)
        except OSError as error:
            self.source.setPlainText(localize(describe_os_error(error)))
            return
        if not consent.is_as_hashed(self._code, name, content):
            self.allow.setEnabled(False)
            self.source.setPlainText(
                tr("This file has changed. Close this dialog and review the code again.")
            )
        elif b"\0" in content:
            self.source.setPlainText(tr("This is a compiled program."))
        else:
            shown = content[:_MAX_SHOWN].decode("utf-8", "replace")
            is_long = len(content) > _MAX_SHOWN
            notice = tr("This file is too long to be shown in full. This is how it begins:")
            self.source.setPlainText(f"{notice}\n\n{shown}" if is_long else shown)

    def _allow(self) -> None:
        self.accept()
        try:
            consent.trust(self._code)
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        else:
            self.allowed.emit()


def _explain(code: ForeignCode) -> str:
    count = len(code.files)
    if code.kind == "model":
        return tr_n(
            "The model includes {n} Python file. It would run with your permissions: it can read, "
            "change, and send any of your files. Only allow it if you trust its author.",
            "The model includes {n} Python files. They would run with your permissions: they can "
            "read, change, and send any of your files. Only allow them if you trust their author.",
            count,
        )
    if code.kind == "reward":
        return tr(
            "A reward of this project is a Python function. It runs in a process of its own, without network "
            "and with limits of time and memory, but it can read and change your files. Only allow it if you "
            "trust its author."
        )
    return tr_n(
        "The project uses its own llama.cpp with {n} program. It would run with your permissions. "
        "Only allow it if you know where it came from.",
        "The project uses its own llama.cpp with {n} programs. They would run with your "
        "permissions. Only allow them if you know where they came from.",
        count,
    )
