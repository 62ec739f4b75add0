"""Project files: opening one from anybody gives a draft and problems, and never raises."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks, project
from lora_studio.core.spec import get_facts
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import NUMBERS, TEXTS, damage_bytes, draw_text

#: TOML of values that no setting has.
_VALUES = [
    "nan", "inf", "-inf", "[]", "{}", '[["a"]]', "[{a=1}]", "1979-05-27T07:32:00Z", "07:32:00", "0x_f", "1e999",
    '"\\ud800"', "'''", '"""\n"""', "[" * 200, '"a" # b', "true false", "9" * 400, "{path='a', share=1e400}",
    '[{path="x"}, {path="x", split="y"}]', '{path="~unknown-user/x"}', '[{path="a\\u0000"}]',
]  # fmt: skip


def _to_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_to_toml, value)) + "]"
    return '""'


def _draw_value(rng: random.Random, default: Any) -> str:
    match rng.randrange(6):
        case 0:
            return _to_toml(default)
        case 1:
            return rng.choice(_VALUES)
        case 2:
            return _to_toml(rng.choice(NUMBERS))
        case 3:
            return _to_toml(draw_text(rng))
        case 4:
            return _to_toml([rng.choice(TEXTS)[:200]] * rng.choice((1, 1, 2, 500)))
        case _:
            return _to_toml(rng.choice(TEXTS))


def generate_project(rng: random.Random) -> bytes:
    """Return a project file with unusual values, sometimes with damaged bytes."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(200))
    lines = [f"schema_version = {rng.choice(('1', '1', '2', '3', '99', '-1', 'true', '[]'))}"]
    if rng.random() < 0.5:
        lines.append(f"name = {_draw_value(rng, 'p')}")
    for step, spec in rng.sample(list(project.SPECS.items()), rng.randrange(1, 4)):
        lines.append(rng.choice((f"[{step}]", f"[{step}]", f"[[{step}]]", f"[{step}.x]")))
        for name in rng.sample(
            list(spec.model_fields), min(len(spec.model_fields), rng.randrange(5))
        ):
            lines.append(f"{name} = {_draw_value(rng, get_facts(spec, name).default)}")
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return damage_bytes(rng, content) if rng.random() < 0.3 else content


def _to_text(draft: project.Draft) -> str:
    """Return the values in a fixed order; NaN equals NaN then."""
    values = {str(step): fields for step, fields in draft.values.items()}
    return json.dumps(values, sort_keys=True, default=str)


def _save_and_load(draft: project.Draft, copy: Path) -> None:
    try:
        draft.save(copy)
    except ProblemError:
        return
    if draft.read_only is None and _to_text(project.load(copy)) != _to_text(draft):
        raise WrongResultError("a saved project is different when it is loaded again")


def run_project(content: bytes, sandbox: Path) -> str:
    """Do what opening, saving, and starting a project do."""
    file = sandbox / "p.lorastudio"
    file.write_bytes(content)
    try:
        draft = project.load(file)
    except ProblemError:
        return "refused"
    problems = [*draft.list_problems(), *checks.check(draft)]
    for problem in problems:
        str(problem)
    if len(content) % 4 == 0:  # it takes longer than all the rest
        _save_and_load(draft, sandbox / "copy.lorastudio")
    try:
        frozen = draft.freeze()
    except ProblemError:
        return "problems"
    frozen.resolve(sandbox).to_toml().encode()
    return "accepted"


FAMILIES = [SimpleFamily("projects", generate_project, run_project, weight=2, smoke=40)]
