"""Complete setups from a local index: real uv, real files and a minimal engine."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

import lora_studio
from lora_studio import __version__
from lora_studio.core.problems import Problem
from lora_studio.setup import download, engines, folders, operations, plan
from lora_studio.setup.events import (
    EngineReady,
    Event,
    Failed,
    Progress,
    SetupPlanned,
    Warned,
    parse,
)
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import StopFlag, find_uv
from tests.helpers.servers import certificates
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.wheel_index import Index, make_wheel, own_wheel, serve, torch_wheel

pytestmark = pytest.mark.slow  # several programs are started for each


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Yield an index with every package of the minimal engine, and nothing else configured."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    monkeypatch.delenv("LORA_STUDIO_ENGINE", raising=False)
    monkeypatch.setenv(plan.VARIABLE, plan.STANDARD)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    served = Index()
    served.add(
        torch_wheel(padding=300_000), make_wheel("alpha", requires=("beta",)), make_wheel("beta")
    )
    with serve(served):
        monkeypatch.setenv("UV_DEFAULT_INDEX", served.simple)
        _bring_own(tmp_path, monkeypatch, own_wheel())
        yield served


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineRoot:
    """Return an engine root with spaces, accents and Chinese characters in its path."""
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "Zoë Đặng 李" / "lora studio"))
    return folders.get_root()


def _bring_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: tuple[str, bytes]) -> None:
    folder = tmp_path / "own wheel"
    folder.mkdir(exist_ok=True)
    (folder / wheel[0]).write_bytes(wheel[1])
    monkeypatch.setenv(plan.WHEEL_VARIABLE, str(folder / wheel[0]))


def run(request: SetupRequest | None = None) -> list[Event]:
    """Run a setup from its plan to its end."""
    work = EngineSetup(request or SetupRequest(variant="cpu"), StopFlag())
    return list(work.carry_out())


def ready(events: list[Event]) -> EngineReady:
    """Return the engine that the setup installed."""
    assert events[-1].kind == "done", events[-1]
    return next(event for event in events if isinstance(event, EngineReady))


def problem(events: list[Event]) -> Problem:
    """Return the problem that the setup failed with."""
    assert isinstance(events[-1], Failed), events[-1]
    return events[-1].problem


def test_engine_is_planned_installed_checked_and_activated(index: Index, root: EngineRoot) -> None:
    events = run()
    engine = ready(events)
    planned = next(event for event in events if isinstance(event, SetupPlanned))
    assert planned.packages == 3
    assert planned.download == sum(len(content) for content in index.wheels.values())
    stages = list(
        dict.fromkeys(str(event.stage) for event in events if isinstance(event, Progress))
    )
    assert stages == ["Planning", "Downloading", "Installing", "Checking"]
    assert str(engines.get_python()) == engine.python
    code = "import torch, beta; print(torch.__version__)"
    done = subprocess.run([engine.python, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "2.5"
    site = engines.get_site_packages(engines.get_engine(engine.name))
    assert not list(site.glob("*yside*"))
    assert not root.downloads.exists()


def test_update_downloads_only_changed_packages(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready(run())
    index.sent.clear()
    index.add(make_wheel("alpha", "1.1"))
    events = run(SetupRequest(mode="update"))
    second = ready(events)
    assert list(index.sent) == ["alpha-1.1-py3-none-any.whl"]
    planned = next(event for event in events if isinstance(event, SetupPlanned))
    assert planned.reused == 1
    new = engines.get_engine(second.name)
    assert new.packages["alpha"].version == "1.1"
    dists = sorted(folder.name for folder in engines.get_site_packages(new).glob("*.dist-info"))
    assert dists == [
        "alpha-1.1.dist-info",
        f"lora_studio-{engines.__version__}.dist-info", "torch-2.5.dist-info",
    ]  # fmt: skip
    assert engines.roll_back(root).name == first.name
    assert Path(first.python).exists()


def test_repair_downloads_only_damaged_packages(index: Index, root: EngineRoot) -> None:
    first = engines.get_engine(ready(run()).name)
    (engines.get_site_packages(first) / "beta" / "__init__.py").write_text("raise SystemExit")
    index.sent.clear()
    second = ready(run(SetupRequest(mode="repair")))
    assert list(index.sent) == ["beta-1.0-py3-none-any.whl"]
    subprocess.run([second.python, "-c", "import beta, torch"], check=True)


def test_repair_reuses_no_bytecode(index: Index, root: EngineRoot) -> None:
    first = engines.get_engine(ready(run()).name)
    site = engines.get_site_packages(first)
    code = next((site / "torch" / "__pycache__").glob("__init__.*.pyc"))
    head = code.read_bytes()[:16]  # Python compares it with the source to validate the bytecode
    code.write_bytes(head)
    import_it = "import torch; torch.__version__"
    assert subprocess.run([first.python, "-c", import_it], capture_output=True).returncode
    second = ready(run(SetupRequest(mode="repair")))
    subprocess.run([second.python, "-c", import_it], check=True)


def test_update_keeps_packages_after_a_python_patch_release(index: Index, root: EngineRoot) -> None:
    first = engines.get_engine(ready(run()).name)
    series = ".".join(first.python_version.split(".")[:2])
    engines.write_manifest(first.model_copy(update={"python_version": f"{series}.0"}))
    index.sent.clear()
    ready(run(SetupRequest(mode="update")))
    assert not index.sent


def test_user_folders_are_never_removed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    user_files = [
        home / name / "a file" for name in ("downloads", "python", "cache", "engines/own")
    ]
    for file in user_files:
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(folders.VARIABLE, str(home))
    list(operations.make_wheelhouse(tmp_path / "wheels", SetupRequest(variant="cpu"), StopFlag()))
    ready(run())
    assert list(operations.remove_engines("", StopFlag()))[-1].kind == "done"
    monkeypatch.delenv(folders.VARIABLE)
    assert Path(ready(run(SetupRequest(variant="cpu", to=home))).folder).is_relative_to(home)
    assert list(operations.remove_engines("", StopFlag()))[-1].kind == "done"
    assert [file.read_text() for file in user_files] == ["mine"] * 4
    assert len(list(home.iterdir())) == 4


def test_removing_engines_keeps_the_chosen_folder_setting(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    first = ready(run(SetupRequest(variant="cpu", to=tmp_path / "other disk")))
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "for now"))
    ready(run())
    assert list(operations.remove_engines("", StopFlag()))[-1].kind == "done"
    monkeypatch.delenv(folders.VARIABLE)
    assert str(engines.get_python()) == first.python


def test_undeletable_outdated_engine_is_only_a_warning(
    index: Index, root: EngineRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    outdated = ready(run())
    ready(run())
    remove = Path.rmdir

    def refuse(path: Path) -> None:
        if path.name == outdated.name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        remove(path)

    monkeypatch.setattr(Path, "rmdir", refuse)
    events = run()
    warned = next(event.problem for event in events if isinstance(event, Warned))
    assert (warned.code, warned.severity) == ("engine.not_removed", "warning")
    current = engines.get_current(root)
    assert current is not None
    assert current.name == ready(events).name
    assert not engines.find_engine(outdated.name, root)


def test_two_engines_can_be_installed_side_by_side(index: Index, root: EngineRoot) -> None:
    processor = ready(run())
    graphics = ready(run(SetupRequest(variant="cuda", torch=plan.STANDARD)))
    assert engines.get_current() == engines.find_engine(graphics.name)
    engines.switch_engine(engines.get_engine("cpu"), root)
    assert str(engines.get_python()) == processor.python


@pytest.mark.parametrize(
    "there", [(), ("unsloth",), ("liger-kernel",), ("unsloth", "liger-kernel")]
)
def test_gpu_engine_adds_available_accelerators(
    index: Index,
    root: EngineRoot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
) -> None:
    more = ("unsloth; extra == 'unsloth'", "liger-kernel; extra == 'liger'")
    _bring_own(tmp_path, monkeypatch, own_wheel(more=more))
    index.add(*map(make_wheel, there))
    work = EngineSetup(SetupRequest(variant="cuda", torch=plan.STANDARD), StopFlag())
    codes = [event.problem.code for event in work.prepare() if isinstance(event, Warned)]
    assert work.plan is not None
    assert {wheel.name for wheel in work.plan.wheels} == {"torch", "alpha", "beta", *there}
    lacks = {"unsloth": "engine.no_unsloth", "liger-kernel": "engine.no_liger"}
    assert codes == [code for name, code in lacks.items() if name not in there]


def test_engine_that_fails_its_check_is_not_activated(index: Index, root: EngineRoot) -> None:
    first = ready(run())
    index.add(torch_wheel("2.6", broken="{'peft': 'ImportError: no'}"))
    events = run(SetupRequest(mode="update"))
    assert problem(events).code == "engine.check"
    assert "peft" in str(problem(events).what)
    assert str(engines.get_python()) == first.python
    assert [one.name for one in engines.list_engines()] == [first.name]


def test_worker_of_another_version_is_not_activated(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bring_own(tmp_path, monkeypatch, own_wheel(speaks="0.0.1"))
    assert problem(run()).code == "engine.version"
    assert engines.get_current() is None


def test_interrupted_setup_resumes_at_the_next_attempt(index: Index, root: EngineRoot) -> None:
    torch = "torch-2.5-py3-none-any.whl"
    index.cut[torch] = (100_000, 1)
    index.gone_after_cut.add(torch)
    assert problem(run()).code == "engine.download"
    assert engines.get_current() is None
    assert (root.downloads / f"{torch}.part").stat().st_size == 100_000
    index.refused.clear()
    ready(run())
    assert (torch, 100_000) in index.starts
    assert index.sent[torch] == len(index.wheels[torch])


def test_wrong_checksum_installs_nothing(index: Index, root: EngineRoot) -> None:
    index.falsified.add("beta-1.0-py3-none-any.whl")
    assert problem(run()).code == "engine.checksum"
    assert engines.list_engines() == []


def test_insufficient_disk_space_is_reported_before_downloading(
    index: Index, root: EngineRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        total, used, free = 10**9, 10**9 - 5000, 5000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    failure = problem(run())
    assert failure.code == "disk.full"
    assert failure.where.file == str(root.path)
    assert not index.starts


@pytest.mark.skipif(os.name == "nt", reason="the uv that finds the disk full is a shell script")
def test_full_disk_during_planning_is_reported(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = "cause: failed to write to file `x`: No space left on device (os error 28)"
    script = tmp_path / "uv"
    script.write_text(
        f"""#!/bin/sh\n[ "$2" = compile ] && {{ echo '{full}'; exit 2; }}\nexec '{find_uv()}' "$@"\n"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("LORA_STUDIO_UV", str(script))
    failure = problem(run())
    assert failure.code == "disk.full"
    assert failure.where.file == str(root.path)


def test_unreachable_index_is_a_network_problem(
    index: Index, root: EngineRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    failure = problem(run())
    assert failure.code == "engine.network"
    assert "wheel folder" in str(failure.remedy)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("HTTP status client error (407 Proxy Authentication Required) for url (…)", "password"),
        ("tunnel error: proxy authorization required", "password"),
        ("dns error", "wheel folder"),
    ],
    ids=["http-407", "proxy-tunnel", "dns"],
)
def test_network_remedy_depends_on_the_error(error: str, word: str) -> None:
    assert word in str(plan.suggest_remedy(error))


@pytest.mark.parametrize("year", [2001, 2090])
def test_index_certificate_date_error_blames_the_clock(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    other = Index(wheels=index.wheels)
    certificate = certificates.make(tmp_path, datetime(year, 1, 1), datetime(year + 1, 1, 1))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(other, certificate):
        monkeypatch.setenv("UV_DEFAULT_INDEX", other.simple)
        failure = problem(run())
    assert failure.code == "engine.clock"
    assert "clock" in str(failure.what)
    assert "127.0.0.1" in str(failure.what)
    assert "date and time" in str(failure.remedy)
    assert not other.starts


def test_index_with_a_valid_certificate_is_used(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Index(wheels=index.wheels)
    certificate = certificates.make(tmp_path, datetime(2001, 1, 1), datetime(2091, 1, 1))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(other, certificate):
        monkeypatch.setenv("UV_DEFAULT_INDEX", other.simple)
        ready(run())


#: Run a setup and remount the engine folder read-only at the named stage, as the system does when a
#: disk fails. The mount disappears with its namespace.
_READ_ONLY = """
import subprocess, sys
from lora_studio.setup import folders
from lora_studio.setup.events import Progress
from lora_studio.setup.operations import EngineSetup, SetupRequest
from lora_studio.setup.tools import StopFlag
stage, aside = sys.argv[1:]
root = folders.get_root()
subprocess.run(["mount", "--bind", root.path, aside], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", aside], check=True)
for event in EngineSetup(SetupRequest(variant="cpu", mode="update"), StopFlag()).carry_out():
    print(event.model_dump_json(), flush=True)
    came = stage != "Downloading" or any(one.stat().st_size for one in root.downloads.glob("torch-*"))
    if stage and isinstance(event, Progress) and str(event.stage) == stage and came:
        subprocess.run(["mount", "--move", aside, root.path], check=True)  # in one step
        stage = ""
        print("read-only", flush=True)
"""


@pytest.fixture
def apart(tmp_path: Path) -> list[str]:
    """Return a command prefix that runs a program in a mount namespace of its own."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mounts = f"cd {tmp_path} && mount --bind mounted mounted && mount -o remount,bind,ro mounted"
    reason = "this is not Linux"
    for rights in ([], ["--user", "--map-root-user"]):
        command = ["unshare", "--mount", *rights]
        if sys.platform == "linux" and shutil.which("unshare"):
            done = subprocess.run([*command, "sh", "-c", mounts], capture_output=True, text=True)
            if done.returncode == 0:
                return command
            reason = done.stderr.strip()
    pytest.skip(f"nothing can be mounted here: {reason}")


@pytest.mark.parametrize("stage", ["Downloading", "Checking"])
def test_read_only_disk_is_reported_and_setup_resumes(
    index: Index, root: EngineRoot, tmp_path: Path, apart: list[str], stage: str
) -> None:
    before = ready(run()).name
    index.add(torch_wheel("2.6", padding=300_000))
    index.starts.clear()
    torch = "torch-2.6-py3-none-any.whl"
    if stage == "Downloading":
        index.held[torch] = 1 << 16
    process = subprocess.Popen(
        [*apart, sys.executable, "-c", _READ_ONLY, stage, tmp_path / "mounted"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "read-only\n":
            index.freed.set()
    _, errors = process.communicate()
    assert process.returncode == 0, "".join(lines) + errors
    assert "read-only\n" in lines
    failure = problem([parse(lines[-1].encode())])
    assert failure.code == "disk.read_only", failure
    assert "kept" in str(failure.remedy)
    current = engines.get_current()
    assert current is not None
    assert current.name == before
    assert current.python.exists()
    assert ready(run(SetupRequest(mode="update"))).name != before
    assert index.starts.count((torch, 0)) == 1
    assert not list(engines.iter_unfinished_folders(root))


def test_all_downloads_use_the_proxy_of_the_environment(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    program = Path(lora_studio.__file__).parents[1] / "packaging" / "cutting_proxy.py"
    proxy = subprocess.Popen([sys.executable, str(program), str(port), str(tmp_path)])
    counted = tmp_path / "bytes"
    try:
        until = time.monotonic() + 300
        while not counted.exists():  # the proxy is listening
            assert proxy.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        events = run()
        ready(events)
        planned = next(event for event in events if isinstance(event, SetupPlanned))
        until = time.monotonic() + 300  # the proxy writes its count ten times a second
        while int(counted.read_text() or 0) <= planned.download:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        proxy.kill()
        proxy.wait()


def test_setup_works_with_an_unwritable_home(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "no folder"
    home.write_text("")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "LORA_STUDIO_LOGS"):
        monkeypatch.setenv(name, str(home / "below"))
    ready(run())


def test_offline_mode_installs_only_from_a_wheel_folder(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wheels"
    list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    assert not root.cache.exists()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    index.starts.clear()
    assert problem(run()).code == "offline"
    ready(run(SetupRequest(wheelhouse=folder)))
    assert not index.starts


def test_canceled_setup_keeps_the_old_engine(index: Index, root: EngineRoot) -> None:
    first = ready(run())
    stop = StopFlag()
    last: Event | None = None
    for event in EngineSetup(SetupRequest(variant="cpu"), stop).carry_out():
        last = event
        if isinstance(event, Progress) and str(event.stage) == "Installing":
            stop.ask()
    assert last is not None
    assert last.kind == "cancelled"
    assert [one.name for one in engines.list_engines()] == [first.name]
    assert not list(engines.iter_unfinished_folders(root))


def test_wheel_folder_installs_without_a_network(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Räder für später"
    built = list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    assert built[-1].kind == "done"
    assert len(list(folder.glob("*.whl"))) == 4
    monkeypatch.delenv(
        plan.WHEEL_VARIABLE
    )  # a checkout would build its own, which needs the network
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    index.starts.clear()
    events = run(SetupRequest(wheelhouse=folder))
    ready(events)
    assert not index.starts
    planned = next(event for event in events if isinstance(event, SetupPlanned))
    assert planned.download == 0


def test_macos_wheel_folder_targets_the_oldest_supported_macos(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bring_own(tmp_path, monkeypatch, own_wheel(more=("gamma",)))
    _, gamma = make_wheel("gamma")
    for system in ("macosx_14_0_arm64", "manylinux_2_28_x86_64", "win_amd64"):
        index.add((f"gamma-1.0-py3-none-{system}.whl", gamma))
    folder = tmp_path / "wheels"
    request = SetupRequest(variant="cpu", python="3.12")
    events = list(operations.make_wheelhouse(folder, request, StopFlag(), platform="macos"))
    assert events[-1].kind == "done", events[-1]
    assert [one.name for one in folder.glob("gamma*")] == [
        "gamma-1.0-py3-none-macosx_14_0_arm64.whl"
    ]


def test_incomplete_wheel_folder_names_the_missing_package(
    index: Index, root: EngineRoot, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    (folder / "beta-1.0-py3-none-any.whl").unlink()
    failure = problem(run(SetupRequest(wheelhouse=folder)))
    assert failure.code == "engine.wheelhouse"
    assert "beta" in str(failure.what)


def test_empty_wheel_folder_does_not_use_the_network(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wheels"
    list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert problem(run(SetupRequest(wheelhouse=folder))).code == "engine.wheelhouse"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_planning_from_a_wheel_folder_unpacks_no_wheels(
    index: Index, root: EngineRoot, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    work = EngineSetup(SetupRequest(variant="cpu", wheelhouse=folder), StopFlag())
    assert list(work.prepare())[-1].kind == "done"
    assert work.plan is not None
    assert {wheel.name for wheel in work.plan.wheels} == {"torch", "alpha", "beta"}
    assert all(wheel.file.sha256 for wheel in work.plan.wheels)
    assert not list(root.cache.rglob("torch/__init__.py"))


def test_damaged_wheel_is_reported_before_installing(
    index: Index, root: EngineRoot, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    list(operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag()))
    torch = folder / "torch-2.5-py3-none-any.whl"
    content = bytearray(torch.read_bytes())
    content[len(content) // 2] ^= 1
    torch.write_bytes(content)
    failure = problem(run(SetupRequest(wheelhouse=folder)))
    assert (failure.code, failure.where.file) == ("engine.wheelhouse", str(torch))
    assert "damaged" in str(failure.what)
    assert not list(root.engines.glob("*"))
    index.starts.clear()
    list(
        operations.make_wheelhouse(folder, SetupRequest(variant="cpu"), StopFlag())
    )  # as the remedy suggests
    assert [name for name, _ in index.starts] == [torch.name]
    ready(run(SetupRequest(wheelhouse=folder)))


def test_file_in_place_of_a_folder_is_reported(index: Index, root: EngineRoot) -> None:
    root.path.mkdir(parents=True)
    (root.path / "setup.lock").touch()  # left by an earlier setup
    root.downloads.write_text("not a folder")
    failure = problem(run())
    assert (failure.code, failure.where.file) == ("engine.install", str(root.downloads))
    root.downloads.unlink()
    ready(run())


def test_leftovers_of_a_killed_setup_are_removed_with_progress(
    index: Index, root: EngineRoot
) -> None:
    left = root.engines / "cpu-20200101-000000"
    (left / "venv").mkdir(parents=True)
    (left / "venv" / "data").write_bytes(bytes(7000))
    (root.path / "setup.lock").touch()
    (root.engines / "desktop.ini").write_text("a file manager's")
    events = run()
    ready(events)
    removing = [one for one in events if isinstance(one, Progress) and str(one.stage) == "Removing"]
    assert removing[0].total == 7000
    assert not left.exists()
    assert (root.engines / "desktop.ini").exists()


def test_moved_engine_works_in_its_new_folder(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    old = folders.get_root()
    engine = ready(run())
    target = tmp_path / "andere Platte"
    target.mkdir()
    (target / "holiday.jpg").write_text("not ours")
    events = list(operations.move_engines(target, StopFlag()))
    assert events[-1].kind == "done", events[-1]
    assert folders.get_root().path == target / "LoRA Studio engine"
    python = engines.get_python()
    assert python is not None
    assert target in python.parents
    subprocess.run([python, "-c", "import torch"], check=True)
    assert not old.path.exists()
    assert not Path(engine.python).exists()
    folders.get_root().delete()
    assert [item.name for item in target.iterdir()] == ["holiday.jpg"]


def test_new_folder_is_used_once_its_engine_works(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    first = ready(run())
    elsewhere = SetupRequest(variant="cpu", to=tmp_path / "other disk")
    planned = list(EngineSetup(elsewhere, StopFlag()).prepare())
    assert next(one for one in planned if isinstance(one, SetupPlanned)).folder == str(elsewhere.to)
    assert folders.get_root().path == folders.get_default_root()
    index.refused = {"torch-2.5-py3-none-any.whl": 404}
    problem(run(elsewhere))
    assert str(engines.get_python()) == first.python
    index.refused = {}
    events = run(elsewhere)
    second = ready(events)
    assert str(engines.get_python()) == second.python
    assert folders.get_root().path == elsewhere.to
    assert Path(first.python).exists()
    warned = next(event.problem for event in events if isinstance(event, Warned))
    assert warned.code == "engine.left_behind"
    assert warned.where.file == str(folders.get_default_root())


def test_first_setup_in_another_folder_continues_there(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    index.refused = {"torch-2.5-py3-none-any.whl": 404}
    problem(run(SetupRequest(variant="cpu", to=tmp_path / "other disk")))
    index.refused = {}
    assert Path(ready(run()).folder).is_relative_to(tmp_path / "other disk")


def test_folder_choice_is_refused_if_the_variable_is_set(index: Index, root: EngineRoot) -> None:
    refused = problem(run(SetupRequest(variant="cpu", to=root.path.parent / "other")))
    assert refused.code == "engine.folder"
    assert folders.VARIABLE in str(refused.what)


def test_existing_python_is_used_unchanged(index: Index, root: EngineRoot, tmp_path: Path) -> None:
    before = ready(run())
    existing = Path(before.python)
    ready(list(operations.adopt_python(existing, StopFlag())))
    ready(
        list(operations.adopt_python(existing, StopFlag()))
    )  # like a repair, possibly in the same second
    assert [one.name for one in engines.list_engines()][1:] == [before.name]
    earlier = engines.get_previous()
    assert earlier is not None
    assert earlier.name == before.name
    engine = engines.get_usable_engine()
    assert engine is not None
    assert engine.python == existing
    assert Path(engine.environment["PYTHONPATH"]).is_dir()
    at_work = subprocess.Popen(
        [str(engine.python), "-c", "input()"],
        stdin=subprocess.PIPE, env=os.environ | engine.environment,
    )  # fmt: skip
    try:
        while not engines.is_in_use(engine):
            assert at_work.poll() is None
        again = ready(list(operations.adopt_python(existing, StopFlag())))
    finally:
        at_work.communicate(b"\n")
    current = engines.get_usable_engine()
    assert current is not None
    assert current.name == again.name


def test_existing_python_without_pytorch_is_refused(
    root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    whole = tmp_path / f"lora_studio-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(whole, "w") as archive:
        package = Path(lora_studio.__file__).parent
        for file in package.rglob("*.py"):
            archive.write(file, Path("lora_studio") / file.relative_to(package))
    monkeypatch.setenv(plan.WHEEL_VARIABLE, str(whole))
    events = list(operations.adopt_python(engines.get_venv_python(bare), StopFlag()))
    assert problem(events).code == "engine.python_lacks"
    assert " -m pip install torch transformers " in str(problem(events).remedy)
    assert engines.get_current() is None


def test_killed_setup_resumes_its_download(index: Index, root: EngineRoot) -> None:
    torch = "torch-2.5-py3-none-any.whl"
    index.held[torch] = 2 << 16
    command = [sys.executable, "-m", "lora_studio", "engine", "install", "--for", "cpu", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    part = root.downloads / f"{torch}.part"
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    came = part.stat().st_size
    index.freed.set()
    done = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    events = [parse(line) for line in done.stdout.splitlines()]
    ready(events)
    assert came
    # Files are downloaded in parallel: another one may have been interrupted, too, and resume after this one.
    assert (torch, came) in index.starts


@pytest.mark.skipif(os.name == "nt", reason="a Python of an environment is a link only elsewhere")
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process alone")
def test_ctrl_c_keeps_completed_downloads(index: Index, root: EngineRoot) -> None:
    torch = "torch-2.5-py3-none-any.whl"
    index.held[torch] = 2 << 16
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_studio", "engine", "install", "--for", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    part = root.downloads / f"{torch}.part"
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0].decode()
    assert process.returncode == 130, output
    assert "Completed downloads are kept" in output
    assert part.exists()


def test_leftover_processes_end_before_their_engine_is_deleted(
    index: Index, root: EngineRoot
) -> None:
    left = root.engines / "cpu-20200101-000000"
    python = engines.get_venv_python(left / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (root.path / "setup.lock").touch()
    code = (
        "import pathlib, sys, itertools\n"
        "for n in itertools.count():\n"
        "    folder = pathlib.Path(sys.argv[1], str(n % 50))\n"
        "    folder.mkdir(parents=True, exist_ok=True)\n"
        "    (folder / str(n)).touch()\n"
        "    if not n: print(flush=True)\n"
    )
    writer = subprocess.Popen([python, "-c", code, left / "site"], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        ready(run())
        assert writer.poll() is not None
        assert not left.exists()
    finally:
        writer.kill()
        writer.communicate()


def test_setup_killed_during_its_check_leaves_no_partial_cache(
    index: Index, root: EngineRoot
) -> None:
    work = EngineSetup(SetupRequest(variant="cpu"), StopFlag()).carry_out()
    for event in work:
        if isinstance(event, Progress) and str(event.stage) == "Checking" and event.done:
            break
    assert not root.cache.exists()
    work.close()  # type: ignore[attr-defined]  # it is a generator
    (root.trash / "archive").mkdir(parents=True)
    ready(run())
    assert not root.trash.exists()


@pytest.mark.skipif(os.name == "nt", reason="the uv whose cache is damaged is a shell script")
def test_failed_installation_is_retried_with_an_empty_cache(
    index: Index, root: EngineRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "uv"
    script.write_text(
        f"""#!/bin/sh
if [ "$2" = install ] && [ ! -e '{tmp_path}/failed' ]; then
    touch '{tmp_path}/failed' "$UV_CACHE_DIR/stale"
    echo 'error: failed to read directory: No such file or directory (os error 2)'
    exit 2
fi
[ "$2" = install ] && [ -e "$UV_CACHE_DIR/stale" ] && exit 3
exec '{find_uv()}' "$@"
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("LORA_STUDIO_UV", str(script))
    ready(run())
    assert (tmp_path / "failed").exists()
