"""Measure how much longer chat templates take with limits than in jinja's own sandbox.

    python -m tests.benchmarks.template_rendering [--turns 10] [--rounds 7]

Each template of tests/helpers/models/chat_templates renders the same conversation in both environments, in
turns (A-B-A-B), so that both meet the same load of the machine. The best time of each counts.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.limited_environment import to_json

TEMPLATES = Path(__file__).parents[1] / "helpers" / "models" / "chat_templates"
#: The block that only this program and transformers know; without it, the text is the same.
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def list_templates() -> list[Path]:
    """Return the files of real chat templates."""
    return sorted(TEMPLATES.glob("*.jinja"))


def build_conversation(turns: int) -> list[dict[str, Any]]:
    """Return user and assistant messages of about a hundred words each."""
    text = "The quick brown fox jumps over the lazy dog, and then it rests for a while. " * 6
    return [
        {"role": ("user", "assistant")[number % 2], "content": f"{number}: {text}"}
        for number in range(turns)
    ]


def compile_plain(source: str) -> jinja2.Template:
    """Return the template as transformers compiles it."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def compare(file: Path, turns: int, rounds: int) -> tuple[float, float] | None:
    """Return the best seconds of one rendering, plain and limited; None if the template refuses."""
    source = _GENERATION.sub("", file.read_text("utf-8"))
    messages = build_conversation(turns)
    context = {"tools": None, "documents": None, "messages": messages, **_TOKENS}
    plain, limited = compile_plain(source), ChatTemplate(source, _TOKENS)
    try:
        expected = plain.render(add_generation_prompt=True, **context)
    except (jinja2.TemplateError, TypeError):
        return None
    if limited.render(messages) != expected:
        raise AssertionError(f"{file.name} renders differently")
    best = [float("inf"), float("inf")]
    count = _choose_count(lambda: limited.render(messages))
    for _ in range(rounds):
        best[0] = min(
            best[0], _measure(lambda: plain.render(add_generation_prompt=True, **context), count)
        )
        best[1] = min(best[1], _measure(lambda: limited.render(messages), count))
    return best[0], best[1]


def _choose_count(render: Callable[[], str]) -> int:
    """Return how many renderings take about 20 ms."""
    return max(1, int(0.02 / max(1e-6, _measure(render, 5))))


def _measure(render: Callable[[], str], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        render()
    return (time.process_time() - began) / count


def main() -> None:
    """Print a line for each template, and the median and largest ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    ratios: list[float] = []
    for file in list_templates():
        seconds = compare(file, options.turns, options.rounds)
        if seconds is None:
            print(f"{file.stem:20} refuses this conversation")
            continue
        ratios.append(seconds[1] / seconds[0])
        print(
            f"{file.stem:20} plain {seconds[0] * 1e6:7.0f} µs  limited {seconds[1] * 1e6:7.0f} µs  "
            f"ratio {ratios[-1]:.2f}"
        )
    print(f"median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
