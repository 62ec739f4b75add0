"""Each crossing of trust has one place: see “What is trusted” in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import gc
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.network.purposes import Purpose
from tests.helpers.source_calls import find_calls, find_calls_in, find_imports

PACKAGE = Path(__file__).resolve().parents[1] / "lora_studio"

#: Function, by the end of its full name (`*` at the end: all that begin so) -> the only packages or modules that may
#: call it.
PLACES: dict[str, str] = {
    "subprocess.Popen": "client core/runs/guard.py engine/model/builtin.py engine/runtime engine/training/distributed/launch.py setup",
    "subprocess.run": "setup",
    "QProcess.*": "gui/desktop",
    "multiprocessing.*": "engine/runtime",
    "runpy.*": "engine/export/gguf/converter_program.py engine/runtime/child_process.py",
    "ctypes.CDLL": "engine/export/gguf/tensor_comparison.py engine/rewards/function_program.py engine/runtime/torch_settings.py engine/worker_rank.py",
    "exec": "engine/rewards/function_program.py",
    "numpy.fromfile": "engine/dataset/rows engine/export/gguf",
    "numpy.memmap": "engine/export/gguf engine/runtime engine/selftest/oracle",
    "os.open": ". cli core/system engine/runtime",
    "jinja2.Environment": "core/evaluation engine/training/reproduction",
    "apply_chat_template": "engine/export/ollama/checks.py",
    # what is parsed at once
    "read_blocks": "engine/dataset/rows",
    "read_columnar_blocks": "engine/dataset/rows",
    "AutoTokenizer.from_pretrained": "engine/model/tokenizer.py",
    "Tokenizer.from_str": "engine/model/tokenizer_files.py engine/model/tokenizer_trial.py",
    "Tokenizer.from_buffer": "engine/model/tokenizer_files.py engine/model/tokenizer_trial.py",
    "yaml.load": "engine/hub/datasets.py",
    "shutil.which": "core/system",
    "tarfile.open": "engine/dataset/files",
    "gzip.*": "engine/dataset/files",
    "bz2.*": "engine/dataset/files",
    "lzma.*": "engine/dataset/files",
    "extractall": "setup/install.py",
    "QDesktopServices.openUrl": "gui/widgets",
    "zipfile.ZipFile": "core/help/diagnostics.py setup/install.py",
    "csv.writer": "core",
    # consent is given
    "access_requests.accept_requests": "cli/app.py cli/common.py cli/headless.py gui/project/state.py",
    "access_requests.allow_requests": "cli/common.py core/runs/folder.py core/runs/step_records.py gui/help/commands.py",
    "remember_plan": "engine/evaluation",
    "consent.trust": "gui/problems/dialogs.py",
    "trust_in_this_process": "__main__.py cli/app.py core/project/access_requests.py engine/cluster.py",
    "DigestRecord": "core/evaluation core/project",
    # what asks for consent
    "tomlkit.parse": "core/project",
    "run_command": "engine/jobs.py engine/worker.py",
    "train_run.train": "engine/cluster.py engine/jobs.py",
    "openai_client.connect": "engine/evaluation engine/rewards",
    "EvaluationFolder": "cli core/evaluation",
    # hosts are contacted
    "httpx.Client": "engine/export/gguf/llama_server.py engine/export/ollama/client.py engine/servers setup/download.py",
    "ollama.Client": "engine/export/ollama",
    "default_client_factory": "engine/hub",
    "snapshot_download": "engine/hub/client.py",
    "hf_hub_download": "engine/hub/datasets.py",
    "HfApi": "engine/export engine/hub",
    "init_process_group": "engine/training/distributed",
    "socket.socket": "engine/export/gguf",
}

#: Functions that no module may call.
NOWHERE = (
    "subprocess.call", "subprocess.check_*", "subprocess.get*", "os.system", "os.popen", "os.exec*", "os.spawn*",
    "os.posix_spawn*", "os.startfile", "pty.*", "asyncio.create_subprocess*", "importlib.util.spec_from*",
    "SourceFileLoader", "eval", "pickle.*", "marshal.*", "shelve.*", "numpy.load", "numpy.loadtxt", "mmap.mmap",
    "linecache.*", "jinja2.Template", "SandboxedEnvironment", "Tokenizer.from_file", "Tokenizer.from_pretrained",
    "safetensors.safe_open", "pyarrow.parquet.read_table", "pyarrow.csv.read_csv", "pyarrow.json.read_json",
    "ImmutableSandboxedEnvironment", "yaml.safe_load", "unpack_archive", "webbrowser.*", "csv.DictWriter",
    "httpx.AsyncClient", "socket.create_*", "asyncio.open_connection", "torch.hub.*", "urlopen", "HTTPConnection",
    "HTTPSConnection",
)  # fmt: skip
PLACES |= dict.fromkeys(NOWHERE, "")

#: Library that contacts hosts, or package of this program -> the only packages or modules that may import it.
IMPORTERS: dict[str, str] = {
    "httpx": "core/network engine/export/gguf engine/export/ollama engine/hub engine/servers setup",
    "ollama": "engine/export/ollama",
    "lora_studio.engine.jobs": "engine/worker.py",
    "urllib.request": "client setup",
    "wandb": "engine/training",
    "mlflow": "engine/training",
}
IMPORTERS |= dict.fromkeys(
    (
        "requests", "aiohttp", "urllib3", "websockets", "xmlrpc", "imaplib", "telnetlib", "cloudpickle", "dill", "joblib",
        "http", "ftplib", "smtplib", "PySide6.QtNetwork", "PySide6.QtWebEngineWidgets", "PySide6.QtWebSockets",
    ),
    "",
)  # fmt: skip

#: The functions that declare why a host is contacted.
DECLARING = ("contacting", "contact_hub", "note_contact")


@pytest.fixture(scope="module")
def trees() -> Iterator[dict[str, ast.Module]]:
    """Every module, parsed once."""
    # Collections of millions of nodes would take most of the time, also that of the tests.
    gc.disable()
    parsed = {
        file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text("utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }
    gc.freeze()
    gc.enable()
    yield parsed
    gc.unfreeze()


@pytest.fixture(scope="module")
def calls(trees: dict[str, ast.Module]) -> list[tuple[str, ast.Call, str]]:
    """Module, call, and the full name of the function."""
    return [(module, *call) for module, tree in trees.items() for call in find_calls(tree)]


@pytest.fixture(scope="module")
def imports(trees: dict[str, ast.Module]) -> list[tuple[str, str]]:
    """Module and the full name of each import."""
    return [(module, name) for module, tree in trees.items() for name in find_imports(tree)]


def get_place(module: str, places: str) -> str:
    """Return the module itself where `places` name it, else its package ("." for the topmost)."""
    return module if module in places.split() else module.rpartition("/")[0] or "."


def is_import_of(library: str, name: str) -> bool:
    """Return whether the full name of an import belongs to a library that `IMPORTERS` names."""
    return name == library or name.startswith(f"{library}.")


def is_refused_import(name: str, module: str) -> bool:
    """Return whether a module may not have an import."""
    return any(
        is_import_of(library, name) and get_place(module, places) not in places.split()
        for library, places in IMPORTERS.items()
    )


@pytest.mark.parametrize("library", IMPORTERS)
def test_network_library_is_imported_only_in_its_place(
    library: str, imports: list[tuple[str, str]]
) -> None:
    own = library.removeprefix("lora_studio.").replace(".", "/") + "/"
    importers = {
        get_place(module, IMPORTERS[library])
        for module, name in imports
        if is_import_of(library, name) and not module.startswith(own)
    }
    assert importers == set(IMPORTERS[library].split())


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


def is_call_of(name: str, function: str) -> bool:
    """Return whether the full name of a function is one that `PLACES` names."""
    if name in ("eval", "exec"):
        return function in (name, f"builtins.{name}")
    if name.endswith("*"):
        return f".{name[:-1]}" in f".{function}"
    return function == name or function.endswith(f".{name}")


@pytest.mark.parametrize("name", PLACES)
def test_function_is_called_only_in_its_place(
    name: str, calls: list[tuple[str, ast.Call, str]]
) -> None:
    callers = {
        get_place(module, PLACES[name])
        for module, _, function in calls
        if is_call_of(name, function)
    }
    assert callers == set(PLACES[name].split())


#: Function that needs consent -> the checks that ask the user or raise, one of which its caller must call, and the
#: modules that need no check because they only read.
ASKED: dict[str, tuple[set[str], set[str]]] = {
    "project.load": (
        {"access_requests.list_new_requests", "common.ask_for_project"},
        # lists settings; the program's own; reads a run
        {"core/help/diagnostics.py", "core/project/samples.py", "core/runs/frozen_project.py"},
    ),
    "_carry_out": ({"_hold_run"}, set()),
    "PinnedFolder": ({"access_requests.require_run_allowed"}, set()),
    "train_run.follow": (
        {"access_requests.require_run_allowed"},
        {"engine/worker_rank.py"},
    ),  # of a job
    "JudgeReward": ({"access_requests.require_judge_allowed"}, set()),
    "open_evaluation": ({"require_own_plan"}, set()),
    "create_evaluation": ({"remember_plan"}, set()),
    "_Evaluation": ({"_open_folder"}, set()),
}


#: Of these, the ones that are checked after the call, because the check needs the result.
ASKED_AFTERWARDS = {"project.load", "open_evaluation", "create_evaluation"}


def find_unasked(module: str, tree: ast.Module) -> Iterator[str]:
    """Yield each call of a function in `ASKED` that is in no function which asks, or asks too late."""
    asking: dict[int, list[tuple[ast.Call, str]]] = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = list(find_calls_in(tree, function))
            asking |= {id(call): inside for call, _ in inside}
    for call, name in find_calls(tree):
        for crossing, (guards, exceptions) in ASKED.items():
            if module in exceptions or not is_call_of(crossing, name):
                continue
            around = asking.get(id(call), [])
            last = math.inf if crossing in ASKED_AFTERWARDS else call.lineno
            before = [called for other, called in around if other.lineno <= last]
            if not any(is_call_of(guard, called) for guard in guards for called in before):
                yield f"{module}:{call.lineno}: {name}"


@pytest.mark.parametrize("crossing", ASKED)
def test_crossing_is_called_only_where_consent_is_asked(
    crossing: str, trees: dict[str, ast.Module], calls: list[tuple[str, ast.Call, str]]
) -> None:
    modules = {module for module, _, function in calls if is_call_of(crossing, function)}
    assert modules >= ASKED[crossing][1]
    assert modules, "nothing calls it any more"
    unasked = [each for module in modules for each in find_unasked(module, trees[module])]
    assert unasked == []


def test_each_way_into_a_job_asks_for_the_run(trees: dict[str, ast.Module]) -> None:
    tree = trees["engine/worker.py"]
    (hold,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "_hold_run"
    )
    guards = ("_require_access", "access_requests.require_run_allowed")
    asked = sorted(
        call.lineno
        for call, name in find_calls_in(tree, hold)
        if any(is_call_of(guard, name) for guard in guards)
    )
    ways = sorted(node.lineno for node in ast.walk(hold) if isinstance(node, ast.Yield))
    assert len(asked) == len(ways)
    assert all(ask < way for ask, way in zip(asked, ways, strict=True))


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


def test_every_program_starts_in_an_empty_folder(calls: list[tuple[str, ast.Call, str]]) -> None:
    starting = [
        (module, {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords})
        for module, call, function in calls
        if function in ("subprocess.Popen", "subprocess.run")
    ]
    elsewhere = {
        module for module, options in starting if "get_empty_folder()" not in options.get("cwd", "")
    }
    assert elsewhere == {"engine/model/builtin.py"}  # in a new folder of its own
    assert len(starting) > 10


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
    "core/help/diagnostics.py",  # the documentation
    "core/system/nvml.py",  # /sys
    "core/system/files.py",  # copies, which the caller has checked
    "core/system/memory_limits.py",  # /proc
    "engine/dataset/inspection.py",  # the cache of the user
    "engine/dataset/splitting.py",  # the cache of the user
    "engine/devices/devices.py",  # the driver of the GPU
    "engine/export/gguf/direct_gguf.py",  # its own recipe
    "engine/export/ollama/template_sandbox.py",  # the answer of its own child
    "engine/model/tokenizer.py",  # resources
    "engine/model/builtin.py",  # the download of the built-in model
    "engine/model/tokenizer_trial.py",  # a process with limits; the caller has checked sizes
    "engine/runtime/memory_guard.py",  # /proc
    "engine/runtime/disk.py",  # the program itself
    "gui/frame/device_gauges.py",  # the driver of the GPU
    "gui/theme.py",  # resources
    "gui/widgets/docs_viewer.py",  # the documentation
}


#: What `Path.open` is called with, unlike other methods of that name.
_OPEN_OPTIONS = {"mode", "encoding", "errors", "newline", "buffering"}


def is_reading(call: ast.Call, function: str) -> bool:
    """Return whether a call opens a file to read it: `open`, `Path.open`, `Path.read_text` …"""
    name = function.rpartition(".")[2]
    if name in ("read_text", "read_bytes"):
        first = call.args[0] if call.args else None
        return "." in function and (first is None or isinstance(first, ast.Constant))
    if name != "open" or function == "tarfile.open":
        return False
    is_builtin = function in ("open", "io.open", "codecs.open")
    arguments = call.args[1:2] if is_builtin else call.args[0:1]
    arguments += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    if arguments:
        mode = arguments[0].value if isinstance(arguments[0], ast.Constant) else ""
        return str(mode).startswith("r")
    options = {str(keyword.arg) for keyword in call.keywords}
    # `dialog.open()` has no options; a path is opened with an encoding, or to read bytes
    return is_builtin or bool(options & _OPEN_OPTIONS)


def test_foreign_files_are_opened_in_one_place(calls: list[tuple[str, ast.Call, str]]) -> None:
    openers = {
        module
        for module, call, function in calls
        if not module.startswith("setup/") and is_reading(call, function)
    }
    assert openers == OPENERS


#: Packages whose modules read what others prepared: bounds on it belong to `core/limits.py`.
BOUNDED = (
    "core/lora/", "core/model/", "core/system/foreign_files.py", "core/templates/", "core/spec.py", "core/llama_cpp.py",
    "engine/dataset/files/", "engine/hub/datasets.py", "engine/lora/adapter_files.py", "engine/model/gguf_header.py",
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


#: Code that goes around the one place of a crossing, as somebody might write it.
VIOLATIONS = [
    "from subprocess import Popen as start\nstart(['ls'])",
    "import subprocess as sp\nsp.check_output('ls', shell=True)",
    "import subprocess\nsubprocess.getoutput('ls')",
    "import os\nos.execv('/bin/ls', [])",
    "from os import system\nsystem('ls')",
    "from PySide6.QtCore import QProcess\nQProcess.startDetached('ls')",
    "from multiprocessing import Process\nProcess(target=print)",
    "import runpy\nrunpy.run_path('tools/convert.py')",
    "from importlib.util import spec_from_file_location\nspec_from_file_location('a', 'a.py')",
    "eval('1')",
    "import builtins\nbuiltins.exec('1')",
    "open('rows.txt')",
    "open('rows.txt', mode='rb')",
    "import io\nio.open('rows.txt')",
    "from pathlib import Path\nPath('a').open('rb')",
    "from pathlib import Path\nPath('a').open(encoding='utf-8')",
    "from pathlib import Path\nPath('a').read_text('utf-8', 'replace')",
    "from pathlib import Path\nPath('a').read_bytes()",
    "import os\nos.open('a', os.O_RDONLY)",
    "import numpy as np\nnp.load('ids.npy', allow_pickle=True)",
    "from pickle import loads as parse\nparse(b'')",
    "import joblib\njoblib.load('a')",
    "from yaml import safe_load\nsafe_load('a')",
    "import tarfile\ntarfile.open('a.tar')",
    "from zipfile import ZipFile\nZipFile('a.zip')",
    "import gzip\ngzip.open('a.gz')",
    "import shutil\nshutil.unpack_archive('a.zip')",
    "from safetensors import safe_open\nsafe_open('a', 'pt')",
    "from tokenizers import Tokenizer\nTokenizer.from_file('tokenizer.json')",
    "from transformers import AutoTokenizer\nAutoTokenizer.from_pretrained('a')",
    "from jinja2 import Environment\nEnvironment()",
    "from jinja2.sandbox import SandboxedEnvironment\nSandboxedEnvironment()",
    "tokenizer.apply_chat_template([])",
    "import csv\ncsv.DictWriter(file, names)",
    "import httpx\nhttpx.get('https://a')",
    "from urllib import request\nrequest.urlopen('https://a')",
    "import urllib.request",
    "import socket\nsocket.create_connection(('a', 1))",
    "from huggingface_hub import snapshot_download\nsnapshot_download('a')",
    "import torch\ntorch.hub.load('a', 'b')",
    "from PySide6.QtNetwork import QNetworkAccessManager",
    "import webbrowser\nwebbrowser.open('https://a')",
    "from lora_studio.core.project import project\ndef show(path):\n    return project.load(path)",
    "from lora_studio.core.project.project import load\nload('a')",
    "import tomlkit\ntomlkit.parse(content)",
    "from lora_studio.core.project import access_requests\naccess_requests.accept_requests(draft)",
    "from lora_studio.core.project.access_requests import allow_requests\nallow_requests(run, frozen)",
    "from lora_studio.core.system.consent import DigestRecord\nDigestRecord('runs.json')",
    "from lora_studio.core.system.consent import trust\ntrust(code)",
    "from lora_studio.engine import jobs\njobs.run_command(command, job)",
    "from lora_studio.engine.jobs import train\ntrain(command, job)",
    "from lora_studio.engine.training import train_run\ntrain_run.follow(run, ranks, job)",
    "from lora_studio.engine.training.train_run import train as start\nstart(run, job)",
    "from lora_studio.engine.rewards.judge import JudgeReward\nJudgeReward(name, spec, model, job)",
    "from lora_studio.engine.rewards.judge import JudgeReward\nfrom lora_studio.core.project import access_requests\n"
    "def use(model):\n    JudgeReward(model)\n    access_requests.require_judge_allowed(model)",
    "from lora_studio.engine.servers.openai_client import connect\nconnect(model)",
    "from lora_studio.core.evaluation.plan import remember_plan\nremember_plan(plan)",
    "from lora_studio.core.evaluation import storage\ndef go_on(run):\n    return storage.open_evaluation(run, 'a')",
    "from lora_studio.core.evaluation.storage import EvaluationFolder\nEvaluationFolder(path).read_plan()",
    "from lora_studio.engine.dataset.files.readers import read_blocks\nread_blocks(a, b, c)",
]


@pytest.mark.parametrize("code", VIOLATIONS)
def test_code_around_a_crossing_is_refused(code: str) -> None:
    tree, module = ast.parse(code), "elsewhere/module.py"
    refused = [name for name in find_imports(tree) if is_refused_import(name, module)]
    refused += find_unasked(module, tree)
    for call, function in find_calls(tree):
        refused += [name for name in PLACES if is_call_of(name, function)]
        refused += [function] * is_reading(call, function)
    assert refused


def test_answers_of_every_server_have_limits(calls: list[tuple[str, ast.Call, str]]) -> None:
    contacting = {module for module, _, function in calls if is_call_of("httpx.Client", function)}
    bounded = {module for module, _, function in calls if function.endswith("bound_answers")}
    # llama-server is a program on this computer that this process has started
    assert contacting - bounded == {"engine/export/gguf/llama_server.py"}
