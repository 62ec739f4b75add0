"""A trained run of a tiny model: project, random adapter and held-out conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import random_adapter, tiny_model

_QUESTIONS = (
    "Which lamp burns longest?",
    "Please answer in one short sentence: where is the {} harbour master?",
    "What does {} times 3.50 come to?\nAnd who brings the receipt?",
    "  Two blanks before, {} marks behind!?  ",
    "Où est la gare? {} 你好 🙂",
)
_ANSWERS = (
    "The one that is lit last, said the keeper and laughed. {} crates of apples come to 42 in all.",
    "He writes every ship into the blue book before the tide turns.\n\nThen he laughs {} times.",
    "def area(width, height):\n    return width * height  # in square metres, {}",
    "Schöne Grüße aus Köln! ¿Dónde está el río? Привет, {} and 🚢.",
)


def heldout_rows(count: int = 40) -> list[dict[str, Any]]:
    """Return distinct conversations of one or two turns."""
    rows = []
    for number in range(count):
        turns = []
        for turn in range(1 + number % 2):
            question = _QUESTIONS[(number + turn) % len(_QUESTIONS)].format(number)
            answer = _ANSWERS[(number + 2 * turn) % len(_ANSWERS)].format(number)
            turns += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        rows.append({"messages": turns})
    return rows


def tiny_run(family: str, folder: Path, **export: Any) -> RunFolder:
    """Create the run in `folder`; `export` are fields of its ExportSpec."""
    base = tiny_model(family, folder / "base")
    llama_cpp = llama_cpp_folder(folder / "llama.cpp")
    project = Project(
        name="Harbour",
        model=ModelSpec(source=str(base), device="cpu"),
        dataset=DatasetSpec(sources=(DataSource(path=str(folder / "rows.jsonl")),)),
        export=ExportSpec(llama_cpp=str(llama_cpp), **{"ollama_create": False} | export),
    )
    run = run_folder.create_run(folder / "runs", project, folder)
    random_adapter(base, run.adapter)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in heldout_rows())
    run.heldout_file.write_text("".join(lines), "utf-8")
    return run
