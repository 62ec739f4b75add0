"""Generate answers with the models of a run, and chat with models that stay loaded."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Generate)
def generate(command: commands.Generate, job: JobContext) -> None:
    """Answer conversations with the models of a run, one model in memory at a time."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    sources = {*command.sources}
    if command.mixes:
        with fast_imports.speed_up_imports():
            from lora_studio.engine.chat import adapters
        adapters.answer(project, command, job)
    if {"base", "tuned", "merged", "gguf"} & sources:
        with fast_imports.speed_up_imports():
            from lora_studio.engine.generation import answering
        if {"base", "tuned"} & sources:
            answering.answer_in_torch(run, project, command.sources, command, job)
        if "merged" in sources:
            answering.answer_merged(run, project, command, job)
        if "gguf" in sources:
            answering.answer_gguf(run, project, command, job)
    if "ollama" in sources:
        from lora_studio.engine.export.ollama import server

        server.answer_conversations(project, command, job)


@handles(commands.OpenChat, commands.AskChat, commands.ShowPrompt)
def run_chat_command(
    command: commands.OpenChat | commands.AskChat | commands.ShowPrompt, job: JobContext
) -> None:
    """Carry out a command of the chat, whose models stay loaded as long as the worker lives."""
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import session
    session.get_session().run_command(command, job)


@handles(commands.Serve)
def serve(command: commands.Serve, job: JobContext) -> None:
    """Serve runs until the command is canceled, which is how serving succeeds."""
    from lora_studio.engine.export.serving import server

    server.serve(command, job)
