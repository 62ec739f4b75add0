"""Connect the signals of the window's parts, and add every action with its shortcut."""

from __future__ import annotations

import os
from functools import partial

from lora_studio.core.chat import AnyChatModel
from lora_studio.core.protocol import commands
from lora_studio.core.runs import chat_models
from lora_studio.gui.frame.lazy_pages import MakePages, make_step_pages
from lora_studio.gui.help import palette
from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.suggested_actions import PAGE_TITLES, STEP_TITLES
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER
from lora_studio.gui.widgets.tooltips import plain_tip
from lora_studio.gui.window.main_window import Window

_PAGE_KEYS = {
    "home": "Ctrl+0",
    "runs": "Ctrl+7",
    "evaluation": "Ctrl+E",
    "playground": "Ctrl+8",
    "settings": "Ctrl+, Ctrl+9",
}


def make_window(preferences: Preferences, make_pages: MakePages = make_step_pages) -> Window:
    """Return a window on its Home page, connected and not shown yet."""
    if not os.environ.get("OLLAMA_HOST"):
        preferences.apply_ollama_host()
    DIALOG_FOLDER.folder, DIALOG_FOLDER.save = (
        preferences.dialog_folder,
        preferences.remember_dialog_folder,
    )
    window = Window(preferences, make_pages)
    _wire_project(window)
    _wire_jobs(window)
    window.rail.selected.connect(window.show_page)
    window.lazy_pages.created.connect(lambda: _wire_pages(window))
    _add_actions(window)
    window.messages.connect_view()
    window.show_project()
    window.show_page("home")
    return window


def _wire_pages(window: Window) -> None:
    settings = window.settings
    from lora_studio.gui.pages.model.page import ModelPage  # loaded with the pages, not before

    model_page = window.pages["model"]
    if isinstance(model_page, ModelPage):
        model_page.account.follow(settings.services.account)
        settings.services.account.follow(model_page.account)
    settings.theme_chosen.connect(window.appearance.set_theme)
    settings.text_size_chosen.connect(window.appearance.set_text_size)
    settings.language_chosen.connect(window.appearance.set_language)
    settings.reload_requested.connect(window.reload_requested)
    settings.offline_chosen.connect(lambda on: window.set_offline(on=on))
    window.runs.run_actions.open_requested.connect(window.launcher.open_run)
    window.runs.run_actions.close_requested.connect(window.jobs.detach)
    for app_page in window.app_pages.values():
        app_page.go_to.connect(window.show_page)
        app_page.ask.connect(window.query_workers.ask)
    _wire_evaluation(window)
    _wire_engine(window)
    _wire_library(window)
    for page in window.pages.values():
        _wire_step_page(window, page)


def _wire_project(window: Window) -> None:
    state, home = window.state, window.home
    window.messages.posted.connect(window.toasts.show_message)
    window.strip.field_requested.connect(window.show_field)
    window.strip.fix_requested.connect(window.apply_fix)
    window.strip.explanation_requested.connect(window.help.explain)
    window.stack.currentChanged.connect(lambda _: window.toasts.on_page_left())
    window.toasts.action_requested.connect(window.help.run_action)
    window.toasts.explanation_requested.connect(window.help.explain)
    # Slots that are connected while a signal is emitted don't receive it, so create the pages before.
    state.opening.connect(window.lazy_pages.create)
    state.opening.connect(window.toasts.clear)  # they were about the previous project
    state.opened.connect(window.on_project_opened)
    state.confirmation_needed.connect(window.projects.confirm)
    state.adoption_needed.connect(window.projects.confirm_adoption)
    state.problems_changed.connect(window.on_problems_changed)
    state.dirty_changed.connect(window.show_project)
    state.saved.connect(window.show_project)
    for changed in (state.opened, state.value_changed, state.facts_changed):
        changed.connect(window.show_device)
    home.new_clicked.connect(window.projects.create_project)
    home.data_dropped.connect(window.projects.create_project)
    home.open_clicked.connect(window.projects.ask_to_open)
    home.sample_clicked.connect(window.projects.open_sample)
    home.project_clicked.connect(window.open_project)
    home.resume_clicked.connect(window.open_and_resume)
    home.scanned.connect(window.interrupted.report)
    home.scanned.connect(window.store_titles)
    home.forget_clicked.connect(window.forget_project)
    home.locate_clicked.connect(window.projects.locate)


def _wire_jobs(window: Window) -> None:
    window.query_workers.answered.connect(window.on_answer)
    window.query_workers.finished.connect(window.on_question_finished)
    window.launcher.started.connect(window.show_page)
    window.jobs.event_received.connect(window.on_job_event)
    window.jobs.changed.connect(window.on_job_changed)
    window.jobs.ended.connect(window.on_job_ended)
    window.header.stop_clicked.connect(window.launcher.stop)
    window.header.queue_clicked.connect(window.show_queue)
    window.queue.changed.connect(lambda: window.header.show_queue(len(window.queue.items)))
    window.header.job_clicked.connect(window.show_job)
    window.header.task.stop.clicked.connect(window.cluster.cancel)
    window.lock.called.connect(window.bring_to_front)
    window.notifications.clicked.connect(window.bring_to_front)
    window.gauges.sampled.connect(window.header.device.show_sample)
    window.cluster.advanced.connect(window.show_copying)
    window.closing.close_now.connect(window.close)
    window.messages.posted.connect(window.engine.on_message)


def _wire_engine(window: Window) -> None:
    engine, settings = window.engine, window.settings
    settings.engine.action_requested.connect(engine.run_action)
    settings.engine.chosen.connect(engine.activate)

    def changed() -> None:
        settings.refresh_engine(running=engine.control.running)
        if not engine.control.running:
            window.query_workers.resume()

    engine.changed.connect(changed)
    engine.clearing.connect(window.query_workers.pause)
    engine.switched.connect(window.query_workers.restart_workers)
    engine.switched.connect(lambda: window.query_workers.ask(commands.InspectDevices()))


def _wire_evaluation(window: Window) -> None:
    page = window.evaluation
    page.start_requested.connect(window.launcher.request_evaluation)
    page.pause_requested.connect(window.launcher.pause)
    page.cancel_requested.connect(window.jobs.cancel)
    page.question_outdated.connect(window.query_workers.drop)


def _wire_library(window: Window) -> None:
    library, state = window.library, window.state

    def start(folder: str) -> None:
        state.change(tr("Start from an adapter"), [("lora", "start_from", folder)])
        window.show_field("lora", "start_from")

    window.playground.library_requested.connect(library.open)
    library.adapters_listed.connect(window.playground.set_library)
    for part in (library, window.runs.run_actions):
        part.chat_requested.connect(
            lambda folder: _open_chat(window, chat_models.create_adapter_chat_model(folder))
        )
    library.training_requested.connect(start)
    library.merge_requested.connect(
        lambda folder: window.launcher.request_import("adapter", folder)
    )


def _open_chat(window: Window, chat_model: AnyChatModel) -> None:
    window.show_page("playground")
    window.playground.start_chat(chat_model)


def _start_job(window: Window, kind: str) -> None:
    """Start a job of a `kind` that `JobLauncher.request` knows, or "cluster"."""
    window.commit()
    if kind == "cluster":
        window.cluster.ask_for_folder()
    else:
        window.launcher.request(kind)


def _continue_after(window: Window, page: StepPage) -> None:
    """Show the next step that needs the user.

    LoRA has defaults that fit most tasks, so the way from Model leads over it unless it has a problem; after
    training comes Export unless Export needs a merged model.
    """
    if page.step == "model" and window.pages["lora"].is_done():
        window.show_page("dataset")
    elif page.step == "training" and window.state.exports_without_merge():
        window.show_page("export")
    else:
        window.show_neighbor(page, 1)


def _wire_step_page(window: Window, page: StepPage) -> None:
    page.continue_clicked.connect(lambda: _continue_after(window, page))
    page.back_clicked.connect(lambda: window.show_neighbor(page, -1))
    page.ask.connect(window.query_workers.ask)
    page.question_expected.connect(window.query_workers.prepare_worker)
    page.question_dropped.connect(window.query_workers.cancel)
    page.question_outdated.connect(window.query_workers.drop)
    page.run_requested.connect(lambda kind: _start_job(window, kind))
    page.import_requested.connect(window.launcher.request_import)
    page.library_requested.connect(window.library.open)
    page.push_requested.connect(window.launcher.request_push)
    page.chat_requested.connect(lambda chat_model: _open_chat(window, chat_model))
    page.stop_requested.connect(window.launcher.stop)
    page.pause_requested.connect(window.launcher.pause)
    page.cancel_requested.connect(window.jobs.cancel)
    page.checkpoint_requested.connect(window.jobs.save_checkpoint)
    page.explain_requested.connect(window.help.explain)
    page.status_changed.connect(lambda: window.show_step_state(page.step))
    page.page_requested.connect(window.show_page)
    page.online_requested.connect(lambda: window.set_offline(on=False))


def _add_actions(window: Window) -> None:
    """Add every action; the menus, the command palette, and the shortcut list show them."""
    actions, projects = window.actions_, window.projects
    add, menu = actions.add, partial(actions.add, menu=actions.menu)
    menu("new", tr("New project…"), "Ctrl+N", projects.create_project, icon="plus")
    menu("open", tr("Open…"), "Ctrl+O", projects.ask_to_open, icon="folder")
    actions.menu.addMenu(actions.recent)
    actions.menu.addSeparator()
    menu("save", tr("Save"), "Ctrl+S", window.save, icon="save", project=True)
    menu("save_as", tr("Save as…"), "Ctrl+Shift+S", projects.save_as, project=True)
    menu("folder", tr("Show folder"), "", projects.show_folder, project=True)
    menu("cluster", tr("Export for cluster…"), "", window.cluster.ask_for_folder, project=True)
    menu("library", tr("Adapter library…"), "Ctrl+Shift+A", window.library.open, icon="lora")
    actions.menu.addSeparator()
    actions.add_undo()
    actions.menu.addSeparator()
    _add_help(window)
    menu("quit", tr("Quit"), "Ctrl+Q", window.close)
    primary_keys = "Ctrl+Return Ctrl+Enter"
    add("primary", tr("Press the main button"), primary_keys, window.press_primary)
    _add_page_actions(window)
    next_step, previous_step = (partial(window.show_next_step, by) for by in (1, -1))
    add("next", tr("Next step"), "Alt+Right", next_step, project=True)
    add("back", tr("Previous step"), "Alt+Left", previous_step, project=True)
    add("job", tr("Show running job"), "Ctrl+J", window.show_job)
    add("stop", tr("Stop running job"), "Ctrl+.", window.stop_job)
    add("pause", tr("Pause training"), "", window.pause_job, project=True)
    add("sign_in", tr("Sign in to Hugging Face…"), "", window.sign_in, project=True)
    larger, smaller = (partial(window.appearance.zoom, by) for by in (1, -1))
    add("larger", tr("Larger text"), "Ctrl++ Ctrl+=", larger)
    add("smaller", tr("Smaller text"), "Ctrl+-", smaller)
    add("problem", tr("Go to the next problem"), "F8", window.strip.show_next, project=True)
    _set_tooltips(window)


def _add_help(window: Window) -> None:
    help_, actions = window.help, window.actions_
    actions.menu.addMenu(actions.help)
    add = partial(actions.add, menu=actions.help)
    palette_keys = "Ctrl+K Ctrl+Shift+P"
    add("find", tr("Command palette…"), palette_keys, help_.open_palette, icon="search")
    add("tour", tr("Take the tour"), "", window.tour.start)
    add("help", tr("Help on this field"), "F1", help_.explain_focus)
    add("shortcuts", tr("Keyboard shortcuts"), "Ctrl+/", help_.show_shortcuts)
    add("logs", tr("Show log"), "", help_.show_logs)
    add("diagnostics", tr("Diagnostics file…"), "", help_.show_diagnostics)
    add("about", tr("About LoRA Studio"), "", help_.show_about, icon="info")


def _add_page_actions(window: Window) -> None:
    titles = {name: tr(title) for name, title in (STEP_TITLES | PAGE_TITLES).items()}
    titles["home"] = tr("Home")
    for number, (name, title) in enumerate(titles.items(), start=1):
        keys = _PAGE_KEYS.get(name) or f"Ctrl+{number}"
        text, show = tr("Go to {page}").format(page=title), partial(window.show_page, name)
        action = window.actions_.add(f"go_{name}", text, keys, show, project=name in STEP_TITLES)
        tip = f"{title} ({palette.format_shortcut(action)})"
        window.rail.button(name).setToolTip(plain_tip(tip))


def _set_tooltips(window: Window) -> None:
    """Show the shortcut of an action in the tooltip of the button for it."""
    actions = window.actions_.commands
    for widget, name in (
        (window.home.new, "new"),
        (window.home.open, "open"),
        (window.header.job.stop, "stop"),
        (window.header.job.open, "job"),
    ):
        keys = palette.format_shortcut(actions[name])
        widget.setToolTip(plain_tip(f"{actions[name].text().removesuffix('…')} ({keys})"))
