"""A task can be removed: the rest of the program works without its modules and its lines in tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: What belongs to the task of embeddings alone.
FILES = (
    "lora_studio/core/tasks/embedding.py",
    "lora_studio/engine/tasks/embedding.py",
    "resources/reproduction/embedding.py.jinja",
)
#: What names it elsewhere, as patterns by file: in tables, and in types with all names.
LINES = {
    "lora_studio/core/tasks/samples.py": (r', "embedding"(?=.*\]$)',),
    "lora_studio/core/tasks/table.py": (r".*EmbeddingTask.*\n",),
    "lora_studio/core/training/spec.py": (r".*EmbeddingSettings.*\n",),
    "lora_studio/core/dataset/spec.py": (
        r'"search_pairs", ',
        r'    "search_pairs": FormatInfo\([^)]*\),?\s*\),\n',
    ),
    "lora_studio/core/dataset/formats/candidates.py": (
        r'    RowShape\(\n +"search_pairs",(?:.*\n)*?    \),\n',
    ),
    "lora_studio/core/dataset/formats/conversion.py": (
        r'    "search_pairs": _convert_search_pair,\n',
        r'"search_pairs": find_chosen_search_pairs, ',
    ),
    "lora_studio/engine/tasks/table.py": (r".*EmbeddingTraining.*\n",),
    "lora_studio/engine/tokens/encoder.py": (r'    "embedding": SearchPairEncoding\(\),\n',),
    "lora_studio/engine/training/reproduction/objectives.py": (
        r'    "embedding": ScriptObjective\((?:.*\n)*?    \),\n',
    ),
}
#: Tests of what all tasks share: settings, formats, tokens, and a training with its script.
TESTS = (
    "tests/core/tasks",
    "tests/core/dataset/formats/test_row_formats.py",
    "tests/engine/tokens/test_encoder.py",
    "tests/engine/training/reproduction/test_script.py::test_run_folder_has_script_rows_and_versions",
)

_IMPORT_ALL = """
import importlib, pkgutil, sys, lora_studio
assert lora_studio.__file__.startswith(sys.argv[1]), lora_studio.__file__
for module in pkgutil.walk_packages(lora_studio.__path__, "lora_studio."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_program_works_without_the_task_of_embeddings(tmp_path: Path) -> None:
    for name in ("lora_studio", "resources", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in FILES:
        (tmp_path / name).unlink()
    for name, patterns in LINES.items():
        source = (tmp_path / name).read_text("utf-8")
        for pattern in patterns:
            source, count = re.subn(pattern, "", source, flags=re.MULTILINE)
            assert count, f"{name} has nothing like {pattern}"
        (tmp_path / name).write_text(source, "utf-8")
    _run(tmp_path, "-c", _IMPORT_ALL, str(tmp_path))
    options = ("-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "-k", "not search")
    _run(tmp_path, "-m", "pytest", *options, *TESTS)


def _run(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
