"""Calibrate estimates from earlier trainings on this machine: the error in memory, and the speed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lora_studio.core.memory.estimate import RECOMPUTING
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.protocol.events import Device
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.core.system import files, foreign_files, paths
from lora_studio.core.system.foreign_files import read_bytes

#: Bounds of the factor, which each run moves only half the way: one odd run, or another program's
#: memory, should not spoil every later estimate.
LOWEST, HIGHEST, _WEIGHT = 0.5, 2.0, 0.5
#: How much larger or smaller another model may be whose speed is derived from the last run: a step of
#: a small model is mostly overhead, which says nothing about a large one.
_MAX_SIZE_RATIO = 4.0


class CalibrationRecord(BaseModel):
    """The calibration of one device at one precision.

    `factor` is the ratio of measured to estimated memory, for the part that no formula gives
    exactly. `work_per_s` is tokens × parameters per second of the last run, whose model has `parameters`;
    `tokens_per_s` by model source. Both are speeds without gradient checkpointing.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    factor: float = Field(1.0, ge=LOWEST, le=HIGHEST)
    runs: int = 0
    work_per_s: float = 0.0
    parameters: int = 0
    tokens_per_s: dict[str, float] = Field(default_factory=dict)

    def estimate_speed(self, source: str, parameters: int) -> float | None:
        """Return the expected tokens per second for a model, None if it isn't known.

        The speed of a model that was never trained is derived from one of a similar size.
        """
        if source in self.tokens_per_s:
            return self.tokens_per_s[source]
        if not (self.work_per_s and self.parameters and parameters):
            return None
        ratio = parameters / self.parameters
        is_similar = 1 / _MAX_SIZE_RATIO <= ratio <= _MAX_SIZE_RATIO
        return self.work_per_s / parameters if is_similar else None

    def with_run(
        self, *, ratio: float, source: str, parameters: int, speed: float, share: float = 1.0
    ) -> CalibrationRecord:
        """Return the record updated with one more run.

        `ratio` is measured over estimated memory of the part that `factor` is about, and `share` is
        that part's share of the total; a smaller share changes the record less.
        """
        moved = self.factor * ratio ** (_WEIGHT * share)
        speeds = {**self.tokens_per_s, source: speed} if speed > 0 else self.tokens_per_s
        return CalibrationRecord(
            factor=min(HIGHEST, max(LOWEST, moved)),
            runs=self.runs + 1,
            work_per_s=speed * parameters if speed > 0 else self.work_per_s,
            parameters=parameters if speed > 0 else self.parameters,
            tokens_per_s=dict(list(speeds.items())[-50:]),
        )


class MachineCalibration(BaseModel):
    """All calibration records, by device and precision."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    learned: dict[str, CalibrationRecord] = Field(default_factory=dict)

    def get(self, device: str, precision: str) -> CalibrationRecord:
        """Return the record of a device (`get_device_model`) at a precision; the defaults before
        its first run.
        """
        return self.learned.get(f"{device} · {precision}", CalibrationRecord())

    def with_record(
        self, device: str, precision: str, learned: CalibrationRecord
    ) -> MachineCalibration:
        """Return the calibration with another record."""
        return MachineCalibration(learned={**self.learned, f"{device} · {precision}": learned})


def get_device_model(device: Device) -> str:
    """Return a device's model name; just `cpu` for a CPU, since its title includes the number of
    threads.
    """
    return "cpu" if device.name == "cpu" else str(device.title)


def apply_correction(plan: MemoryPlan, known: MachineCalibration) -> MemoryPlan:
    """Return the plan with the measured correction of its device."""
    learned = known.get(get_device_model(plan.device), plan.precision)
    speed = learned.estimate_speed(plan.model.source, plan.inspected.parameters)
    return replace(plan, correction=learned.factor, tokens_per_s=speed)


def learn(plan: MemoryPlan, estimate: MemoryEstimate, peak: int, speed: float) -> None:
    """Update the calibration from a training's estimate and its measured bytes and tokens per
    second.
    """
    calibration = load()
    name = get_device_model(plan.device)
    certain = estimate.reported - estimate.guessed
    measured = max(0.0, peak - certain) / max(1, estimate.guessed)
    learned = calibration.get(name, plan.precision).with_run(
        ratio=min(HIGHEST, max(LOWEST, measured)),
        share=estimate.guessed / max(1, estimate.reported),
        source=plan.model.source,
        parameters=plan.inspected.parameters,
        speed=speed * (RECOMPUTING if plan.checkpoints else 1.0),
    )
    save(calibration.with_record(name, plan.precision, learned))


def get_path() -> Path:
    """Return the path of the calibration file."""
    return paths.get_data_folder() / "machine.json"


def load() -> MachineCalibration:
    """Read the calibration; empty if the file is missing, or damaged and set aside.

    Later runs fill it again.
    """
    try:
        return MachineCalibration.model_validate_json(read_bytes(get_path()))
    except FileNotFoundError:
        return MachineCalibration()
    except (OSError, ValidationError):
        foreign_files.set_aside(get_path())
        return MachineCalibration()


def save(machine: MachineCalibration) -> None:
    """Write the calibration; a write error is ignored, since later runs fill it again."""
    with contextlib.suppress(OSError):
        files.write_atomic(get_path(), machine.model_dump_json(indent=2))
