"""Control groups of version 2, read from a copy of their file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.system import memory_limits
from lora_studio.core.system.memory_limits import ControlGroup, KillCounter

MEMORY = {
    "memory.max": "1000\n",
    "memory.current": "700\n",
    "memory.stat": "anon 400\nactive_file 100\ninactive_file 50\n",
    "memory.events": "low 0\noom 3\noom_kill 2\n",
}


def make_group(folder: Path, **changed: str) -> ControlGroup:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        MEMORY | {f"memory.{key}": text for key, text in changed.items()}
    ).items():
        (folder / name).write_text(content)
    return ControlGroup(folder)


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Mount version 2 beside version 1; process 7 is in the group user/train of version 2."""
    mount, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "7").mkdir()
    (proc / "self" / "mountinfo").write_text(
        f"24 20 0:23 / {tmp_path / 'old'} rw - cgroup cgroup rw,memory\n"
        f"25 20 0:24 / {mount} rw,nosuid shared:5 - cgroup2 cgroup2 rw\n"
    )
    (proc / "7" / "cgroup").write_text("4:memory:/old\n0::/user/train\n")
    (proc / "vmstat").write_text("oom_kill 5\n")
    monkeypatch.setattr(memory_limits, "PROC", proc)
    return mount


def test_memory_of_a_control_group_is_read(tmp_path: Path) -> None:
    group = make_group(tmp_path)
    assert (group.read_limit(), group.read_charged()) == (1000, 700)
    assert (group.read_held(), group.read_kills()) == (550, 2)


def test_unlimited_control_group_has_no_limit(tmp_path: Path) -> None:
    assert make_group(tmp_path, max="max\n").read_limit() is None


def test_control_groups_are_listed_innermost_first(mount: Path) -> None:
    groups = [make_group(mount / "user" / "train"), make_group(mount / "user")]
    mount.joinpath("memory.stat").write_text("anon 1\n")  # the root accounts for nothing
    assert memory_limits.list_control_groups(7) == groups


def test_container_that_sees_host_group_names_uses_its_mount(mount: Path) -> None:
    assert memory_limits.list_control_groups(7) == []
    group = make_group(mount)
    assert memory_limits.list_control_groups(7) == [group]


def test_kill_in_the_group_raises_the_count(mount: Path) -> None:
    make_group(mount / "user" / "train")
    counter = KillCounter(7)
    assert not counter.has_risen()
    make_group(mount / "user" / "train", events="oom_kill 3\n")
    assert counter.has_risen()


@pytest.mark.parametrize(
    "recorded", [pytest.param([1], id="now"), pytest.param([2, 1], id="earlier-version")]
)
def test_recorded_kill_count_is_compared(mount: Path, recorded: list[int]) -> None:
    group = make_group(mount / "user" / "train")
    before = {"boot": "", "group": [str(group.folder), *recorded], "all": 5}
    assert memory_limits.has_risen(before)
    assert not memory_limits.has_risen(before | {"group": [str(group.folder), 2]})
