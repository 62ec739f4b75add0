"""`lora-studio chat`: chat with a model in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from lora_studio.cli import adapters as cli_adapters
from lora_studio.cli import common, headless
from lora_studio.cli.common import add_spec_options, exit_on_problem
from lora_studio.cli.console import Display, write_out
from lora_studio.client import worker as client_worker
from lora_studio.core import formatting
from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    ChatQuestion,
    FolderChatModel,
    OllamaChatModel,
    Sampling,
)
from lora_studio.core.export import suggest_ollama_name
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project import checks, project
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message

#: Problem and remedy for each kind of model that a run may not have yet.
_MISSING = {
    "tuned": ("The run has no trained adapter yet.", "Run `lora-studio train` first."),
    "merged": ("The run has no merged model yet.", "Run `lora-studio merge` first."),
    "gguf": ("The run has no GGUF file yet.", "Run `lora-studio export` first."),
}
WITH = ("base", "tuned", "merged", "gguf", "ollama")


RunOrProjectArgument = Annotated[
    Path, typer.Argument(help="Run folder, or a project to chat with its base model.")
]
WithOption = Annotated[
    str, typer.Option("--with", help="Model to chat with: base, tuned, merged, gguf, or ollama.")
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option("--prompt", help="Prompt. Repeat it for further turns; the chat then ends."),
]
SystemOption = Annotated[str, typer.Option(help="System prompt.")]
DeviceOption = Annotated[str, typer.Option(help="Device: auto, cpu, cuda:0, …")]
JsonChatOption = Annotated[
    bool,
    typer.Option("--json", help="Print events as JSON lines; each line on stdin is a prompt."),
]


@add_spec_options(Sampling, temperature=0.0, top_p=1.0, max_tokens=256)
def chat(
    path: RunOrProjectArgument,
    with_model: WithOption = "",
    adapter: cli_adapters.WeightedOption = None,
    prompt: PromptOption = None,
    system: SystemOption = "",
    device: DeviceOption = "",
    as_json: JsonChatOption = False,
    **sampling_options: Any,
) -> None:
    """Chat with a model of a run, or with adapters on its base model. An empty line ends the chat.

    The model is loaded once, and answers are streamed. Ctrl+C stops an answer.
    """
    display = Display(as_json=as_json)
    with exit_on_problem(display):
        sampling = Sampling(**sampling_options)
        frozen, run = _open_project(path, display)
        chat_model = _find_chat_model(frozen, run, with_model, adapter or [])
        if device:
            frozen = _on_device(frozen, device)
        worker = client_worker.Worker.start()
        session = _ChatSession(worker, frozen, run, chat_model, sampling, display)
    session.talk(system, iter(prompt) if prompt else _read_lines(as_json))


def _open_project(path: Path, display: Display) -> tuple[Project, RunFolder | None]:
    """Return the frozen project of a run, or a project whose model settings must be valid."""
    run = RunFolder(path.resolve())
    if run.project_file.is_file():
        frozen = run.load_project()
        common.ask_for_run(run, frozen, display)
        return frozen, run
    draft = project.load(path)
    common.ask_for_project(draft, display)
    wrong = checks.filter_errors(checks.filter_by_step(checks.check(draft), "model"))
    if wrong:
        raise ProblemError(wrong)
    assert draft.folder is not None
    return draft.freeze().resolve(draft.folder), None


def _on_device(frozen: Project, device: str) -> Project:
    """Return the project with its model on another device; raises ValidationError."""
    changed = frozen.model.model_dump() | {"device": device}
    return frozen.model_copy(update={"model": type(frozen.model)(**changed)})


def _find_ollama_chat_model(frozen: Project, run: RunFolder | None) -> OllamaChatModel:
    """Return the Ollama model last created from the run, or the one that its project would create."""
    created = [e for e in run.iter_events() if isinstance(e, events.OllamaCreated)] if run else []
    if created:
        return chat_models.create_ollama_chat_model(created[-1], frozen.export.ollama_host)
    name = frozen.export.ollama_name or suggest_ollama_name(frozen.name)
    return OllamaChatModel(name=name, host=frozen.export.ollama_host)


def _find_chat_model(
    frozen: Project, run: RunFolder | None, wanted: str, adapters: list[str]
) -> AnyChatModel:
    """Return the selected model; raises ProblemError if the run doesn't have it yet."""
    if wanted and wanted not in WITH:
        raise fail(
            "chat.unknown",
            "Invalid value for --with: {name}.",
            "Choose one of: {choices}.",
            name=wanted,
            choices=WITH,
        )
    if mixes := cli_adapters.parse_mixes(adapters):
        return AdapterChatModel(adapters=mixes[0].adapters)
    match wanted or ("tuned" if run is not None else "base"):
        case "base":
            return AdapterChatModel()
        case "ollama":
            return _find_ollama_chat_model(frozen, run)
        case "tuned" if run is not None and (run.adapter / "adapter_config.json").is_file():
            return chat_models.create_adapter_chat_model(run.adapter)
        case "merged" if run is not None and (run.merged / "config.json").is_file():
            return FolderChatModel(folder=str(run.merged))
        case "gguf" if run is not None and (files := chat_models.list_gguf_files(run)):
            first = run.get_gguf_file(frozen.name, frozen.export.quantizations[0])
            return chat_models.create_gguf_chat_model(run, first if first in files else files[0])
        case missing:
            raise fail(
                "chat.not_there",
                *_MISSING[missing],
                where=Where(file=str(run.path) if run is not None else None),
            )


def _read_lines(as_json: bool) -> Iterator[str]:
    """Yield typed or piped lines until an empty line or the end."""
    while True:
        if as_json:
            text = sys.stdin.readline().rstrip("\n")
        else:
            try:
                text = typer.prompt("You", default="", show_default=False, err=True)
            except typer.Abort:  # end of piped input
                return
        if not text:
            return
        yield text


@dataclass
class _ChatSession:
    """A worker that keeps the model loaded between turns."""

    worker: client_worker.Worker
    project: Project
    run: RunFolder | None
    chat_model: AnyChatModel
    sampling: Sampling
    display: Display

    def __post_init__(self) -> None:
        self._events = self.worker.iter_events()

    def talk(self, system: str, prompts: Iterator[str]) -> None:
        """Answer every prompt with the turns before it, then end the worker."""
        turns = [Message(role="system", content=system)] if system else []
        try:
            for prompt in prompts:
                turns.append(Message(role="user", content=prompt))
                answer = self.answer(tuple(turns))
                turns.append(Message(role="assistant", content=answer))
        finally:
            self.worker.kill()
            self.worker.close()

    def answer(self, turns: tuple[Message, ...]) -> str:
        """Return one answer, printed while it streams; exits if there is none."""
        command = commands.AskChat(
            run=str(self.run.path) if self.run is not None else "",
            model=self.project.model,
            chat_template=self.project.dataset.chat_template,
            asked=(
                ChatQuestion(chat_model=self.chat_model, messages=turns, sampling=self.sampling),
            ),
        )
        self.worker.send(command)
        shown = answer = ""
        with headless.forward_ctrl_c([self.worker], command):
            for event in self._events:
                if self.display.as_json:
                    self.display.show(event)
                match event:
                    case events.AnswerGrew():
                        shown = self._print_growth(shown, event.start, event.text)
                    case events.Answered():
                        answer = event.text
                        self._print_growth(shown, 0, answer)
                        self._end(event)
                    case events.AnswerRefused() | events.Failed():
                        self._exit_with(event.problem)
                    case events.Done() | events.Cancelled() if event.id == command.id:
                        return answer
        raise typer.Exit(headless.FAILED)

    def _print_growth(self, shown: str, start: int, text: str) -> str:
        """Print new text; if earlier text changed, print the whole answer on a new line."""
        answer = shown[:start] + text
        if not self.display.as_json:
            more = answer.removeprefix(shown) if answer.startswith(shown) else f"\n{answer}"
            write_out(more)
        return answer

    def _end(self, event: events.Answered) -> None:
        if not self.display.as_json:
            print()
            self.display.notes.print(_summarize(event), style="dim")

    def _exit_with(self, problem: Problem) -> NoReturn:
        if not self.display.as_json:
            self.display.print_problem(problem)
        raise typer.Exit(headless.FAILED)


def _summarize(event: events.Answered) -> str:
    speed = event.tokens_per_s
    parts = [
        formatting.format_plural(event.tokens, "token"),
        formatting.format_rate(speed) if speed else "",
    ]
    parts.append(
        {"end": "", "length": "reached the maximum length", "stopped": "stopped"}[event.ending]
    )
    return " · ".join(part for part in parts if part)
