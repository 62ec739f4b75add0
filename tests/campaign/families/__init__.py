"""Every family by its name, and the module that it is in; imported only when it runs."""

from __future__ import annotations

import importlib

from tests.campaign.family import Family

#: Name of a family -> module in this package.
FAMILIES: dict[str, str] = {
    "projects": "project_files",
    "records": "record_files",
    "run-facts": "record_files",
    "model-configs": "model_files",
    "adapters": "model_files",
    "weight-indexes": "model_files",
    "cards": "model_files",
    "patterns": "model_files",
    "safetensors": "weight_headers",
    "gguf": "weight_headers",
    "chat-templates": "templates",
    "go-templates": "templates",
    "modelfiles": "modelfiles",
    "commands": "protocol_lines",
    "events": "protocol_lines",
    "messages": "protocol_lines",
    "terminal-texts": "shown_texts",
    "window-texts": "shown_texts",
    "rows": "data_rows",
    "data-files": "data_files",
    "archives": "data_files",
    "hub-answers": "server_answers",
    "ollama-answers": "server_answers",
    "kills": "interrupted_runs",
    "bad-saves": "failing_saves",
    "killed-saves": "interrupted_saves",
    "killed-downloads": "interrupted_saves",
    "bad-disks": "interrupted_runs",
    "bad-reads": "interrupted_runs",
}


def load_family(name: str) -> Family:
    """Return a family by its name."""
    module = importlib.import_module(f"tests.campaign.families.{FAMILIES[name]}")
    families: list[Family] = module.FAMILIES
    return next(family for family in families if family.name == name)
