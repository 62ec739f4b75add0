"""A folder of wheels that an engine can be installed from on a machine without a network."""

from __future__ import annotations

import hashlib
import html
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_studio import __version__
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol.events import Progress
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.core.system.mounts import create_folder
from lora_studio.core.system.packages import normalize_package_name
from lora_studio.setup import download
from lora_studio.setup.app_wheel import AppWheel
from lora_studio.setup.detect import Variant
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.events import Event, WheelhouseReady
from lora_studio.setup.plan import WheelFile
from lora_studio.setup.tools import SetupLog, StopFlag

#: File that describes the folder; written last.
FACTS = "wheelhouse.json"


class WheelhouseInfo(BaseModel):
    """The target of a wheel folder: an engine variant, a Python such as 3.12, and a platform as uv
    names it.

    `sha256` has the checksum of each wheel in hexadecimal digits, by file name.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    app_version: str
    variant: Variant
    python: str
    platform: str = ""
    sha256: dict[str, str] = {}


def read_info(folder: Path) -> WheelhouseInfo | None:
    """Return the description of a wheel folder; None for a folder that was put together by hand.

    Raises ProblemError if another version of this program created it.
    """
    try:
        facts = WheelhouseInfo.model_validate_json((folder / FACTS).read_bytes())
    except (OSError, ValidationError):
        if not any(folder.glob("*.whl")):
            raise fail(
                "engine.wheelhouse",
                "This folder contains no wheels.",
                "Create a wheel folder on a computer with internet access: `lora-studio engine wheelhouse "
                "FOLDER`.",
                where=Where(file=str(folder)),
            ) from None
        return None
    if facts.app_version != __version__:
        raise fail(
            "engine.wheelhouse",
            "This wheel folder is for version {folder}, but LoRA Studio has version {app}.",
            "Create it again with this version of LoRA Studio.",
            where=Where(file=str(folder)),
            folder=facts.app_version,
            app=__version__,
        )
    return facts


def read_checksums(folder: Path, stop: StopFlag) -> Generator[Progress, None, dict[Path, str]]:
    """Return every wheel with its checksum. Raises ProblemError if one has changed or can't be
    read.
    """
    facts = read_info(folder)
    promised = facts.sha256 if facts else {}
    try:
        computed = yield from compute_checksums(sorted(folder.glob("*.whl")), stop)
    except OSError as error:
        raise _damaged_wheel_error(
            Path(error.filename or folder), describe_os_error(error)
        ) from error
    for wheel, digest in computed.items():
        if promised.get(wheel.name, digest) != digest:
            raise _damaged_wheel_error(
                wheel,
                text("its checksum differs from the one recorded when the folder was created"),
            )
    return computed


def _damaged_wheel_error(wheel: Path, reason: Text | str) -> ProblemError:
    return fail(
        "engine.wheelhouse",
        "{wheel} in the wheel folder is damaged: {reason}.",
        "Copy it again, or run `lora-studio engine wheelhouse FOLDER` on the other computer, which "
        "downloads only missing or damaged files.",
        where=Where(file=str(wheel)),
        wheel=wheel.name,
        reason=reason,
    )


def fill_wheelhouse(
    folder: Path,
    wheels: tuple[WheelFile, ...],
    app_wheel: AppWheel,
    facts: WheelhouseInfo,
    stop: StopFlag,
    log: SetupLog,
) -> Iterator[Event]:
    """Download every wheel into the folder; resumes an interrupted download. Raises ProblemError."""
    files = [wheel.file for wheel in wheels]
    need = sum(max(0, (file.size or 0) - file.present) for file in files)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise fail(
            "disk.full",
            "The wheels need {needed:size} more disk space, but only {free:size} is free.",
            "Choose a folder on a larger disk.",
            where=Where(file=str(folder)),
            needed=need,
            free=free,
        )
    own_file = DownloadFile(
        app_wheel.path.name, app_wheel.path.resolve().as_uri(), folder / app_wheel.path.name,
        app_wheel.path.stat().st_size, app_wheel.sha256,
    )  # fmt: skip
    yield from download.fetch([*files, own_file], "Downloading", stop, log)
    expected = {file.target.name for file in [*files, own_file]}
    for old in folder.glob("*.whl*"):
        if old.name not in expected:
            old.unlink()
    checksums = {file.target.name: file.sha256 for file in [*files, own_file] if file.sha256}
    updated = facts.model_copy(update={"sha256": checksums})
    write_atomic(folder / FACTS, json.dumps(updated.model_dump(mode="json"), indent=2) + "\n")
    size = sum(file.stat().st_size for file in folder.glob("*.whl"))
    yield WheelhouseReady(folder=str(folder), files=len(expected), bytes=size)


#: Bytes read between two checks for a cancel.
_CHUNK = 4_000_000
#: Seconds between two progress events.
_INTERVAL = 0.25


def compute_checksums(
    wheels: Sequence[Path], stop: StopFlag
) -> Generator[Progress, None, dict[Path, str]]:
    """Return the SHA-256 of each wheel in hexadecimal digits; raises SetupCancelledError and
    OSError.
    """
    total = sum(wheel.stat().st_size for wheel in wheels)
    checksums: dict[Path, str] = {}
    done, reported = 0, time.monotonic()
    for wheel in wheels:
        digest = hashlib.sha256()
        with wheel.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                stop.check()
                digest.update(chunk)
                done += len(chunk)
                if (now := time.monotonic()) - reported >= _INTERVAL:
                    reported = now
                    yield Progress(stage="Planning", done=done, total=total, unit="B")
        checksums[wheel] = digest.hexdigest()
    return checksums


def write_index(wheels: Mapping[Path, str], into: Path) -> str:
    """Write a package index of these wheels with their checksums, and return its URL."""
    pages: dict[str, list[str]] = defaultdict(list)
    for wheel, digest in wheels.items():
        address = html.escape(f"{wheel.resolve().as_uri()}#sha256={digest}")
        line = f'<a href="{address}">{html.escape(wheel.name)}</a>'
        pages[normalize_package_name(wheel.name.partition("-")[0])].append(line)
    for name, lines in pages.items():
        page = into / name / "index.html"
        create_folder(page.parent, exist_ok=False)
        body = "\n".join(lines)
        page.write_text(f"<!DOCTYPE html><html><body>\n{body}\n</body></html>\n", "utf-8")
    return into.resolve().as_uri()
