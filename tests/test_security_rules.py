"""Each crossing of trust has one place: see “What is trusted” in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import gc
from pathlib import Path

import pytest

from lora_studio.core import limits
from lora_studio.core.network.purposes import Purpose

PACKAGE = Path(__file__).resolve().parents[1] / "lora_studio"

#: Function, as it is called -> the only modules that may call it.
PLACES: dict[str, set[str]] = {
    "subprocess.Popen": {
        "client/sleep_inhibitor.py", "client/worker.py", "core/runs/guard.py", "engine/model/builtin.py",
        "engine/runtime/child_process.py", "engine/runtime/line_process.py",
        "engine/training/distributed/launch.py",
        "setup/install_pipeline.py", "setup/selfcheck.py", "setup/tools.py",
    },
    "subprocess.run": {"setup/detect.py"},
    "os.system": set(),
    "os.popen": set(),
    "eval": set(),
    "exec": {"engine/rewards/function_program.py"},  # with consent, in a process with limits
    "pickle.load": set(),
    "pickle.loads": set(),
    "jinja2.Environment": {"core/evaluation/report.py", "engine/training/reproduction/script.py"},
    "ImmutableSandboxedEnvironment": set(),
    "yaml.load": {"engine/hub/front_matter.py"},
    "yaml.safe_load": set(),
    "shutil.which": {"core/llama_cpp.py", "setup/tools.py", "setup/pythons.py", "setup/detect.py",
                     "client/sleep_inhibitor.py", "engine/model/builtin.py", "gui/desktop/notifications.py"},
    "extractall": {"setup/install.py"},  # its own wheel
    "webbrowser.open": set(),
    "zipfile.ZipFile": {
        "core/help/diagnostics.py",  # writes one
        "engine/runtime/zip_files.py",
        "setup/install.py",  # its own wheel
    },
    "csv.writer": {"core/csv_tables.py"},
    "csv.DictWriter": set(),
    # hosts are contacted
    "httpx.Client": {
        "engine/servers/openai_client.py", "engine/export/gguf/llama_server.py",
        "engine/export/ollama/client.py", "setup/http_client.py",
    },
    "httpx.AsyncClient": set(),
    "ollama.Client": {"engine/export/ollama/client.py"},
    "default_client_factory": {"engine/hub/client.py"},
    "snapshot_download": {"engine/hub/client.py"},
    "hf_hub_download": {"engine/hub/datasets.py"},
    "HfApi": {"engine/export/hub_upload.py", "engine/hub/account.py", "engine/hub/datasets.py",
              "engine/hub/models.py", "engine/hub/search.py"},
    "init_process_group": {"engine/training/distributed/launch.py"},
    "socket.socket": {"engine/export/gguf/llama_server.py"},  # to find a free port
    "socket.create_connection": set(),
    "urlopen": set(),
    "HTTPConnection": set(),
    "HTTPSConnection": set(),
}  # fmt: skip

#: Library that contacts hosts -> the only modules that may import it.
IMPORTERS: dict[str, set[str]] = {
    "httpx": {
        "core/network/bounded_answers.py", "engine/servers/openai_client.py", "engine/export/gguf/llama_server.py", "engine/export/ollama/client.py",
        "engine/export/ollama/server.py", "engine/hub/client.py",
        "engine/hub/errors.py", "setup/download.py", "setup/http_client.py",
    },
    "ollama": {
        "engine/export/ollama/client.py", "engine/export/ollama/server.py",
        "engine/export/ollama/store.py",
    },
    "requests": set(),
    "aiohttp": set(),
    "urllib3": set(),
    "http": set(),
    "ftplib": set(),
    "smtplib": set(),
    "wandb": {"engine/training/trackers.py"},
    "mlflow": {"engine/training/trackers.py"},
    "PySide6.QtNetwork": set(),
    "PySide6.QtWebEngineWidgets": set(),
}  # fmt: skip

#: The functions that declare why a host is contacted.
DECLARING = ("contacting", "contact_hub", "note_contact")


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Every module, parsed once."""
    gc.disable()  # collections would take three quarters of the time
    try:
        return {
            file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text("utf-8"))
            for file in sorted(PACKAGE.rglob("*.py"))
        }
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def nodes(trees: dict[str, ast.Module]) -> list[tuple[str, ast.AST]]:
    """Every node with its module."""
    return [(module, node) for module, tree in trees.items() for node in ast.walk(tree)]


@pytest.fixture(scope="module")
def calls(nodes: list[tuple[str, ast.AST]]) -> list[tuple[str, ast.Call, str]]:
    """Module, call, and the function's name as it is written."""
    return [
        (module, node, ast.unparse(node.func))
        for module, node in nodes
        if isinstance(node, ast.Call)
    ]


@pytest.fixture(scope="module")
def imports(nodes: list[tuple[str, ast.AST]]) -> list[tuple[str, str]]:
    """Module and the full name of each import."""
    names = []
    for module, node in nodes:
        if isinstance(node, ast.Import):
            names += [(module, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append((module, node.module))
    return names


@pytest.mark.parametrize("library", IMPORTERS)
def test_network_library_is_imported_only_in_its_place(
    library: str, imports: list[tuple[str, str]]
) -> None:
    importers = {
        module for module, name in imports if name == library or name.startswith(f"{library}.")
    }
    assert importers <= IMPORTERS[library]


def test_each_purpose_is_declared_where_a_host_is_contacted(
    calls: list[tuple[str, ast.Call, str]],
) -> None:
    declared = {
        ast.unparse(node)
        for module, call, function in calls
        if function.rpartition(".")[2] in DECLARING
        for node in ast.walk(call)
        if ast.unparse(node).startswith("Purpose.")
    }
    by_value = {f"Purpose.{name}" for name in ("MODEL_DOWNLOAD", "DATASET_DOWNLOAD", "MLFLOW")}
    by_value.add("Purpose.BUILTIN_MODEL")  # the variable of a child process
    everything = {f"Purpose.{purpose.name}" for purpose in Purpose}
    assert declared | by_value == everything - {"Purpose.UNKNOWN"}


@pytest.mark.parametrize("name", PLACES)
def test_function_is_called_only_in_its_place(
    name: str, calls: list[tuple[str, ast.Call, str]]
) -> None:
    is_builtin = name in ("eval", "exec")
    callers = {
        module
        for module, _, function in calls
        if function == name or (not is_builtin and function.endswith(f".{name}"))
    }
    assert callers <= PLACES[name]


def test_code_of_models_is_allowed_by_consent_only(calls: list[tuple[str, ast.Call, str]]) -> None:
    unasked = [
        f"{module}:{call.lineno}"
        for module, call, function in calls
        for keyword in call.keywords
        if keyword.arg == "trust_remote_code"
        and not function.endswith(("ModelSpec", "setting"))
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        and "is_allowed" not in ast.unparse(keyword.value)
    ]
    assert unasked == []


def test_weights_are_never_unpickled(calls: list[tuple[str, ast.Call, str]]) -> None:
    unsafe = [
        f"{module}:{call.lineno}"
        for module, call, function in calls
        if function == "torch.load"
        and not any(
            keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True"
            for keyword in call.keywords
        )
    ]
    assert unsafe == []


#: The modules that open files on their own: what they read is the program's, the user's or the system's.
#: Everything else reads through `core/system/foreign_files.py`.
OPENERS = {
    "core/help/topics.py",  # the documentation
    "core/system/files.py",  # copies, which the caller has checked
    "core/system/foreign_files.py",
    "core/system/memory_limits.py",  # /proc
    "engine/dataset/rows/verdicts.py",  # the cache of the user
    "engine/dataset/splitting.py",  # the cache of the user
    "engine/export/gguf/direct_gguf.py",  # its own recipe
    "engine/export/ollama/template_sandbox.py",  # the answer of its own child
    "engine/model/base_templates.py",  # resources
    "engine/model/builtin.py",  # the download of the built-in model
    "engine/model/tokenizer_trial.py",  # a process with limits; the caller has checked sizes
    "engine/runtime/source_digest.py",  # the program itself
    "gui/theme.py",  # resources
    "gui/widgets/docs_viewer.py",  # the documentation
}


def is_reading(call: ast.Call, function: str) -> bool:
    """Return whether a call opens a file to read it: `open`, `Path.open`, `Path.read_text` …"""
    name = function.rpartition(".")[2]
    if name in ("read_text", "read_bytes"):
        return ("." in function and not call.args[:1]) or ast.unparse(call).endswith("('utf-8')")
    if name != "open":
        return False
    arguments = call.args[0:1] if "." in function else call.args[1:2]
    modes = [node.value for node in arguments if isinstance(node, ast.Constant)]
    return modes[:1] in (["r"], ["rb"]) or (function == "open" and not modes)


def test_foreign_files_are_opened_in_one_place(calls: list[tuple[str, ast.Call, str]]) -> None:
    openers = {
        f"{module}:{call.lineno}"
        for module, call, function in calls
        if module not in OPENERS and not module.startswith("setup/") and is_reading(call, function)
    }
    assert openers == set()


#: Packages whose modules read what others prepared: bounds on it belong to `core/limits.py`.
BOUNDED = (
    "core/lora/", "core/model/", "core/system/foreign_files.py", "core/templates/", "core/spec.py", "core/llama_cpp.py",
    "engine/dataset/files/", "engine/hub/front_matter.py", "engine/lora/adapter_files.py", "engine/model/gguf_header.py",
    "engine/model/safetensors_header.py", "engine/export/ollama/template_sandbox.py",
)  # fmt: skip

#: Names of bounds on something else: what is searched in real data, shown, or lost.
OTHER_BOUNDS = {"MAX_LESSONS", "_MOST_LOST", "_MOST_MARKERS"}


def test_bounds_on_foreign_input_are_in_one_table(trees: dict[str, ast.Module]) -> None:
    elsewhere = [
        f"{module}: {target.id}"
        for module, tree in trees.items()
        if module.startswith(BOUNDED)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant | ast.BinOp | ast.Tuple)
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and target.id.startswith(("_MAX_", "MAX_", "_MOST_"))
        if target.id not in OTHER_BOUNDS
    ]
    assert elsewhere == []


def test_each_limit_has_a_subject_unit_and_reason() -> None:
    subjects = [limit.subject for limit in limits.LIMITS]
    assert len(set(subjects)) == len(subjects)
    assert all(limit.value > 0 and limit.reason.endswith(".") for limit in limits.LIMITS)


def test_each_limit_is_used(trees: dict[str, ast.Module]) -> None:
    source = "".join(file.read_text("utf-8") for file in PACKAGE.rglob("*.py"))
    body = trees["core/limits.py"].body
    names = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    unused = [
        name.id
        for name in names
        if isinstance(name, ast.Name)
        if name.id.isupper() and not name.id.startswith("_") and f"limits.{name.id}" not in source
    ]
    assert unused == []
