"""Models of an Ollama server, and the TEMPLATEs that they are created with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.InspectOllama)
def inspect_ollama(command: commands.InspectOllama, job: JobContext) -> None:
    """Report the version and the models of an Ollama server."""
    from lora_studio.engine.export.ollama import server

    job.emit(server.inspect_server(command.host))


@handles(commands.CreateOllama)
def create_ollama(command: commands.CreateOllama, job: JobContext) -> None:
    """Create the Ollama model of a run that was exported before."""
    from lora_studio.engine.export.ollama import model as ollama_model
    from lora_studio.engine.selftest.oracle import served_model

    judge = partial(served_model.require_as_trained, quantization=command.quantization)
    ollama_model.create_of_run(command, judge, job)


@handles(commands.ShowOllama)
def show_ollama(command: commands.ShowOllama, job: JobContext) -> None:
    """Report what an Ollama server has stored for a model."""
    from lora_studio.engine.export.ollama import store

    job.emit(store.show_model(command.host, command.name))


@handles(commands.ProveOllama)
def prove_ollama(command: commands.ProveOllama, job: JobContext) -> None:
    """Compare a model in Ollama with a model folder."""
    from lora_studio.engine.export.ollama import server_proof

    job.emit(server_proof.prove_model(command, job))


@handles(commands.CopyOllama)
def copy_ollama(command: commands.CopyOllama, job: JobContext) -> None:
    """Copy a model in Ollama to a second name."""
    from lora_studio.engine.export.ollama import server, store

    store.copy_model(command.host, command.source, command.target, force=command.force)
    job.emit(server.inspect_server(command.host))


@handles(commands.RemoveOllama)
def remove_ollama(command: commands.RemoveOllama, job: JobContext) -> None:
    """Remove a model from Ollama."""
    from lora_studio.engine.export.ollama import server, store

    store.remove_model(command.host, command.name)
    job.emit(server.inspect_server(command.host))


@handles(commands.DeriveTemplate)
def derive_template(command: commands.DeriveTemplate, job: JobContext) -> None:
    """Derive the Ollama TEMPLATE of a chat template on disk."""
    from lora_studio.engine.export.ollama import template_sandbox
    from lora_studio.engine.export.ollama.intact_source import read_intact_source

    job.open_file(Path(command.path))
    source = read_intact_source(
        Path(command.path), bos=command.bos, eos=command.eos, adds_bos=command.adds_bos
    )
    job.report_progress(text("deriving the Ollama template"), 0, None)
    job.emit(template_sandbox.derive(source, job, frozen_date=command.frozen_date))


@handles(commands.RenderTemplate)
def render_template(command: commands.RenderTemplate, job: JobContext) -> None:
    """Render a conversation with a TEMPLATE."""
    from lora_studio.engine.export.ollama import template_sandbox

    job.emit(template_sandbox.render(command.template, command.request, command.today, job))


@handles(commands.RenderChat)
def render_chat(command: commands.RenderChat, job: JobContext) -> None:
    """Render conversations with a chat template."""
    from lora_studio.engine.export.ollama import chat_rendering

    job.emit(chat_rendering.render(command))


@handles(commands.ProveTemplate)
def prove_template(command: commands.ProveTemplate, job: JobContext) -> None:
    """Compare a chat template with llama-server and with its derived TEMPLATE."""
    from lora_studio.engine.export.ollama import template_proof

    job.open_file(Path(command.gguf or command.path))
    job.emit(template_proof.prove_template(command, job))
