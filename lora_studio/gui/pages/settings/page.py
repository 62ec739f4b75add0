"""Settings: appearance, accounts, network, engine, folders."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QCheckBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from lora_studio import __version__
from lora_studio.client import network_report, worker
from lora_studio.core import formatting
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact
from lora_studio.core.network.purposes import TITLES, PossibleContact, format_address
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import consent, offline, paths
from lora_studio.core.system.files import create_folder, describe_os_error
from lora_studio.gui.controls.choices import ComboControl, SegmentsControl
from lora_studio.gui.controls.controls import LineEdit, name_control
from lora_studio.gui.jobs.hub_account import HubAccount
from lora_studio.gui.language import LANGUAGES, mark, tr
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import SIZES, Size
from lora_studio.gui.theme import Spacing, get_theme
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    FlowLayout,
    button,
    clear_layout,
    column,
    label,
    row,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.fact_list import align_at_top
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.gui.widgets.tooltips import plain_tip
from lora_studio.setup import engines, folders
from lora_studio.setup.engines import Engine, measure_folder

#: Maximum width of both columns together, in pixels; longer lines are hard to read.
_WIDTH = 1520


class SettingsPage(AppPage):
    """Appearance, accounts, network, engine and folders.

    Signals:
        theme_chosen(mode): "light", "dark" or "system".
        text_size_chosen(percent): 100, 125 or 150.
        offline_chosen(on): turn offline mode on or off.
        language_chosen(code): a key of `gui.language.LANGUAGES`, or "system".
        reload_requested: rebuild the window in the chosen language.
    """

    name = "settings"
    title = mark("Settings")

    theme_chosen = Signal(str)
    text_size_chosen = Signal(int)
    language_chosen = Signal(str)
    reload_requested = Signal()
    offline_chosen = Signal(bool)

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Create the page; it shows devices when the query workers have found them."""
        super().__init__(parent)
        self._state = state
        stored = preferences or Preferences()
        look = self._make_appearance_card(stored)
        self.engine_card = Card(tr("Engine"))
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(Spacing.L)
        self._facts.setVerticalSpacing(Spacing.S)
        self._facts.setColumnStretch(1, 1)
        self.engine = EngineActions()
        self.engine_card.add(self._facts, self.engine)
        self.trusted_code = TrustedCodeCard()
        self.trusted_code.failed.connect(state.messages.error)
        self.network = NetworkCard()
        self.network.offline_chosen.connect(self.offline_chosen)
        self.network.failed.connect(state.messages.error)
        self.services = ServicesCard(stored)
        self.services.account.ask.connect(self.ask)
        self.services.account.failed.connect(state.messages.problem)
        self.services.ollama_host_changed.connect(self._on_ollama_host_changed)
        self.folders = FoldersCard(stored, lambda: bool(state.running))
        self.folders.failed.connect(state.messages.problem)
        self._build_layout(look)
        state.facts_changed.connect(self._on_facts_changed)
        self._fill_engine()

    def _build_layout(self, look: Card) -> None:
        inner = ResponsiveColumns(
            column(look, self.services, self.network, None, spacing=Spacing.L),
            column(self.engine_card, self.folders, self.trusted_code, None, spacing=Spacing.L),
        )
        inner.setMaximumWidth(Size.scaled(_WIDTH))
        centered_row = row(inner, None, spacing=0)
        centered_row.setStretch(0, 1)
        centered_row.setStretch(1, 0)  # takes no space until the columns have their maximum width
        self.body.addLayout(centered_row)
        self.body.addStretch(1)

    def on_shown(self) -> None:
        """Request the devices unless they are known; list what may have changed."""
        self.services.refresh()
        self.folders.refresh()
        self.trusted_code.refresh()
        self.network.set_ollama_host(self._state.get_ollama_host())
        self.network.refresh()
        if self._state.facts.devices is None:
            self.ask.emit(commands.InspectDevices())

    def stop_background_work(self) -> None:
        """End the background work: the window is closing."""
        self.folders.stop_background_work()

    def on_event(self, event: object) -> None:
        """Show the answers about the account."""
        self.services.account.on_event(event)

    def _on_ollama_host_changed(self) -> None:
        self._state.forget("ollama")
        self.network.set_ollama_host(self._state.get_ollama_host())

    def refresh_engine(self, *, running: bool) -> None:
        """Show the engine again after a change or while a setup is running."""
        self.engine.refresh(running=running)
        self._fill_engine()

    def _make_appearance_card(self, preferences: Preferences) -> Card:
        self.look = SegmentsControl(
            {"system": tr("System"), "light": tr("Light"), "dark": tr("Dark")}
        )
        self.text_size = SegmentsControl({str(size): f"{size} %" for size in SIZES})
        self.language = ComboControl({"system": mark("System"), **LANGUAGES})
        self.note = label("", "caption", wrap=True)
        self.at_once = button(tr("Switch now"), self.reload_requested.emit, kind="link")
        self.note.hide()
        self.at_once.hide()
        card = Card(tr("Appearance"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(Spacing.L)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        for row_, (name, control, value) in enumerate(
            (
                (tr("Theme"), self.look, get_theme().mode),
                (tr("Text size"), self.text_size, str(Size.percent)),
                (tr("Language"), self.language, preferences.language),
            )
        ):
            title = label(name, "muted")
            title.setBuddy(control)
            name_control(control, name)
            control.show_value(value)
            grid.addWidget(title, row_, 0)
            grid.addWidget(control, row_, 1)
        self.look.edited.connect(lambda mode: self.theme_chosen.emit(mode))
        self.text_size.edited.connect(lambda size: self.text_size_chosen.emit(int(size)))
        self.language.edited.connect(self._on_language_edited)
        card.add(grid, self.note, row(self.at_once, None))
        return card

    def show_offline(self) -> None:
        """Show whether offline mode is on, also if the environment sets it."""
        self.network.show_offline()

    def _on_language_edited(self, code: str) -> None:
        self.note.setText(tr("The language changes the next time you start LoRA Studio."))
        self.note.show()
        self.at_once.show()
        self.language_chosen.emit(code)

    def _on_facts_changed(self, name: str) -> None:
        if name == "devices":
            self._fill_engine()

    def _fill_engine(self) -> None:
        clear_layout(self._facts)
        for index, (name, value, role) in enumerate(self._list_engine_facts()):
            title = label(name, "muted")
            words_of = label(value, "error" if role == "error" else "body", wrap=True)
            for part in (title, words_of):
                align_at_top(part)
            self._facts.addWidget(title, index, 0, Qt.AlignmentFlag.AlignTop)
            self._facts.addWidget(words_of, index, 1)

    def _list_engine_facts(self) -> list[tuple[str, str, str]]:
        rows = [
            (
                tr("Version"),
                tr("LoRA Studio {version}, Python {python_version}").format(
                    version=__version__, python_version=platform.python_version()
                ),
                "",
            )
        ]
        try:
            rows.append((tr("Engine"), shlex.join(worker.get_engine_command()), ""))
        except ProblemError as error:
            rows.append((tr("Engine"), localize_problem(error.problems[0]), "error"))
        devices = self._state.facts.devices
        for device in devices.devices if devices else ():
            rows.append((tr("Device"), _describe_device(device), ""))
        return rows


def _describe_device(device: events.Device) -> str:
    memory = formatting.format_memory(device.total_bytes)
    title = localize(device.title)
    return tr("{device}, {memory}, {free_bytes} free").format(
        device=title if device.name == "cpu" else f"{title} ({device.name})",
        memory=memory,
        free_bytes=formatting.format_memory(device.free_bytes),
    )


class TrustedCodeCard(Card):
    """Each consent with its folder and date, and a button that withdraws it.

    Signals:
        failed(reason): a consent couldn't be withdrawn.
    """

    failed = Signal(object)

    def __init__(self) -> None:
        """Show the stored consents."""
        super().__init__(tr("Trusted code"))
        self._entries = column(spacing=Spacing.M)
        self.add(self._entries)
        self.buttons: list[QPushButton] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the consents again; other windows and commands may have added some."""
        clear_layout(self._entries)
        self.buttons = []
        trusted = consent.read_trusted()
        if not trusted:
            self._entries.addWidget(
                label(tr("No code of models or projects is allowed to run."), "muted", wrap=True)
            )
        for digest, entry in trusted.items():
            self._entries.addLayout(self._make_entry(digest, entry))

    def _make_entry(self, digest: str, entry: dict[str, Any]) -> QVBoxLayout:
        folder = str(entry.get("folder", ""))
        titles = {"llama_cpp": tr("llama.cpp programs"), "reward": tr("Code of a reward")}
        title = titles.get(str(entry.get("kind")), tr("Model code"))
        since = tr("allowed {day}").format(day=_format_day(entry))
        remove = button(tr("Withdraw"), partial(self._revoke, digest), kind="link")
        self.buttons.append(remove)
        remove.setAccessibleName(tr("Withdraw the consent for {folder}").format(folder=folder))
        return column(
            row(label(title), label(since, "caption"), None, remove),
            label(folder, "caption", wrap=True),
            spacing=Spacing.XS,
        )

    def _revoke(self, digest: str) -> None:
        try:
            consent.revoke(digest)
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        self.refresh()


def _format_day(entry: dict[str, Any]) -> str:
    try:
        return formatting.format_day(
            datetime.fromisoformat(str(entry["trusted"])).date().isoformat()
        )
    except (KeyError, ValueError):
        return "?"


class ServicesCard(Card):
    """Signs in to the Hub, and sets the address of Ollama for all projects without their own.

    Signals:
        ollama_host_changed: the address of Ollama has changed.
    """

    ollama_host_changed = Signal()

    def __init__(self, preferences: Preferences) -> None:
        """Show the stored address; the account is queried when the card is shown."""
        super().__init__(tr("Accounts and servers"))
        self._preferences = preferences
        self.account = HubAccount(self)
        self.account.changed.connect(self._show_account)
        self.name = label("", "muted", wrap=True)
        self.sign_in = button(
            tr("Sign in…"), lambda: self.account.open_sign_in(self.window()), kind="link"
        )
        self.sign_out = button(tr("Sign out"), self.account.sign_out, kind="link")
        self.host = LineEdit()
        self.host.setPlaceholderText("http://127.0.0.1:11434")
        self.host.setAccessibleName(tr("Ollama address"))
        self.host.setText(preferences.ollama_host)
        self.host.connect_keys(self._save_host, self._show_host)
        self.note = label("", "caption", wrap=True)
        title = label(tr("Ollama address"), "label")
        title.setBuddy(self.host)
        self.add(
            row(
                label(tr("Hugging Face Hub"), "label"), self.name, None, self.sign_in, self.sign_out
            ),
            column(title, self.host, self.note),
        )
        self._show_account()
        self._show_host()

    def refresh(self) -> None:
        """Query the account the first time, unless offline mode is on."""
        if self.account.current is None and not offline.is_on():
            self.account.inspect()
        self._show_account()

    def _show_account(self) -> None:
        account = self.account.current
        has_token = account is not None and account.has_token
        from_environment = account is not None and account.from_environment
        self.sign_in.setVisible(not has_token)
        self.sign_in.setEnabled(not offline.is_on())
        self.sign_out.setVisible(has_token and not from_environment)
        if account is None:
            self.name.setText(tr("Offline mode is on.") if offline.is_on() else "")
        elif not has_token:
            self.name.setText(tr("Not signed in. Only gated and private models need it."))
        else:
            self.name.setText(tr("Signed in as {name}").format(name=account.name or "?"))

    def _show_host(self) -> None:
        self.host.setText(self._preferences.ollama_host)
        self.note.setText(
            tr("Used by projects without an address of their own. Leave empty for this computer.")
        )

    def _save_host(self) -> None:
        """Store the address and use it from now on; one with a password isn't stored."""
        typed = self.host.text().strip()
        if typed == self._preferences.ollama_host:
            return
        if "@" in typed:
            os.environ["OLLAMA_HOST"] = typed
            self._show_host()
            self.note.setText(
                tr(
                    "The address contains a password, so it is used only until you close the window."
                )
            )
        else:
            self._preferences.ollama_host = typed
            self._preferences.save()
            self._preferences.apply_ollama_host()
            self._show_host()
        self.ollama_host_changed.emit()


class EngineActions(QWidget):
    """Shows the active engine, a list if there are several, and a button for every action.

    Signals:
        action_requested(action): "install", "repair", "update", "rollback", "move", "remove" or "show".
        chosen(name): activate another engine.
    """

    action_requested = Signal(str)
    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the installed engines; `refresh` reads them again."""
        super().__init__(parent)
        self.state = label("", wrap=True)
        self.choice = ComboControl({})
        name_control(self.choice, tr("Active engine"))
        self.choice.edited.connect(lambda name: self.chosen.emit(name))
        self.install = self._make_action_button("install", tr("Set up…"))
        self.update_ = self._make_action_button("update", tr("Update…"))
        self.repair = self._make_action_button("repair", tr("Repair…"))
        self.rollback = self._make_action_button("rollback", tr("Roll back"))
        self.move_ = self._make_action_button("move", tr("Move…"))
        self.remove = self._make_action_button("remove", tr("Remove…"))
        self.busy = self._make_action_button("show", tr("Show setup progress…"))
        actions = QWidget()
        flow = FlowLayout(actions, Spacing.S)
        for part in self.buttons:
            flow.addWidget(part)
        self._chooser = QWidget()
        self._chooser.setLayout(row(label(tr("Active engine"), "muted"), self.choice, None))
        self.setLayout(column(self.state, self._chooser, actions, spacing=Spacing.S))
        self.refresh()

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        """Return every button, in the order shown."""
        return (
            self.busy, self.install, self.update_, self.repair, self.rollback, self.move_,
            self.remove,
        )  # fmt: skip

    def _make_action_button(self, name: str, text: str) -> QPushButton:
        return button(text, lambda: self.action_requested.emit(name))

    def refresh(self, *, running: bool = False) -> None:
        """Show the installed engines and the possible actions."""
        installed, current, previous = (
            engines.list_engines(),
            engines.get_current(),
            engines.get_previous(),
        )
        self.state.setText(_describe_state(current, installed))
        self.choice.set_choices(_make_distinct_titles(installed))
        if current is not None:
            self.choice.show_value(current.name)
        self._chooser.setVisible(len(installed) > 1)
        self.busy.setVisible(running)
        self.install.setVisible(not running)
        can = {
            self.update_: current is not None and not current.fits,
            self.repair: current is not None,
            self.rollback: previous is not None,
            self.move_: bool(installed),
            self.remove: bool(installed),
        }
        for part, is_possible in can.items():
            part.setVisible(is_possible and not running)
        if previous is not None:
            self.rollback.setToolTip(
                plain_tip(tr("Switch back to {name}").format(name=format_engine_title(previous)))
            )


def _describe_state(current: Engine | None, installed: list[Engine]) -> str:
    if current is not None:
        size = formatting.format_size(current.bytes)
        return tr("{name}: {size}").format(name=format_engine_title(current), size=size)
    if installed:
        return tr("No engine is active.")
    with contextlib.suppress(ProblemError):
        worker.get_engine_command()
        return tr(
            "LoRA Studio runs jobs in this Python environment. You don't need to set up an engine."
        )
    return tr("No engine is installed. Set one up in {folder}.").format(
        folder=str(folders.get_root().path)
    )


def _make_distinct_titles(installed: list[Engine]) -> dict[str, str]:
    """Return a title for each engine by name, with the creation time if titles are equal."""
    texts = {engine.name: format_engine_title(engine) for engine in installed}
    often = Counter(texts.values())
    for engine in installed:
        if often[texts[engine.name]] > 1:
            created = engine.created[:16].replace("T", " ")
            texts[engine.name] = tr("{engine} (created {date})").format(
                engine=texts[engine.name], date=created
            )
    return texts


def format_engine_title(engine: Engine) -> str:
    """Return the title of an engine: GPU vendor and versions."""
    kind = {"cpu": tr("CPU"), "cuda": "NVIDIA", "rocm": "AMD", "mps": "Apple"}
    return tr("{kind}, LoRA Studio {version}, PyTorch {torch}, Python {python}").format(
        kind=kind[engine.variant], version=engine.app_version, torch=engine.torch,
        python=engine.python_version,
    )  # fmt: skip


class FoldersCard(Card):
    """Lists the folders with links that open them, change the one for projects, and empty the cache.

    Signals:
        failed(problem): the cache couldn't be read.
    """

    failed = Signal(object)

    def __init__(self, preferences: Preferences, is_busy: Callable[[], bool]) -> None:
        """Create it; `is_busy` returns whether a job may be using the cache."""
        super().__init__(tr("Folders"))
        self._preferences, self._is_busy = preferences, is_busy
        self._tasks = TaskRunner(self.failed.emit, self)
        self.projects, self.cache = label(wrap=True), label(wrap=True)
        self._size = ""
        self.change = button(tr("Change…"), self._choose_projects, kind="link")
        self.change.setAccessibleName(tr("Change the folder for new projects"))
        self.free = button(tr("Free space…"), self._ask_to_free, kind="link")
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.L)
        self._grid.setVerticalSpacing(Spacing.S)
        self._grid.setColumnStretch(1, 1)
        self._build()
        self.add(self._grid)

    def _build(self) -> None:
        folders: tuple[tuple[str, Callable[[], Path]], ...] = (
            (tr("New projects"), self._preferences.get_new_project_parent),
            (tr("Sample project"), paths.get_data_folder),
            (tr("Cache"), paths.get_cache_folder),
            (tr("Preferences"), paths.get_config_folder),
            (tr("Logs"), paths.get_log_folder),
        )
        for index, (name, get_folder) in enumerate(folders):
            shown = {0: self.projects, 2: self.cache}.get(index) or label(wrap=True)
            shown.setText(str(get_folder()))
            show = button(tr("Show"), kind="link")
            show.setAccessibleName(tr("Show folder: {folder}").format(folder=name))
            show.clicked.connect(_make_opener(get_folder))
            self._grid.addWidget(label(name, "muted"), index, 0)
            self._grid.addWidget(shown, index, 1)
            self._grid.addWidget(show, index, 2)
        self._grid.addWidget(self.change, 0, 3)
        self._grid.addWidget(self.free, 2, 3)

    def refresh(self) -> None:
        """Measure the cache in the background."""
        self.free.setEnabled(False)
        self._tasks.start(_measure_cache, self._show_size)

    def stop_background_work(self) -> None:
        """End the background work: the window is closing."""
        self._tasks.stop_background_work()

    def _show_size(self, size: object) -> None:
        assert isinstance(size, int)
        self._size = formatting.format_size(size)
        unbroken = self._size.replace(" ", "\N{NO-BREAK SPACE}")
        self.cache.setText(f"{paths.get_cache_folder()}  ·  {unbroken}")
        self.free.setEnabled(size > 0 and not self._is_busy())

    def _choose_projects(self) -> None:
        title = tr("Folder for new projects")
        choose_folder(self.window(), title, self._set_projects, self.projects.text())

    def _set_projects(self, folder: str) -> None:
        self._preferences.projects_folder = folder
        self._preferences.save()
        self.projects.setText(folder)

    def _ask_to_free(self) -> None:
        text = tr(
            "Deletes {size} of prepared data and downloads, such as the built-in model. Projects, runs, "
            "and your other models stay. What is needed again is downloaded or computed again."
        ).format(size=self._size)
        dialog = Dialog(tr("Empty the cache?"), text, self.window())
        dialog.add_button(button(tr("Cancel"), dialog.reject))
        empty = dialog.add_button(button(tr("Empty cache"), dialog.accept, kind="danger"))
        empty.setObjectName("empty")
        dialog.accepted.connect(self._free)
        dialog.open()

    def _free(self) -> None:
        self.free.setEnabled(False)
        self._tasks.start(_empty_cache, self._show_size)


def _empty_cache(reader: BackgroundReader) -> int:
    """Delete what is in the cache folder; return the bytes that are left."""
    folder = paths.get_cache_folder()
    for child in reader.cooperative_iter(list(folder.iterdir())):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                child.unlink()
    return _measure_cache(reader)


def _measure_cache(reader: BackgroundReader) -> int:
    """Return the bytes of all files in the cache folder."""
    return measure_folder(paths.get_cache_folder(), reader.cooperative_iter)


def _make_opener(get_folder: Callable[[], Path]) -> Callable[[], None]:
    def open_it() -> None:
        folder = get_folder()
        create_folder(folder)
        open_path(folder)

    return open_it


#: Contacts that are shown; the command line shows all.
_MAX_ROWS = 40
#: Milliseconds between two reads of the records while the card is visible.
_INTERVAL = 3000


class NetworkCard(Card):
    """Offline mode and the network report of this window and its workers.

    Signals:
        offline_chosen(on): turn offline mode on or off.
        failed(reason): the record couldn't be deleted.
    """

    offline_chosen = Signal(bool)
    failed = Signal(object)

    def __init__(self) -> None:
        """Show the contacts so far; `refresh` shows newer ones."""
        super().__init__(tr("Network"))
        self._ollama_host = ""
        self.offline = QCheckBox(tr("Offline mode"))
        self.offline.clicked.connect(lambda on: self.offline_chosen.emit(on))
        self.contacts = _Table()
        self.none = label(tr("No host was contacted since this window opened."), "muted", wrap=True)
        self.note = label(
            tr(
                "The record of the last 7 days is kept on this computer only. Amounts of data are unknown "
                "(–) or incomplete (≥) for uv, Weights & Biases, and Xet, which transfers files of more than "
                "50 GB."
            ),
            "caption",
            wrap=True,
        )
        self.clear_button = button(tr("Delete record"), self._clear, kind="link")
        self.possible = _Table()
        more = CollapsibleSection(tr("What each feature would contact"))
        self.proxies = label("", "caption", wrap=True)
        more.add(self.possible, self.proxies)
        self.more = more
        self.add(
            row(self.offline, None),
            label(_explain_offline_mode(), "caption", wrap=True),
            label(tr("Contacted since this window opened"), "label"),
            self.none,
            self.contacts,
            self.note,
            row(self.clear_button, None),
            more,
        )
        self._timer = QTimer(self, interval=_INTERVAL)
        self._timer.timeout.connect(self.refresh)
        self.show_offline()
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Follow the contacts while the card is visible."""
        super().showEvent(event)
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        """Stop following the contacts."""
        super().hideEvent(event)
        self._timer.stop()

    def show_offline(self) -> None:
        """Show whether offline mode is on, also if the environment sets it."""
        self.offline.setChecked(offline.is_on())

    def set_ollama_host(self, host: str) -> None:
        """Show the server in the project's settings among those that features would contact."""
        self._ollama_host = host

    def refresh(self) -> None:
        """Read the records of this window's processes and the user's settings again."""
        contacts = network_report.read_contacts(connections.get_session())
        self.none.setVisible(not contacts)
        self.contacts.setVisible(bool(contacts))
        self.contacts.show_rows(
            (tr("Host"), tr("Purpose"), tr("Sent / received"), tr("Last contact")),
            [_format_contact(contact) for contact in contacts[:_MAX_ROWS]],
        )
        self.possible.show_rows(
            (tr("Feature"), tr("Hosts"), tr("When")),
            [_format_possible(one) for one in network_report.list_possible(self._ollama_host)],
        )
        proxies = network_report.list_proxies()
        self.proxies.setText(
            tr("Connections can go through your proxy {hosts}.").format(hosts=", ".join(proxies))
        )
        self.proxies.setVisible(bool(proxies))

    def _clear(self) -> None:
        try:
            connections.clear_records()
        except OSError as error:
            self.failed.emit(describe_os_error(error))
        self.refresh()


def _explain_offline_mode() -> str:
    return tr(
        "In offline mode, LoRA Studio doesn't contact any other computer. An Ollama server on this "
        "computer still works. Running jobs of the open project go offline at once; jobs of other "
        "projects only when they start again."
    )


class _Table(QWidget):
    """Rows of selectable texts below a row of titles, with wrapped lines."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: list[list[str]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)

    def show_rows(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Replace everything that has changed, so that a selection stays."""
        cells = [list(titles), *map(list, rows)]
        if cells == self._cells:
            return
        self._cells = cells
        clear_layout(self._grid)
        for line, texts in enumerate(cells):
            for index, text in enumerate(texts):
                cell = label(text, "muted" if line == 0 else "body", wrap=True)
                align_at_top(cell)
                self._grid.addWidget(cell, line, index, Qt.AlignmentFlag.AlignTop)
        for index in range(len(titles)):
            self._grid.setColumnStretch(index, 1)

    def get_rows(self) -> list[list[str]]:
        """Return the shown texts, the titles first."""
        return self._cells


def _format_contact(contact: Contact) -> tuple[str, str, str, str]:
    host = format_address(contact.host, contact.port)
    if contact.is_local:
        host = tr("{host} (this computer)").format(host=host)
    return (
        host,
        localize(TITLES[contact.purpose]),
        " / ".join(network_report.format_bytes(contact)),
        formatting.format_short_time(contact.last),
    )


def _format_possible(one: PossibleContact) -> tuple[str, str, str]:
    return localize(TITLES[one.purpose]), "\n".join(one.hosts) or "–", localize(one.when)
