"""Damaged files of the user's settings: defaults with a notice, and the damaged file is kept."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.memory import calibration
from lora_studio.core.model import folders
from lora_studio.core.system import consent, foreign_files, locks, paths
from lora_studio.core.system.consent import ForeignCode
from lora_studio.gui.preferences import Preferences
from tests.helpers.faults import odd_json


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path))
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
    foreign_files.collect_notices()
    yield tmp_path
    foreign_files.collect_notices()


def save_preferences() -> Path:
    Preferences(theme="dark", recent=["/a/b.lorastudio"], offline=True).save()
    return paths.get_window_file()


def save_consent() -> Path:
    consent.trust(ForeignCode("model", Path("/x"), ("a.py",), "ab" * 16))
    return paths.get_config_folder() / "trusted_code.json"


def save_calibration() -> Path:
    record = calibration.CalibrationRecord(factor=1.5, runs=3)
    calibration.save(calibration.MachineCalibration().with_record("gpu", "bf16", record))
    return calibration.get_path()


FILES: dict[str, tuple[Callable[[], Path], Callable[[], Any]]] = {
    "preferences": (save_preferences, Preferences.load),
    "consent": (save_consent, consent.read_trusted),
    "calibration": (save_calibration, calibration.load),
}


def make_noise(content: bytes) -> Iterator[bytes]:
    rng = random.Random(1)
    yield from (b"", b"[]", b"null", b"3", b"[" * 100_000, b"\xff\xfe", b"\0" * 1000)
    for _ in range(5):
        yield content[: rng.randrange(len(content) - 2)]


@pytest.mark.parametrize("name", FILES)
def test_damaged_settings_are_kept_and_defaults_used(name: str) -> None:
    save, load = FILES[name]
    file = save()
    good, saved = file.read_bytes(), load()
    for damage in make_noise(good):
        file.write_bytes(damage)
        assert load() != saved
        (notice,) = foreign_files.collect_notices()
        assert notice.severity == "warning"
        kept = file.with_name(file.name + foreign_files.SUFFIX)
        assert kept.read_bytes() == damage
        kept.unlink()
        file.write_bytes(good)
        assert load() == saved
        assert foreign_files.collect_notices() == []


@pytest.mark.parametrize("name", FILES)
def test_odd_setting_loads_or_is_kept(name: str) -> None:
    save, load = FILES[name]
    file = save()
    for what, document in odd_json.iter_odd(json.loads(file.read_bytes()), limit=20):
        content = json.dumps(document)
        file.write_text(content)
        load()
        if foreign_files.collect_notices():
            kept = file.with_name(file.name + foreign_files.SUFFIX)
            assert kept.read_text() == content, what
            kept.unlink()


def test_invalid_preference_keeps_the_others(config: Path) -> None:
    file = save_preferences()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"theme": 3, "text_size": "x"}))
    loaded = Preferences.load()
    assert (loaded.theme, loaded.offline, loaded.recent) == ("system", True, ["/a/b.lorastudio"])


def test_every_damaged_file_is_kept(config: Path) -> None:
    for number in range(5):
        (config / "a.json").write_text(str(number))
        foreign_files.set_aside(config / "a.json")
    assert {file.read_text() for file in config.glob("a.json.damaged*")} == set("01234")


def test_missing_settings_need_no_notice() -> None:
    assert Preferences.load() == Preferences()
    assert consent.read_trusted() == {}
    assert folders.list_added_folders() == ()
    assert foreign_files.collect_notices() == []


@pytest.mark.parametrize("content", [b"[]", b'{"pid": []}', b"\xff", b"[" * 9999, b'{"run": 3}'])
def test_damaged_device_lock_can_be_taken(content: bytes) -> None:
    device = locks.DeviceIdentity("gpu-0", "GPU")
    with locks.hold_devices([device], locks.LockHolder("", "", 1), lambda *_: None):
        (file,) = (paths.get_data_folder() / "devices").iterdir()
    file.write_bytes(content)
    with locks.hold_devices([device], locks.LockHolder("r", "", 1), lambda *_: None):
        file.write_bytes(content)
        locks.find_holder(device)
