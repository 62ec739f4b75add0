"""The environment of child processes, and the pip settings that uv gets."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from lora_studio.client import network_report
from lora_studio.core.problems import ProblemError
from lora_studio.setup import plan, tools
from lora_studio.setup.detect import Variant
from lora_studio.setup.folders import VARIABLE, EngineRoot
from lora_studio.setup.plan import STANDARD, AppWheel, Resolver
from lora_studio.setup.tools import (
    SetupCancelledError,
    SetupLog,
    StopFlag,
    UvContacts,
    build_child_environment,
    build_uv_environment,
    find_uv,
    read_pip_settings,
    run,
)
from tests.helpers.servers.wheel_index import Index, make_wheel, serve


@pytest.fixture
def pip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only pip configuration file."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")) or name in ("SSL_CERT_FILE", "ALL_PROXY"):
            monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setattr(tools, "list_pip_files", lambda _: [file])
    return file


def test_frozen_app_restores_user_variables_for_children() -> None:
    bundle = {
        "LD_LIBRARY_PATH": "/opt/app/_internal",
        "LD_LIBRARY_PATH_ORIG": "/usr/local/cuda/lib64",
        "DYLD_LIBRARY_PATH": "/opt/app/_internal",
        "PYTHONHOME": "/opt/app",
        "PYTHONPATH": "/opt/app/_internal",
        "QT_PLUGIN_PATH": "/opt/app/plugins",
        "_PYI_ARCHIVE_FILE": "/opt/app/lora-studio",
        "HOME": "/home/zoë",
    }
    assert build_child_environment(base=bundle, bundled=True) == {
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "HOME": "/home/zoë",
    }


def test_source_checkout_keeps_variables_unless_cleared() -> None:
    base = {"PYTHONPATH": "/work", "LD_LIBRARY_PATH": "/lib"}
    assert build_child_environment(base=base, bundled=False) == base
    child = build_child_environment({"PYTHONPATH": "", "A": "1"}, base, bundled=False)
    assert child == {"LD_LIBRARY_PATH": "/lib", "A": "1"}


def test_uv_gets_the_settings_of_pip(pip_file: Path) -> None:
    pip_file.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /etc/ca.pem\n"
        "proxy = http://proxy:3128\n[install]\nfind-links =\n    /opt/my wheels\n    /srv/more\n"
        "constraint = /etc/c.txt\n"
    )
    uv_settings = build_uv_environment()
    assert uv_settings["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert uv_settings["UV_FIND_LINKS"] == "/opt/my wheels,/srv/more"
    assert uv_settings["UV_CONSTRAINT"] == "/etc/c.txt"
    assert uv_settings["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert uv_settings["ALL_PROXY"] == "http://proxy:3128"


def test_extra_index_of_pip_adds_versions(pip_file: Path, tmp_path: Path) -> None:
    for index, version in (("default", "2.0"), ("extra", "1.0")):
        folder = tmp_path / index / "parts"
        folder.mkdir(parents=True)
        name, content = make_wheel("parts", version)
        (folder / name).write_bytes(content)
        (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
    pip_file.write_text(
        f"[global]\nindex-url = {(tmp_path / 'default').as_uri()}\n"
        f"extra-index-url = {(tmp_path / 'extra').as_uri()}\n"
    )
    done = subprocess.run(
        [find_uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config",
         "--python", sys.executable, "-"],
        input="parts>=1.5", text=True, capture_output=True, check=False,
        env=build_uv_environment({"UV_CACHE_DIR": str(tmp_path / "cache")}),
    )  # fmt: skip
    assert done.stdout.split() == ["parts==2.0"], done.stderr


def test_uv_variables_take_precedence_over_pip_settings(
    pip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_file.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    monkeypatch.setenv("UV_INDEX_URL", "https://own.example/simple")
    uv_settings = build_uv_environment()
    assert "UV_DEFAULT_INDEX" not in uv_settings
    assert uv_settings["UV_INDEX_URL"] == "https://own.example/simple"


def test_unrelated_uv_variables_are_not_passed_on(
    pip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LINK_MODE", "PYTHON", "MANAGED_PYTHON", "REQUIRE_HASHES", "PROJECT", "VENV_SEED"):
        monkeypatch.setenv(f"UV_{name}", "symlink")
    passed_on = {
        "UV_INDEX": "my=https://own.example/simple",
        "UV_INDEX_MY_USERNAME": "zoë",
        "UV_HTTP_TIMEOUT": "90",
        "UV_EXCLUDE_NEWER": "2026-01-01",
    }
    for name, value in passed_on.items():
        monkeypatch.setenv(name, value)
    uv_settings = build_uv_environment()
    of_the_set_up = {"UV_NO_PROGRESS", "UV_PYTHON_DOWNLOADS", "UV_CACHE_DIR"}
    assert {name for name in uv_settings if name.startswith("UV_")} == set(
        passed_on
    ) | of_the_set_up


def test_pip_variables_take_precedence_over_pip_files(
    pip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_file.write_text("[global]\nindex-url = https://a.example\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://b.example")
    monkeypatch.setenv("PIP_FIND_LINKS", "/x /y")
    settings = read_pip_settings(os.environ)
    assert settings["index-url"] == "https://b.example"
    assert build_uv_environment()["UV_FIND_LINKS"] == "/x,/y"


def test_unreadable_pip_file_is_ignored(pip_file: Path) -> None:
    pip_file.write_bytes(b"\xff\xfe not a configuration [")
    assert read_pip_settings({"PIP_CONFIG_FILE": str(pip_file)}) == {}


def test_devnull_as_pip_file_disables_all_files() -> None:
    assert tools.list_pip_files({"HOME": "/h", "PIP_CONFIG_FILE": os.devnull}) == []
    files = tools.list_pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/mine.conf"})
    assert files[-1] == Path("/mine.conf")
    assert Path("/h/.config/pip/pip.conf") in files


@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux calls page faults")
def test_unpacking_many_files_causes_few_page_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource  # exists only on Unix

    monkeypatch.setenv(VARIABLE, str(tmp_path / "engines"))
    monkeypatch.delenv("_RJEM_MALLOC_CONF", raising=False)
    files = 3000
    name, content = make_wheel("alpha", files={f"alpha/m{n}.py": f"{n}" for n in range(files)})
    (tmp_path / name).write_bytes(content)
    command = [
        find_uv(), "pip", "install", "--quiet", "--no-config", "--python", sys.executable, "--target",
        tmp_path / "site", "--no-index", "--no-deps", tmp_path / name,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    done = subprocess.run(command, env=build_uv_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    faults = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
    assert len(list((tmp_path / "site" / "alpha").glob("*.py"))) == files
    assert faults < 10 * files  # 32 for each otherwise; 3 for each with all that uv itself takes


@pytest.mark.parametrize(
    ("variant", "platform", "tried"),
    [
        pytest.param("cuda", "linux", ["cu130", STANDARD], id="Linux wheels are for CUDA"),
        pytest.param("cuda", "windows", ["cu130"], id="Windows wheels are for the CPU"),
        pytest.param("cpu", "windows", ["cu130", STANDARD], id="CPU"),
        pytest.param("rocm", "linux", ["cu130"], id="no standard wheels for AMD"),
    ],
)
def test_standard_wheels_are_tried_where_they_support_the_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: Variant,
    platform: str,
    tried: list[str],
) -> None:
    sources: list[str] = []

    def fail(_: Resolver, torch: str, *__: Any) -> tuple[str, None]:
        sources.append(torch)
        return "error: dns error", None

    monkeypatch.setattr(Resolver, "_compile", fail)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path))
    resolver = Resolver(root, cast(Any, None), StopFlag(), log, None, target=(platform, "3.12"))
    with pytest.raises(ProblemError, match="can't be reached"):
        list(resolver.resolve(variant, "cu130"))
    assert sources == tried


@pytest.mark.parametrize(
    ("build", "tried"),
    [
        pytest.param("cu126", ["", "<2.8"], id="CUDA 12.6: 2.7"),
        pytest.param("cu128", ["", "<2.11"], id="CUDA 12.8: 2.8 to 2.10"),
        pytest.param("cu130", ["", ""], id="CUDA 13: newest"),
        pytest.param("cu118", [""], id="CUDA 11.8: none"),
    ],
)
def test_standard_torch_is_for_the_same_cuda_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str, tried: list[str]
) -> None:
    limits: list[str] = []

    def fail_to_connect(_: object, *, cwd: Path, **__: Any) -> tuple[int, str]:
        project = tomllib.loads((cwd / "pyproject.toml").read_text("utf-8"))["project"]
        limits.append(project["dependencies"][1].removeprefix("torch"))
        return 2, "error: dns error"

    monkeypatch.setattr(plan, "run", fail_to_connect)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path))
    wheel = AppWheel(tmp_path / "lora_studio.whl", "")
    resolver = Resolver(root, wheel, StopFlag(), log, None, target=("linux", "3.12"))
    with pytest.raises(ProblemError, match="can't be reached"):
        list(resolver.resolve("cuda", build))
    assert limits == tried


def test_certificates_of_the_system_are_trusted_behind_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, *, environment: dict[str, str], cwd: Path, **__: Any) -> tuple[int, str]:
        if environment.get("UV_SYSTEM_CERTS") != "1":
            return 2, "error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer"
        (cwd / "pylock.toml").write_text(
            '[[packages]]\nname = "torch"\nversion = "2.14.0"\n'
            'wheels = [{ url = "https://a.example/torch.whl", size = 1 }]\n'
        )
        return 0, ""

    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    monkeypatch.setattr(plan, "run", refuse)
    log = cast(SetupLog, SimpleNamespace(file=tmp_path / "log", write=lambda _: None))
    root = cast(EngineRoot, SimpleNamespace(path=tmp_path, downloads=tmp_path))
    wheel = AppWheel(tmp_path / "lora_studio.whl", "")
    resolver = Resolver(root, wheel, StopFlag(), log, None, target=("linux", "3.12"))
    assert list(resolver.resolve("cuda", "cu130")) == [], "no other source is needed"


def script(text: str) -> list[object]:
    return [sys.executable, "-c", text]


def failing(text: str, tmp_path: Path) -> ProblemError:
    log = SetupLog(tmp_path / "setup.log")
    with pytest.raises(ProblemError) as caught:
        tools.run_checked(
            script(f"import sys; print({text!r}); sys.exit(1)"), environment=os.environ,
            stop=StopFlag(), log=log, code="engine.install", what="It failed", remedy="Again.",
        )  # fmt: skip
    log.close()
    return caught.value


def test_resolver_reason_is_joined_from_wrapped_lines() -> None:
    output = """error: No solution found when resolving dependencies
  cause: Because beta was not found in the
         provided package locations and all
         versions of alpha depend on beta, we
         can conclude that all versions of
         alpha cannot be used.
         And because this needs alpha, we can
         conclude that your requirements are
         unsatisfiable."""
    assert tools.get_error_line(output).startswith(
        "Because beta was not found in the provided package"
    )


def test_failed_program_is_a_problem_with_output_and_log(tmp_path: Path) -> None:
    problem = failing("error: no such wheel", tmp_path).problems[0]
    assert problem.code == "engine.install"
    assert str(problem.what) == "It failed: no such wheel"
    assert problem.where.file == str(tmp_path / "setup.log")
    assert "no such wheel" in (tmp_path / "setup.log").read_text()


def test_full_disk_is_recognized_in_program_output(tmp_path: Path) -> None:
    output = "error: failed to copy\n  cause: No space left on device (os error 28)"
    assert failing(output, tmp_path).problems[0].code == "disk.full"


def test_canceled_program_ends_with_its_children(tmp_path: Path) -> None:
    stop, log, note = StopFlag(), SetupLog(tmp_path / "setup.log"), tmp_path / "pid"
    text = (
        "import subprocess, sys, time; from pathlib import Path\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"Path({str(note)!r}).write_text(str(child.pid)); time.sleep(600)"
    )

    def cancel_once_started() -> None:
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        stop.ask()

    threading.Thread(target=cancel_once_started).start()
    with pytest.raises(SetupCancelledError):
        tools.run(script(text), environment=os.environ, stop=stop, log=log)
    log.close()
    child = int(note.read_text())
    until = time.monotonic() + 120
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_passwords_in_addresses_are_never_logged(tmp_path: Path) -> None:
    log = SetupLog(tmp_path / "setup.log")
    log.write("index https://me:s3cret@index.example/simple and http://token@h/x")
    log.close()
    text = (tmp_path / "setup.log").read_text()
    assert "s3cret" not in text
    assert "token@" not in text
    assert "index.example/simple" in text


def test_unwritable_log_is_ignored(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    log = SetupLog(blocked / "setup.log")
    log.write("installing torch")
    log.close()


def test_uv_of_the_user_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my uv"
    own.write_text("")
    monkeypatch.setenv(tools.VARIABLE, str(own))
    assert tools.find_uv() == own


def test_uv_on_path_is_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not know the builds of PyTorch that setup asks for."""
    monkeypatch.delenv(tools.VARIABLE, raising=False)
    other = tmp_path / ("uv.exe" if os.name == "nt" else "uv")
    other.write_text("")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.find_uv() != other
    monkeypatch.setitem(sys.modules, "uv", None)
    assert tools.find_uv() == other


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    contacts: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "lora_studio.setup.tools.note_contact",
        lambda host, port, purpose: contacts.append((host, port)),
    )
    return contacts


def test_each_connection_has_its_host_and_port(noted: list[tuple[str, int]]) -> None:
    log = """\
DEBUG starting new connection 'Some("pypi.org")'
DEBUG starting new connection 'Some("files.pythonhosted.org")'
DEBUG connecting to 151.101.0.223:443
DEBUG connecting to [2a04:4e42::223]:443
DEBUG connected to 151.101.0.223:443
DEBUG starting new connection 'Some("index.example")'
DEBUG proxy(http://user:secret@proxy.example:3128/) intercepts 'Some("index.example")'
DEBUG connecting to 10.0.0.1:3128
Resolved 12 packages in 484ms"""
    contacts = UvContacts()
    passed_on = [line for line in log.splitlines() if not contacts.read_line(line)]
    assert passed_on == ["Resolved 12 packages in 484ms"]
    assert noted == [
        ("pypi.org", 443),
        ("files.pythonhosted.org", 443),
        ("proxy.example", 3128),
    ]


def test_real_uv_logs_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: list[tuple[str, int]]
) -> None:
    index = Index()
    index.add(make_wheel("alpha"))
    with serve(index):
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{index.url}/simple")
        port = int(index.url.rpartition(":")[2])
        (tmp_path / "in.txt").write_text("alpha\n")
        log = SetupLog(tmp_path / "log.txt")
        status, output = run(
            [find_uv(), "pip", "compile", "--no-cache", tmp_path / "in.txt"],
            environment=build_uv_environment(),
            stop=StopFlag(),
            log=log,
        )
        log.close()
    assert status == 0, output
    assert set(noted) == {("127.0.0.1", port)}
    assert "DEBUG" not in output


def test_report_lists_the_user_s_proxies_without_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    assert "proxy.example:3128" in network_report.list_proxies()
    assert "secret" not in str(network_report.list_proxies())
