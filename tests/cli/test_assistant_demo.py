"""The summary of the demo that learns from examples."""

from __future__ import annotations

from pathlib import Path

from lora_studio.cli import demo
from lora_studio.core.project import project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder


def _tested(stage: str, top1: float) -> events.SelfTested:
    return events.SelfTested(
        stage=stage,
        conversations=4,
        positions=100,
        tokens_equal=True,
        top1=top1,
        kl=0.0,
        top1_limit=0.9,
        kl_limit=0.1,
        passed=True,
    )


def test_only_the_last_self_test_of_a_stage_is_listed(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "p", "Sample", {})
    run = folder.create_run(tmp_path / "p" / "runs", draft.freeze(), tmp_path / "p")
    recorded = [_tested("merged", 0.97), _tested("merged", 1.0), _tested("Q8_0", 0.99)]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    assert demo.list_self_tests(run) == recorded[1:]
