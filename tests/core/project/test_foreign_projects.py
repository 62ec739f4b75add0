"""Project files from anybody: loading and checking one never raises anything but a problem."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks, project

#: What an attacker, or a broken disk, puts in the place of a value.
VALUES = [
    '"a\\u0000b"', '"~unknown-user/x"', f'"{"x" * 5000}"', f'"{"x/" * 3000}"', "nan", "inf", "-1", "[]", "{}",
    "9" * 400, "true", '[["a"]]', "[{a=1}]", "1979-05-27T07:32:00Z", '"\\ud800"', "'''", '"../../.."',
    '"/dev/zero"', '"<img src=x>"', "[" * 2000, '"\\u200b"',
]  # fmt: skip


def write(folder: Path, content: bytes) -> Path:
    file = folder / "p.lorastudio"
    file.write_bytes(content)
    return file


def load_and_check(file: Path) -> None:
    """Do what opening a project does."""
    try:
        draft = project.load(file)
    except ProblemError:
        return
    draft.list_problems()
    checks.check(draft)
    try:
        frozen = draft.freeze()
    except ProblemError:
        return
    frozen.resolve(file.parent)


@given(content=st.binary(max_size=200))
@example(content=b"\xff\xfe")
@example(content=b"name = 'a'\nname = 'b'")
@example(content=b"[model]\nsource='a'\n[model]\nsource='b'")
@example(content=b"a.b=1\n[a]\nb=2")
@example(content=b"x=" + b"[" * 5000)
def test_any_bytes_load_or_give_a_problem(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    load_and_check(write(tmp_path_factory.mktemp("project"), content))


@settings(max_examples=150)
@given(data=st.data())
def test_any_value_of_any_setting_loads_or_gives_a_problem(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("project")
    lines = []
    for step, spec in project.SPECS.items():
        lines.append(f"[{step}]")
        names = data.draw(st.lists(st.sampled_from(list(spec.model_fields)), max_size=4))
        lines += [f"{name} = {data.draw(st.sampled_from(VALUES))}" for name in names]
    load_and_check(write(folder, "\n".join(lines).encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize(
    ("field", "count"),
    [("training]\nsample_prompts", 20_000), ("merging]\nfurther", 5_000)],
    ids=["prompts", "adapters"],
)
def test_endless_list_is_a_problem(tmp_path: Path, field: str, count: int) -> None:
    entries = '"a", ' * count
    file = write(tmp_path, f"[{field} = [{entries}]".encode())
    (problem,) = project.load(file).list_problems()
    assert "more than 1,000 entries" in str(problem.what)
    assert len(str(problem.what)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.lorastudio"
    os.mkfifo(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    endless = tmp_path / "zero.lorastudio"
    endless.symlink_to("/dev/zero")
    for file in (pipe, endless):
        with pytest.raises(ProblemError):
            project.load(file)
