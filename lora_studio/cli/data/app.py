"""`lora-studio data`: the group of its commands."""

from __future__ import annotations

from lora_studio.cli.data import lint, render, sources

app = sources.app
app.command()(lint.lint)
app.command()(render.render)
