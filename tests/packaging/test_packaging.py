"""The packages of each system, as far as this machine can check them."""

from __future__ import annotations

import importlib.util
import os
import plistlib
import re
import runpy
import struct
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from lora_studio.cli.app import app
from lora_studio.core.project.project import SUFFIX
from lora_studio.setup.plan import OLDEST_MACOS

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"


def load(name: str) -> ModuleType:
    """Return a script of packaging/ as a module."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings.md", "errors.md"])
def test_reference_pages_are_up_to_date(page: str) -> None:
    generated = load("reference").PAGES[page]()
    written = (PACKAGING / "docs" / page).read_text("utf-8")
    assert written == generated, "Run: python packaging/reference.py"


def test_troubleshooting_mentions_only_existing_codes() -> None:
    page = (PACKAGING / "docs" / "errors.md").read_text("utf-8")
    known = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    text = (PACKAGING / "docs" / "troubleshooting.md").read_text("utf-8")
    spoken_of = set(re.findall(r"^## .*`([a-z]+\.[a-z_0-9]+)`", text, re.MULTILINE))
    assert len(spoken_of) > 10
    assert spoken_of <= known


def test_documentation_links_point_to_existing_files() -> None:
    checkout = PACKAGING.parent
    pages = [checkout / "README.md", PACKAGING / "README.md", *(PACKAGING / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_in_the_documentation_exist() -> None:
    known = dict(load("man_page").commands_under(typer.main.get_command(app), "lora-studio"))
    pages = [PACKAGING.parent / "README.md", *(PACKAGING / "docs").glob("*.md")]
    texts = [
        page.read_text("utf-8") for page in pages if page.name not in ("settings.md", "errors.md")
    ]
    written = re.findall(r"lora-studio((?: +(?:[a-z]+|--[a-z-]+|[A-Z]+)\b)+)", "\n".join(texts))
    tried = 0
    for line in written:
        words = line.split()
        paths = [" ".join(["lora-studio", *words[:length]]) for length in (2, 1)]
        command = next((known[path] for path in paths if path in known), None)
        options = {word for word in words if word.startswith("--")} - {"--help", "--version"}
        if command is None and not options:
            continue  # prose, and groups of commands
        assert command is not None, line
        assert options <= {name for item in command.params for name in item.opts}, line
        tried += 1
    assert tried > 8


def test_readme_intro_has_exactly_two_commands() -> None:
    first = (PACKAGING.parent / "README.md").read_text("utf-8").split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", first, re.DOTALL)
    commands = [line.split("#")[0].strip() for line in "".join(blocks).splitlines()]
    assert commands == ["bash packaging/bootstrap.sh demo", "bash packaging/bootstrap.sh test"]


def test_documentation_images_are_small() -> None:
    pictures = list((PACKAGING / "docs").rglob("*.png"))
    assert pictures
    assert sum(picture.stat().st_size for picture in pictures) < 400_000


def test_manual_page_describes_every_command_and_option() -> None:
    man_page = load("man_page")
    text = man_page.page().replace("\\-", "-")
    for path, command in man_page.commands_under(typer.main.get_command(app), "lora-studio"):
        assert f'.SS "{path} ' in text
        for item in command.params:
            assert item.hidden or item.opts[0] in text
    assert not re.search(r"^['.](?!TH|SH|SS|TP|B |I |BR|RI|br)", text, re.MULTILINE)


def test_manual_page_lists_every_documented_variable() -> None:
    pages = "".join(page.read_text("utf-8") for page in (PACKAGING / "docs").glob("*.md"))
    named = set(re.findall(r"LORA_STUDIO_[A-Z_]+", pages))
    assert len(named) > 4
    assert named <= {
        name for entry, _ in load("man_page").ENVIRONMENT for name in entry.split(", ")
    }


def test_freezing_names_missing_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGING))
    freeze = load("freeze")
    every = freeze.list_missing_modules([])
    assert {"lora_studio", "lora_studio.cli.app", "lora_studio.gui.pages.export.page"} <= set(every)
    assert not [name for name in every if name.startswith("lora_studio.engine")]
    hidden = set(every) - {"lora_studio.cli.app"}
    assert freeze.list_missing_modules(hidden) == ["lora_studio.cli.app"]


def test_frozen_program_restores_user_variables_for_children(tmp_path: Path) -> None:
    shown = "import os, json; print(sorted(f'{k}={v}' for k, v in os.environ.items()))"
    hook = PACKAGING / "frozen_environment.py"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LD_LIBRARY_PATH": "/bundle/_internal",
        "LD_LIBRARY_PATH_ORIG": "/mine", "DYLD_LIBRARY_PATH": "/bundle", "PYTHONPATH": "/elsewhere",
        "QT_PLUGIN_PATH": "/bundle/plugins", "_PYI_APPLICATION_HOME_DIR": "/bundle",
        "SSL_CERT_FILE": "/chosen",
    }  # fmt: skip
    program = f"import runpy, subprocess, sys; runpy.run_path({str(hook)!r}); "
    program += f"subprocess.run([sys.executable, '-c', {shown!r}], check=True)"
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "LD_LIBRARY_PATH=/mine" in output
    assert "SSL_CERT_FILE=/chosen" in output
    assert "bundle" not in output
    assert "PYTHONPATH" not in output


def test_frozen_program_uses_the_system_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "")  # so that it is restored whether it was set or not
        monkeypatch.delenv(name)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/etc/pki/tls/certs/ca-bundle.crt")
    runpy.run_path(str(PACKAGING / "frozen_environment.py"))
    assert os.environ["SSL_CERT_FILE"] == "/etc/pki/tls/certs/ca-bundle.crt"


@pytest.mark.parametrize("name", ["lora-studio", "lora-studio-project"])
def test_icons_contain_a_png_of_each_size(name: str, tmp_path: Path, qapp: object) -> None:
    icons = load("icons")
    drawing = PACKAGING / f"{name}.svg"
    icons.write(drawing, tmp_path)
    for size in icons.HICOLOR:
        data = (tmp_path / f"{size}x{size}" / f"{name}.png").read_bytes()
        assert struct.unpack(">II", data[16:24]) == (size, size)
    icons.write(drawing, tmp_path / "icon.ico")
    ico = (tmp_path / "icon.ico").read_bytes()
    for index in range(struct.unpack("<H", ico[4:6])[0]):
        length, offset = struct.unpack("<II", ico[6 + 16 * index + 8 : 6 + 16 * index + 16])
        assert ico[offset : offset + 8] == b"\x89PNG\r\n\x1a\n"
        assert ico[offset : offset + length].endswith(b"IEND\xaeB`\x82")
    icons.write(drawing, tmp_path / "icon.icns")
    icns = (tmp_path / "icon.icns").read_bytes()
    assert struct.unpack(">I", icns[4:8])[0] == len(icns)


def test_every_system_opens_the_same_project_files() -> None:
    namespace = "{http://www.freedesktop.org/standards/shared-mime-info}"
    mime = ElementTree.parse(PACKAGING / "linux" / "lora-studio-mime.xml").getroot()[0]
    glob = mime.find(f"{namespace}glob")
    assert glob is not None
    assert glob.get("pattern") == f"*{SUFFIX}"
    desktop = (PACKAGING / "linux" / "lora-studio.desktop").read_text("utf-8")
    assert f"MimeType={mime.get('type')};" in desktop
    assert f'Software\\Classes\\{SUFFIX}"' in (PACKAGING / "windows" / "installer.nsi").read_text(
        "utf-8"
    )
    assert f'["{SUFFIX[1:]}"]' in (PACKAGING / "lora-studio.spec").read_text("utf-8")


def macos_app(monkeypatch: pytest.MonkeyPatch, icons: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments of PyInstaller's BUNDLE and the data files of the app."""
    bundle: dict[str, Any] = {}
    data: list[tuple[str, str]] = []

    def analysis(*_: object, **options: Any) -> SimpleNamespace:
        data.extend(options["datas"])
        return SimpleNamespace(binaries=[], pure=[], datas=[], scripts=[])

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["--wheel", "w", "--licences", "l", "--icons", str(icons)]
    monkeypatch.setattr(sys, "argv", ["lora-studio.spec", *arguments])
    hooks = SimpleNamespace(
        copy_metadata=lambda *_, **__: [], collect_submodules=lambda *_, **__: []
    )
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    monkeypatch.setitem(sys.modules, "uv", SimpleNamespace(find_uv_bin=lambda: "uv"))
    monkeypatch.setitem(sys.modules, "identity", load("identity"))
    names = dict.fromkeys(("PYZ", "EXE", "COLLECT"), lambda *_, **__: None)
    names |= {"Analysis": analysis, "BUNDLE": lambda _, **options: bundle.update(options)}
    spec = PACKAGING / "lora-studio.spec"
    exec(compile(spec.read_text("utf-8"), spec, "exec"), {"SPECPATH": str(PACKAGING), **names})
    return bundle, [source for source, _ in data]


def test_macos_app_declares_file_types_and_minimum_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle, data = macos_app(monkeypatch, tmp_path)
    says = plistlib.loads(plistlib.dumps(bundle["info_plist"]))
    (exported,), (opened,) = says["UTExportedTypeDeclarations"], says["CFBundleDocumentTypes"]
    assert exported["UTTypeTagSpecification"] == {"public.filename-extension": [SUFFIX[1:]]}
    assert opened["LSItemContentTypes"] == [exported["UTTypeIdentifier"]]
    assert str(tmp_path / opened["CFBundleTypeIconFile"]) in data
    assert says["LSMinimumSystemVersion"] == OLDEST_MACOS
    assert says["CFBundleVersion"] == bundle["version"]


def test_macos_entitlements_are_boolean_switches() -> None:
    switches = plistlib.loads((PACKAGING / "macos" / "entitlements.plist").read_bytes())
    assert switches
    assert all(value is True for value in switches.values())


def test_disk_image_shows_the_app_and_its_target_folder() -> None:
    settings: dict[str, Any] = {"defines": {"app": "/out/LoRA Studio.app"}}
    exec((PACKAGING / "macos" / "dmg_settings.py").read_text("utf-8"), settings)
    shown = {Path(file).name for file in settings["files"]} | set(settings["symlinks"])
    assert set(settings["icon_locations"]) == shown
    # dmgbuild takes a color with capital letters for a syntax error.
    assert re.fullmatch(r"#[0-9a-f]{6}", settings["background"])


def test_windows_installer_paths_use_backslashes() -> None:
    text = (PACKAGING / "windows" / "installer.nsi").read_text("utf-8")
    paths = re.findall(r"\$\{(?:BUNDLE|ICONS|NSISDIR)\}(.)", text)
    assert len(paths) >= 4
    assert set(paths) == {"\\"}


def test_licenses_of_all_runtime_dependencies_are_collected() -> None:
    sys.path.insert(0, str(PACKAGING))
    try:
        freeze = load("freeze")
    finally:
        sys.path.remove(str(PACKAGING))
    required = [line for line in metadata.requires("lora-studio") or () if "extra ==" not in line]
    needed = {re.match(r"[\w.-]+", line)[0] for line in required if ";" not in line}
    assert needed
    carried = {item.metadata["Name"].lower().replace("_", "-") for item in freeze.carried()}
    assert {name.lower() for name in needed} <= carried
    assert "torch" not in carried
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in freeze.licence_texts().upper()


def test_publisher_identity_is_defined_in_one_file() -> None:
    identity = load("identity")
    values = {getattr(identity, name) for name in identity.NAMES}
    for file in PACKAGING.rglob("*"):
        if (
            not file.is_file()
            or file.name == "identity.py"
            or file.suffix in (".png", ".webp", ".pyc")
        ):
            continue
        text = file.read_text("utf-8")
        assert not [value for value in values if value in text], file


def test_package_metadata_has_no_unfilled_placeholders() -> None:
    identity = subprocess.run(
        [sys.executable, PACKAGING / "identity.py"], capture_output=True, text=True, check=True
    ).stdout
    script = (PACKAGING / "linux" / "build.sh").read_text("utf-8")
    fill_in = re.search(r"^fill_in\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
    assert fill_in is not None
    filled = {}
    for name in ("metainfo.xml", "copyright"):
        program = (
            f"{identity}\nVERSION=1.2.3 SOURCE_DATE_EPOCH=0\n{fill_in.group()}\nfill_in {name}"
        )
        filled[name] = subprocess.run(
            ["bash", "-euc", program], cwd=PACKAGING / "linux", capture_output=True, check=True
        ).stdout.decode()
        assert not re.findall(r"@[A-Z_]+@", filled[name])
    metainfo = ElementTree.fromstring(filled["metainfo.xml"])
    assert metainfo.findtext("url[@type='homepage']") == load("identity").HOME_PAGE
    assert metainfo.find("releases/release").attrib == {"version": "1.2.3", "date": "1970-01-01"}


_LOCKED = (
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4242 (unattended-upgr)\n"
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
)


@pytest.mark.skipif(sys.platform != "linux", reason="apt is a program of Linux")
@pytest.mark.parametrize(
    ("failures", "message", "status", "runs"),
    [
        pytest.param(2, _LOCKED, 0, 3, id="lock-is-released"),
        pytest.param(99, _LOCKED, 1, 4, id="lock-is-kept"),
        pytest.param(99, "E: Unable to locate package x", 1, 1, id="another-error"),
        pytest.param(0, "", 0, 1, id="free"),
    ],
)
def test_setup_waits_for_the_locks_of_apt_and_says_so(
    tmp_path: Path, failures: int, message: str, status: int, runs: int
) -> None:
    script = (PACKAGING / "bootstrap.sh").read_text("utf-8")
    run_apt = re.search(r"^run_apt\(\) \{.*?^\}", script, re.DOTALL | re.MULTILINE)
    assert run_apt is not None
    log = tmp_path / "calls"
    apt = tmp_path / "apt-get"
    apt.write_text(
        f'#!/bin/sh\necho "$*" >>{log}\n[ "$(wc -l <{log})" -gt {failures} ] && exit 0\n'
        f"cat >&2 <<'END'\n{message}\nEND\nexit 100\n"
    )
    apt.chmod(0o755)
    program = f"as_root=(); apt_patience=3; apt_interval=1\nsleep() {{ :; }}\n{run_apt.group()}\nrun_apt -y install x"
    done = subprocess.run(
        ["bash", "-uc", program],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert log.read_text().splitlines() == ["-qq -y install x"] * runs
    waits = "Another program is installing packages: unattended-upgr, process 4242."
    assert done.stdout.count(waits) == (runs > 1), "it says so once"
    assert (message.splitlines() or [""])[0] in done.stderr or status == 0
