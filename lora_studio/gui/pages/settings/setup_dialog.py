"""Dialog of the engine setup: detected hardware, required space and download, and progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.core import formatting
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.settings.setup_thread import STAGES, EngineControl
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, column, label, row, with_title
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.file_dialogs import choose_folder, open_file_dialog
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.setup import detect, folders
from lora_studio.setup.detect import Accelerator
from lora_studio.setup.events import Cancelled, Done, Failed, SetupPlanned

if TYPE_CHECKING:
    from lora_studio.setup.operations import SetupRequest

_WIDTH = 620

_TITLES = {
    "install": mark("Set up the engine"),
    "repair": mark("Repair the engine"),
    "update": mark("Update the engine"),
}
_TEXTS = {
    "install": mark(
        "The engine contains PyTorch and the libraries that train your model. It is "
        "downloaded once, tested with a tiny training run, and installed in a folder "
        "of your own. You don't need administrator rights."
    ),
    "repair": mark(
        "Checks every package against its checksums and downloads only damaged ones "
        "again. The current engine is kept until the new one works."
    ),
    "update": mark(
        "Updates the engine to this version of LoRA Studio. Only changed packages are "
        "downloaded. You can roll back afterwards."
    ),
}
_DOES = {"install": mark("Set up"), "repair": mark("Repair"), "update": mark("Update")}
_VARIANTS = {
    "auto": mark("Automatic"),
    "cpu": mark("CPU"),
    "cuda": mark("NVIDIA GPU (CUDA)"),
    "rocm": mark("AMD GPU (ROCm)"),
}


class EngineDialog(Dialog):
    """Plans a setup immediately and installs it on request. Work continues if the dialog is closed.

    Signals:
        python_chosen(path): use an existing Python instead of a setup.
    """

    python_chosen = Signal(object)

    def __init__(
        self, control: EngineControl, request: SetupRequest, parent: QWidget | None = None
    ) -> None:
        """Create the dialog; `control` does the work and may be running already."""
        super().__init__(tr(_TITLES[request.mode]), tr(_TEXTS[request.mode]), parent)
        self.setModal(False)
        self.text.setMinimumWidth(_WIDTH)
        self.control = control
        self._request = request
        self._build()
        control.changed.connect(self._show)
        if not control.running:
            control.prepare(request)
        self._show()

    def _build(self) -> None:
        self.variant = ComboControl(_VARIANTS)
        name_control(self.variant, tr("Hardware"))
        self.variant.show_value(self._request.variant or "auto")
        self.variant.edited.connect(self._choose_variant)
        self.facts = FactList()
        self.folder = button(tr("Change folder…"), self._choose_folder, kind="link", icon="folder")
        self.python = button(tr("Use an existing Python…"), self._choose_python, kind="link")
        self.offline = button(tr("Use a wheel folder…"), self._choose_wheels, kind="link")
        self.offline.setToolTip(
            tr("Install offline from a wheel folder that was created on another computer")
        )
        self.progress = ProgressLine()
        self.note = label("", "warn", wrap=True)
        self.problem = label("", "error", wrap=True)
        self.log = button(tr("Open log"), self._open_log, kind="link")
        self.outcome = label("", "ok", wrap=True)
        self.choice = with_title(tr("Hardware"), self.variant)
        if self._request.mode != "install":
            for part in (self.choice, self.folder, self.python):
                part.hide()
        others = row(self.folder, self.python, self.offline, None, spacing=Spacing.M)
        self.body.addLayout(
            column(
                self.choice,
                self.facts,
                others,
                self.progress,
                self.note,
                self.problem,
                self.outcome,
            )
        )
        self.body.addStretch(1)  # keeps its height when a part is hidden
        self.buttons.insertWidget(0, self.log)
        self.close_ = self.add_button(button(tr("Close"), self.reject))
        self.cancel = self.add_button(button(tr("Cancel"), self.control.cancel))
        self.go = self.add_button(
            button(tr(_DOES[self._request.mode]), self._start, kind="primary"), default=True
        )

    # --- user actions -------------------------------------------------------------------------

    def _start(self) -> None:
        if isinstance(self.control.ending, Done) and not self.control.planned:
            self.accept()
        elif self.control.planned:
            self.control.carry_out()
        elif self.control.agreed == self._request:
            self.control.resume(self._request)
        else:
            self._restart_plan(self._request)

    def _restart_plan(self, request: SetupRequest) -> None:
        """Plan again with other options."""
        self._request = request
        self.control.prepare(request)

    def _choose_variant(self, name: str) -> None:
        variant = next(
            (known_variant for known_variant in detect.VARIANTS if known_variant == name), None
        )
        self._restart_plan(replace(self._request, variant=variant))

    def _choose_folder(self) -> None:
        title = tr("Choose a folder for the engine")
        choose_folder(self, title, self._set_folder, folders.get_root().path)

    def _set_folder(self, chosen: str) -> None:
        self._restart_plan(replace(self._request, to=Path(chosen)))

    def _choose_wheels(self) -> None:
        choose_folder(self, tr("Choose a wheel folder"), self._set_wheels)

    def _set_wheels(self, chosen: str) -> None:
        self._restart_plan(replace(self._request, wheelhouse=Path(chosen)))

    def _choose_python(self) -> None:
        dialog = QFileDialog(self, tr("Choose a Python executable with PyTorch installed"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        # Not resolved: a virtual environment's link points to the Python outside of it.
        dialog.setOption(QFileDialog.Option.DontResolveSymlinks)
        open_file_dialog(dialog, lambda name: self.python_chosen.emit(Path(name)))

    def _open_log(self) -> None:
        open_path(folders.get_root().log)

    # --- display ------------------------------------------------------------------------------

    def _show(self) -> None:
        control, ending = self.control, self.control.ending
        if control.planned and control.request != self._request and self.isVisible():
            control.prepare(self._request)  # planning was in progress when the dialog was opened
            return
        self._show_facts()
        self._show_progress()
        failed = ending.problem if isinstance(ending, Failed) else None
        self.problem.setText(localize_problem(failed) if failed else "")
        self.problem.setVisible(failed is not None)
        self.log.setVisible(failed is not None and folders.get_root().log.is_file())
        self._show_notes()
        ready = isinstance(ending, Done) and not control.planned and not control.running
        cancelled = isinstance(ending, Cancelled)
        self.outcome.setText(
            tr("The engine is ready.")
            if ready
            else tr(
                "Setup canceled. Downloaded files are kept, and the next setup continues "
                "from there."
            )
            if cancelled
            else ""
        )
        self.outcome.setVisible(ready or cancelled)
        for part in (self.variant, self.folder, self.python, self.offline):
            part.setEnabled(not control.running)
        self.cancel.setVisible(control.running)
        self.cancel.setEnabled(not control.stopping)
        self.close_.setText(tr("Continue in background") if control.running else tr("Close"))
        self.close_.setVisible(not ready)
        self.go.setEnabled(not control.running)
        does = tr(_DOES[self._request.mode])
        again = failed is not None or cancelled
        self.go.setText(tr("Close") if ready else tr("Try again") if again else does)
        if self.go.isEnabled() and self.focusWidget() is self.close_:
            self.go.setFocus()  # the focus moved elsewhere while the button was disabled
        self._fit_height()

    def _show_notes(self) -> None:
        plan = self.control.plan
        notes = [localize_problem(warning.problem) for warning in self.control.warnings]
        if self.control.planned and plan is not None and plan.needed > plan.free:
            notes.append(tr("Not enough disk space. Free up some space, or choose another folder."))
        self.note.setText("\n".join(notes))
        self.note.setVisible(bool(notes))

    def _fit_height(self) -> None:
        """Grow with the content; wrapped text is higher than Qt's size hint."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        needed = max(layout.totalSizeHint().height(), layout.totalHeightForWidth(self.width()))
        if self.isVisible() and self.height() < needed:
            self.resize(self.width(), needed)

    def _show_facts(self) -> None:
        control, folder = self.control, self._request.to or folders.get_root().path
        rows = [
            (
                tr("This computer"),
                describe_machine(control.machine.accelerator) if control.machine else "",
            ),
            (tr("Folder"), control.plan.folder if control.plan else str(folder)),
        ]
        if (plan := control.plan) is not None:
            rows += _list_plan_facts(plan)
        self.facts.show_facts(rows)

    def _show_progress(self) -> None:
        control = self.control
        self.progress.setVisible(control.running)
        if not control.running:
            return
        progress = control.progress
        doing = tr("Canceling") if control.stopping else ""
        if not doing and progress is not None:
            doing = tr(STAGES.get(str(progress.stage), str(progress.stage)))
            if progress.unit == "B" and progress.total:
                doing = tr("{doing}: {done} of {total}").format(
                    doing=doing,
                    done=formatting.format_size(progress.done),
                    total=formatting.format_size(progress.total),
                )
        if (speed := control.speed) is not None:
            doing = tr("{doing}  ·  {speed}/s").format(
                doing=doing, speed=formatting.format_size(speed)
            )
        self.progress.show_progress(doing, control.share, progress.eta_s if progress else None)


def _list_plan_facts(plan: SetupPlanned) -> list[tuple[str, str]]:
    torch = (
        tr("from your package index")
        if plan.torch == "standard"
        else tr("build {name}").format(name=plan.torch)
    )
    return [
        (tr("Download"), _describe_download(plan)),
        (
            tr("Disk space"),
            tr("{needed} required, {free} free").format(
                needed=formatting.format_size(plan.needed), free=formatting.format_size(plan.free)
            ),
        ),
        (tr("PyTorch"), torch),
        (tr("Python"), plan.python),
    ]


def _describe_download(plan: SetupPlanned) -> str:
    """Return the bytes to download, the number of packages and how many are installed already."""
    size = formatting.format_size(plan.download)
    if not plan.reused:
        return tr_n("{size} ({n} package)", "{size} ({n} packages)", plan.packages, size=size)
    return tr_n(
        "{size} ({n} package, {installed} already installed)",
        "{size} ({n} packages, {installed} already installed)",
        plan.packages,
        size=size,
        installed=formatting.format_number(plan.reused),
    )


def describe_machine(accelerator: Accelerator) -> str:
    """Return the hardware that the engine computes on, for display."""
    if accelerator.variant == "cpu":
        text = tr("No GPU that PyTorch supports. Training runs on the CPU ({name}).").format(
            name=accelerator.title
        )
        return f"{text} {localize(accelerator.note)}" if accelerator.note else text
    parts = [accelerator.title or accelerator.variant]
    if accelerator.memory:
        parts.append(formatting.format_memory(accelerator.memory))
    if accelerator.driver:
        parts.append(tr("driver {version}").format(version=accelerator.driver))
    if accelerator.cuda:
        parts.append(f"CUDA {accelerator.cuda[0]}.{accelerator.cuda[1]}")
    text = ", ".join(parts)
    return f"{text}. {localize(accelerator.note)}" if accelerator.note else text
