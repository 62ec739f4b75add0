"""A run that is paused and resumed, compared with one that wasn't."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.runs.jobs import RecordingChannel, train


def expect_same_adapter_after_pause(run: RunFolder, unbroken: RunFolder) -> RecordingChannel:
    """Pause after two steps, resume, and expect the adapter of a trained run bit for bit; return the events since."""

    def pause(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == 2:
            flags.pause.set()

    assert train(run, on_event=pause).last(events.Done).paused
    channel = train(run, resume=True)
    weights, resumed = (
        load_file(each.adapter / "adapter_model.safetensors") for each in (unbroken, run)
    )
    assert resumed.keys() == weights.keys()
    for name, value in resumed.items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    return channel
