"""Serve runs with llama-server."""

from __future__ import annotations

from lora_studio.core.protocol import commands
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Serve)
def serve(command: commands.Serve, job: JobContext) -> None:
    """Serve runs until the command is canceled, which is how serving succeeds."""
    from lora_studio.engine.export.serving import server

    server.serve(command, job)
