"""Which signal of the window's parts leads where, and every action with its shortcut."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lora_studio.core.chat import AnySpeaker
from lora_studio.core.protocol import commands
from lora_studio.core.runs import speakers
from lora_studio.gui.frame import offline_mode
from lora_studio.gui.help import palette_entries
from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.problems.remedies import PLACE_TITLES, STEP_TITLES

if TYPE_CHECKING:
    from lora_studio.gui.frame.shell import Window

_PLACE_KEYS = {"home": "Ctrl+0", "runs": "Ctrl+7", "playground": "Ctrl+8", "settings": "Ctrl+9"}


def wire(window: Window) -> None:
    """Connects everything once, while the window is made."""
    _wire_project(window)
    _wire_jobs(window)
    window.rail.chosen.connect(window.go)


def wire_furniture(window: Window) -> None:
    """Connects pages and places as soon as they are there."""
    settings = window.settings
    settings.theme_chosen.connect(window.appearance.choose_theme)
    settings.text_size_chosen.connect(window.appearance.choose_text_size)
    settings.language_chosen.connect(window.appearance.choose_language)
    settings.reload_requested.connect(window.renewal_wanted)
    settings.offline_chosen.connect(lambda on: offline_mode.choose(window, on=on))
    window.runs.open_requested.connect(window.flow.open_run)
    window.runs.close_requested.connect(window.jobs.detach)
    for place in window.places.values():
        place.go_to.connect(window.go)
        place.ask.connect(window.inspector.ask)
    _wire_engine(window)
    _wire_library(window)
    for page in window.pages.values():
        _wire_page(window, page)


def _wire_project(window: Window) -> None:
    state, home = window.state, window.home
    window.messages.posted.connect(window.message_bar.show_message)
    window.strip.jump.connect(window.jump)
    window.strip.fix.connect(window.apply_fix)
    window.strip.explain.connect(window.help.explain)
    window.stack.currentChanged.connect(lambda _: window.message_bar.page_left())
    window.message_bar.act.connect(window.help.act)
    window.message_bar.explain.connect(window.help.explain)
    # A signal is not heard by what is connected while it is sent: the pages are made before.
    state.opening.connect(window.furniture.make)
    state.opened.connect(window.project_opened)
    state.problems_changed.connect(window.problems_changed)
    state.dirty_changed.connect(window.show_project)
    state.saved.connect(window.show_project)
    for changed in (state.opened, state.value_changed, state.facts_changed):
        changed.connect(window.show_device)
    home.new_clicked.connect(window.projects.new)
    home.open_clicked.connect(window.projects.ask)
    home.sample_clicked.connect(window.projects.open_sample)
    home.project_clicked.connect(window.open_project)
    home.resume_clicked.connect(window.open_and_resume)
    home.looked.connect(window.interrupted.take)
    home.forget_clicked.connect(window.forget)
    home.locate_clicked.connect(window.projects.locate)


def _wire_jobs(window: Window) -> None:
    window.inspector.answered.connect(window.answered)
    window.inspector.finished.connect(window.question_finished)
    window.flow.started.connect(window.go)
    window.jobs.event_received.connect(window.job_event)
    window.jobs.changed.connect(window.job_changed)
    window.jobs.ended.connect(window.job_ended)
    window.header.stop_clicked.connect(window.flow.stop)
    window.header.queue_clicked.connect(window.show_queue)
    window.queue.changed.connect(lambda: window.header.show_queue(len(window.queue.items)))
    window.header.job_clicked.connect(window.show_job)
    window.header.task.stop.clicked.connect(window.cluster.cancel)
    window.lock.called.connect(window.come_forward)
    window.news.clicked.connect(window.come_forward)
    window.gauges.sampled.connect(window.header.device.show_sample)
    window.cluster.advanced.connect(window.show_copying)
    window.closing.close_now.connect(window.close)
    window.messages.posted.connect(window.engine.take_message)


def _wire_engine(window: Window) -> None:
    engine, settings = window.engine, window.settings
    settings.engine.wanted.connect(engine.do)
    settings.engine.chosen.connect(engine.use)

    def changed() -> None:
        settings.refresh_engine(running=engine.control.running)
        if not engine.control.running:
            window.inspector.go_on()

    engine.changed.connect(changed)
    engine.clearing.connect(window.inspector.hold)
    engine.switched.connect(window.inspector.renew)
    engine.switched.connect(lambda: window.inspector.ask(commands.InspectDevices()))
    settings.updates.allowed.connect(window.updates.allow)
    settings.updates.address_chosen.connect(window.updates.choose)
    settings.updates.look.connect(window.updates.look)
    window.updates.told.connect(settings.updates.tell)


def _wire_library(window: Window) -> None:
    library, state = window.library, window.state

    def start(folder: str) -> None:
        state.change(tr("Start from an adapter"), [("lora", "start_from", folder)])
        window.jump("lora", "start_from")

    window.playground.library_requested.connect(library.open)
    library.found.connect(window.playground.set_library)
    for part in (library, window.runs):
        part.chat_requested.connect(lambda folder: _talk(window, speakers.adapter(folder)))
    library.training_requested.connect(start)
    library.merge_requested.connect(lambda folder: window.flow.request_import("adapter", folder))


def _talk(window: Window, speaker: AnySpeaker) -> None:
    window.go("playground")
    window.playground.talk_to(speaker)


def _wire_page(window: Window, page: StepPage) -> None:
    page.continue_clicked.connect(lambda: window.neighbour(page, 1))
    page.back_clicked.connect(lambda: window.neighbour(page, -1))
    page.ask.connect(window.inspector.ask)
    page.question_expected.connect(window.inspector.expect)
    page.question_dropped.connect(window.inspector.cancel)
    page.question_outdated.connect(window.inspector.drop)
    page.run_requested.connect(window.run_requested)
    page.import_requested.connect(window.flow.request_import)
    page.library_requested.connect(window.library.open)
    page.push_requested.connect(window.flow.request_push)
    page.chat_requested.connect(lambda speaker: _talk(window, speaker))
    page.stop_requested.connect(window.flow.stop)
    page.pause_requested.connect(window.flow.pause)
    page.cancel_requested.connect(window.jobs.cancel)
    page.checkpoint_requested.connect(window.jobs.checkpoint)
    page.explain_requested.connect(window.help.explain)
    page.status_changed.connect(lambda: window.show_rail(page.step))
    page.online_requested.connect(lambda: offline_mode.choose(window, on=False))


def add_actions(window: Window) -> None:
    """Fills the project menu; every action is also what the palette and the cheat sheet list."""
    actions, projects = window.actions_, window.projects
    add = actions.add
    add("new", tr("New project…"), "Ctrl+N", projects.new, icon="plus")
    add("open", tr("Open…"), "Ctrl+O", projects.ask, icon="folder")
    actions.add_recent()
    actions.menu.addSeparator()
    add("save", tr("Save"), "Ctrl+S", window.save, icon="save", project=True)
    add("save_as", tr("Save as…"), "Ctrl+Shift+S", projects.save_as, project=True)
    add("folder", tr("Show folder"), "", projects.show_folder, project=True)
    add("cluster", tr("Train on a cluster…"), "", window.cluster.ask, project=True)
    add("library", tr("Adapter library…"), "Ctrl+Shift+A", window.library.open, icon="lora")
    actions.menu.addSeparator()
    actions.add_undo()
    actions.menu.addSeparator()
    _add_help(window)
    add("quit", tr("Quit"), "Ctrl+Q", window.close)
    add("primary", tr("Primary button"), "Ctrl+Return Ctrl+Enter", window.press_primary, menu=False)
    titles = {name: tr(title) for name, title in (STEP_TITLES | PLACE_TITLES).items()}
    titles["home"] = tr("Home")
    for number, (name, title) in enumerate(titles.items(), start=1):
        keys = _PLACE_KEYS.get(name) or f"Ctrl+{number}"
        text = tr("Go to {place}").format(place=title)
        step = name in STEP_TITLES
        action = add(f"go_{name}", text, keys, _going(window, name), menu=False, project=step)
        window.rail.button(name).setToolTip(f"{title} ({palette_entries.keys_of(action)})")
    _add_moves(window)
    for made, name in (
        (window.home.new, "new"),
        (window.home.open, "open"),
        (window.header.job.stop, "stop"),
        (window.header.job.open, "job"),
    ):
        keys = palette_entries.keys_of(actions.commands[name])
        made.setToolTip(f"{actions.commands[name].text().removesuffix('…')} ({keys})")


def _add_moves(window: Window) -> None:
    add = window.actions_.add
    add("next", tr("Next step"), "Alt+Right", lambda: window.step_on(1), menu=False, project=True)
    add("back", tr("Step before"), "Alt+Left", lambda: window.step_on(-1), menu=False, project=True)
    add("job", tr("Show the job under way"), "Ctrl+J", window.show_job, menu=False)
    add("stop", tr("Stop the job under way"), "Ctrl+.", window.stop_job, menu=False)
    add("larger", tr("Larger text"), "Ctrl++ Ctrl+=", lambda: window.appearance.zoom(1), menu=False)
    add("smaller", tr("Smaller text"), "Ctrl+-", lambda: window.appearance.zoom(-1), menu=False)
    add("problem", tr("Go to the next problem"), "F8", window.strip.go_on, menu=False, project=True)


def _add_help(window: Window) -> None:
    help_, actions = window.help, window.actions_
    actions.begin_help(tr("Help"))
    add = actions.add
    add("find", tr("Find anything…"), "Ctrl+K Ctrl+Shift+P", help_.find, icon="search", menu="help")
    add("tour", tr("Tour of the window"), "", window.tour.begin, menu="help")
    add("shortcuts", tr("Keyboard shortcuts"), "F1 Ctrl+/", help_.shortcuts, menu="help")
    add("logs", tr("Show the log"), "", help_.logs, menu="help")
    add("diagnostics", tr("Diagnostics file…"), "", help_.diagnostics, menu="help")
    add("about", tr("About LoRA Studio"), "", help_.about, icon="info", menu="help")


def _going(window: Window, place: str) -> Callable[[], None]:
    def go() -> None:
        window.go(place)

    return go
