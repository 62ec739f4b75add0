"""Damaged files of the user's settings: defaults with a notice, and the damaged file is kept."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core import limits
from lora_studio.core.memory import calibration
from lora_studio.core.model import folders
from lora_studio.core.system import consent, foreign_files, locks, paths
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import (
    NamingFile,
    UnsafeFileError,
    open_own,
    read_bytes,
    read_json,
)
from lora_studio.core.system.locks import FileLock
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


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file of the user outside the project."""
    file = tmp_path / "diary.txt"
    file.write_text("Dear diary")
    return file


@pytest.mark.parametrize("mode", ["ab", "wb", "ab+", "rb+"])
def test_link_is_never_written_through(private: Path, tmp_path: Path, mode: str) -> None:
    link = tmp_path / "log.txt"
    link.symlink_to(private)
    with pytest.raises(OSError, match="link to another file"):
        open_own(link, mode)  # type: ignore[arg-type]  # a parametrized literal
    assert private.read_text() == "Dear diary"


def test_lock_that_is_a_link_leaves_the_file_alone(private: Path, tmp_path: Path) -> None:
    lock = tmp_path / ".p.lorastudio.lock"
    lock.symlink_to(private)
    assert not FileLock(lock).is_held()
    with pytest.raises(OSError, match="link to another file"):
        FileLock(lock).acquire({"pid": 1})
    assert private.read_text() == "Dear diary"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_neither_blocks_nor_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for use in (read_bytes, lambda file: open_own(file, "ab")):
        with pytest.raises(OSError):
            use(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_link_to_an_endless_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(UnsafeFileError, match="isn't a regular file"):
        read_bytes(tmp_path / "config.json")


def test_file_over_its_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(UnsafeFileError, match="larger than 10 B"):
        read_bytes(tmp_path / "a", limit=10)
    assert read_bytes(tmp_path / "a", limit=11) == b"x" * 11


def test_deep_json_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")


def test_link_to_a_regular_file_is_read(private: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").symlink_to(private)
    assert foreign_files.read_text(tmp_path / "README.md") == "Dear diary"


def read_raw(file: Path) -> bytes:
    with foreign_files.open_raw(file) as raw:
        return raw.readall()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
@pytest.mark.parametrize("read", [foreign_files.read_bytes, read_raw])
def test_failed_read_names_its_file(read: Callable[[Path], bytes], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(file)
    assert caught.value.filename == str(file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_failed_write_names_the_file() -> None:
    with (
        NamingFile("/dev/full", "wb") as file,
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
    ):
        file.write(b"1")


def test_lines_over_the_limit_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_LINE", 4)
    lines = list(foreign_files.iter_lines(io.BytesIO(b"one\n1234567890\ntwo\nthr")))
    assert lines == [(b"one\n", 4), (b"", 11), (b"two\n", 4)]


def test_reason_omits_error_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as absent:
        (tmp_path / "absent").read_bytes()
    assert describe_os_error(absent.value) == "No such file or directory"


def test_reason_is_the_first_line_of_an_error_or_its_name() -> None:
    assert describe_os_error(ValueError("no number.\nat line 3")) == "no number"
    assert describe_os_error(MemoryError()) == "MemoryError"
