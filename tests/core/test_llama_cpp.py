"""Which files of a llama.cpp folder the user's consent covers, and the copy of them that runs."""

from __future__ import annotations

import json
import os
import py_compile
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from lora_studio.core import llama_cpp, serving
from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol.chat import ServedAdapter, ServerReady
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent

NEW_CODE = (
    "numpy/__init__.py",
    "gguf-py/gguf/constants.py",
    "helpers.py",
    "build/bin/libggml.so.1",
    "build/bin/llama-quantize",
    "models/templates/Own.jinja",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / llama_cpp.CONVERTER).write_text("print()", "utf-8")
    consent.trust(llama_cpp.find_programs(folder))
    return folder


@pytest.mark.parametrize("name", NEW_CODE)
def test_consent_ends_when_a_program_file_is_added(name: str, checkout: Path) -> None:
    assert llama_cpp.is_allowed(str(checkout))
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("x", "utf-8")
    assert not llama_cpp.is_allowed(str(checkout))


def test_consent_ends_when_a_linked_folder_adds_code(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "__init__.py").write_text("x", "utf-8")
    (checkout / "numpy").symlink_to(tmp_path / "elsewhere")
    assert not llama_cpp.is_allowed(str(checkout))


def test_consent_stays_when_other_files_are_added(checkout: Path) -> None:
    (checkout / "README.md").write_text("x", "utf-8")
    assert llama_cpp.is_allowed(str(checkout))


def test_folder_that_links_to_itself_is_refused(checkout: Path) -> None:
    (checkout / "loop").symlink_to(checkout)
    with pytest.raises(ProblemError, match="more program files"):
        llama_cpp.find_programs(checkout)


# --- the copy ---------------------------------------------------------------------------------


@pytest.fixture
def built(checkout: Path, tmp_path: Path) -> Path:
    """A checkout with a package behind a linked folder, bytecode beside it, and a build of libraries."""
    assets = tmp_path / "assets"
    (assets / "gguf").mkdir(parents=True)
    (checkout / "gguf-py").symlink_to("../assets")
    (assets / "gguf" / "__init__.py").write_text("x = 1", "utf-8")
    py_compile.compile(str(assets / "gguf" / "__init__.py"))
    py_compile.compile(str(assets / "gguf" / "__init__.py"), str(assets / "gguf" / "other.pyc"))
    (checkout / "build" / "bin").mkdir(parents=True)
    (checkout / "build" / "bin" / "llama-quantize").write_text("program", "utf-8")
    (checkout / "build" / "bin" / "libggml.so.0.1").write_text("library", "utf-8")
    (checkout / "build" / "bin" / "libggml.so").symlink_to("libggml.so.0.1")
    consent.trust(llama_cpp.find_programs(checkout))
    return checkout


def test_copy_has_only_what_was_hashed(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    files = {each.relative_to(copy).as_posix() for each in copy.rglob("*") if not each.is_dir()}
    assert files == {*llama_cpp.find_programs(built).files}
    assert not any(each.is_symlink() for each in copy.rglob("*"))
    assert not any(name.endswith(".pyc") for name in files)
    assert llama_cpp.find_programs(copy).digest == llama_cpp.find_programs(built).digest


def test_copy_stays_when_the_folder_changes(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    (built / llama_cpp.CONVERTER).write_text("print('swapped')", "utf-8")
    (built / "build" / "bin" / "llama-quantize").write_text("swapped", "utf-8")
    assert (copy / llama_cpp.CONVERTER).read_text("utf-8") == "print()"
    assert (copy / "build" / "bin" / "llama-quantize").read_text("utf-8") == "program"
    with pytest.raises(ProblemError) as raised:
        llama_cpp.copy_allowed(str(built))
    assert raised.value.problems[0].code == "export.code_not_trusted"


def test_unchanged_folder_is_copied_once(built: Path) -> None:
    copy = llama_cpp.copy_allowed(str(built))
    assert llama_cpp.copy_allowed(str(built)) == copy
    consent.revoke(llama_cpp.find_programs(built).digest)
    with pytest.raises(ProblemError):
        llama_cpp.copy_allowed(str(built))


def test_program_of_a_copy_loads_the_libraries_of_the_copy(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    program = llama_cpp.find_program(str(built), llama_cpp.QUANTIZER)
    assert program is not None
    folder = str(Path(program).parent)
    if llama_cpp._LIBRARY_PATH == "LD_LIBRARY_PATH":
        assert llama_cpp.get_variables(program) == {"LD_LIBRARY_PATH": f"{folder}:/opt/lib"}
    assert llama_cpp.get_original(program) == str(built / "build" / "bin" / "llama-quantize")
    assert llama_cpp.get_variables("/usr/bin/llama-server") == {}
    assert llama_cpp.get_original("/usr/bin/llama-server") == "/usr/bin/llama-server"


@pytest.mark.skipif(os.name == "nt", reason="uses descriptors of folders")
def test_folder_that_cannot_be_listed_is_refused(checkout: Path) -> None:
    inner = os.open(checkout, os.O_RDONLY)
    for _ in range(20):  # a path that is too long for the system, which fails for every user
        os.mkdir("x" * 250, dir_fd=inner)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=inner)
    try:
        with pytest.raises(OSError, match="too long"):
            llama_cpp.is_allowed(str(checkout))
    finally:
        shutil.rmtree(checkout / ("x" * 250))


READY = ServerReady(
    address="http://127.0.0.1:8080", model="Pim's \"bot\"", file="base.gguf", program="llama-server",
    adapters=(ServedAdapter(id=0, name="a", scale=1.0), ServedAdapter(id=1, name="b", scale=0.5)),
)  # fmt: skip


def create_run(tmp_path: Path, model: str = "/models/pim", *files: str) -> RunFolder:
    project = Project(
        name="bot", model=ModelSpec(source=model), export=ExportSpec(quantizations=("Q8_0", "F16"))
    )
    run = folder.create_run(tmp_path, project, tmp_path)
    run.gguf.mkdir()
    for name in files:
        (run.gguf / name).write_bytes(b"GGUF")
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
def test_curl_command_has_the_scale_of_every_adapter() -> None:
    program, address, *_, body = shlex.split(serving.format_curl(READY))
    assert (program, address) == ("curl", "http://127.0.0.1:8080/v1/chat/completions")
    parsed = json.loads(body)
    assert parsed["model"] == READY.model
    assert parsed["lora"] == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.5}]


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
def test_requests_to_an_embedding_model_ask_for_vectors() -> None:
    ready = READY.model_copy(update={"adapters": (), "embeds": True})
    _, address, *_, body = shlex.split(serving.format_curl(ready))
    assert address == "http://127.0.0.1:8080/v1/embeddings"
    assert json.loads(body).keys() == {"model", "input"}
    code = serving.format_python(ready)
    compile(code, "request.py", "exec")
    assert "client.embeddings.create" in code
    _, address, *_, body = shlex.split(serving.format_ollama_embed_curl("http://pim:11434", "bot"))
    assert (address, json.loads(body)["model"]) == ("http://pim:11434/api/embed", "bot")


@pytest.mark.skipif(sys.platform == "win32", reason="quoted for cmd.exe there")
@pytest.mark.parametrize("embeds", [False, True])
def test_requests_have_the_key(embeds: bool) -> None:
    ready = READY.model_copy(update={"key": "a-b_c", "embeds": embeds})
    assert "Authorization: Bearer a-b_c" in shlex.split(serving.format_curl(ready))
    assert 'api_key="a-b_c"' in serving.format_python(ready)


def test_python_code_compiles_and_has_scales_only_with_adapters() -> None:
    code = serving.format_python(READY)
    compile(code, "request.py", "exec")
    assert '"scale": 0.5' in code
    merged = serving.format_python(READY.model_copy(update={"adapters": ()}))
    compile(merged, "request.py", "exec")
    assert "lora" not in merged


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        pytest.param((), None, id="no file"),
        pytest.param(("bot-adapter.gguf",), None, id="adapter only"),
        pytest.param(("bot-F16.gguf", "bot-Q8_0.gguf"), "bot-Q8_0.gguf", id="first quantization"),
        pytest.param(("bot-F16.gguf",), "bot-F16.gguf", id="only one"),
        pytest.param(("other-Q4_0.gguf",), "other-Q4_0.gguf", id="imported"),
    ],
)
def test_gguf_file_to_serve_is_the_first_quantization(
    tmp_path: Path, files: tuple[str, ...], chosen: str | None
) -> None:
    file = serving.choose_gguf_file(create_run(tmp_path, "/models/pim", *files))
    assert (file and file.name) == chosen


def test_runs_of_another_base_model_are_not_offered(tmp_path: Path) -> None:
    runs = [create_run(tmp_path, model) for model in ("/models/pim", "/models/pim", "/models/x")]
    for run in runs:
        run.adapter.mkdir()
        (run.adapter / "adapter_config.json").write_text("{}")
        run.events_file.write_text("")
    options = list(serving.iter_runs_of_base(tmp_path, runs[0].path))
    assert {option.path for option in options} == {runs[0].path, runs[1].path}
