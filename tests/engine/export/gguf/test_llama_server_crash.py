"""A llama-server that is too old for a model or ends in the middle of its work; real ones are in `test_llama_server.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.gguf.architecture_support import find_unknown_architecture
from lora_studio.engine.export.gguf.llama_server import run_server
from tests.helpers.models import tiny_gguf
from tests.helpers.runs.jobs import recorded_job

#: A server that is ready and ends without an answer to the first prompt.
_CRASHING = """
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        os._exit(1)

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script with a #! line")
def test_crashed_server_is_a_problem(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{_CRASHING}")
    program.chmod(0o755)
    job, _ = recorded_job()
    with (
        pytest.raises(ProblemError, match="llama-server stopped") as raised,
        run_server(str(program), tmp_path / "model.gguf", job) as server,
    ):
        server.apply_template([{"role": "user", "content": "Hi"}])
    assert raised.value.problems[0].code == "export.llama_server_failed"


#: A server that answers with its arguments, and as llama-server does only with the key.
_GUARDED = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        key = os.environ["LLAMA_API_KEY"]
        is_allowed = self.headers["Authorization"] == f"Bearer {key}" and len(key) >= 32
        body = json.dumps({"prompt": "\\n".join(sys.argv), "error": {"message": "no key"}}).encode()
        self.send_response(200 if is_allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script with a #! line")
def test_server_requires_a_new_key_not_on_its_command_line(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{_GUARDED}")
    program.chmod(0o755)
    keys = set()
    for _ in range(2):
        job, _recorder = recorded_job()
        with run_server(str(program), tmp_path / "model.gguf", job) as server:
            arguments = server.apply_template([{"role": "user", "content": "Hi"}])
            assert server.key not in arguments
            assert httpx.post(f"{server.address}/apply-template").status_code == 401
            keys.add(server.key)
    assert len(keys) == 2


_NAMING_DEVICE = """
import os, sys
print("started on device", os.environ.get("LLAMA_ARG_DEVICE"))
sys.exit(1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script with a #! line")
def test_server_that_only_builds_prompts_stays_off_the_gpu(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{_NAMING_DEVICE}")
    program.chmod(0o755)
    job, _ = recorded_job()
    with (
        pytest.raises(ProblemError, match="started on device none"),
        run_server(str(program), tmp_path / "model.gguf", job),
    ):
        pass


_OUTDATED = """
import sys
if "--version" in sys.argv:
    print("version: 4567 (abcdef0)")
else:
    print("llama_model_load: error loading model: unknown model architecture: 'llama'")
    print("srv  llama_server: exiting due to model loading error")
    sys.exit(1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script with a #! line")
def test_server_older_than_the_architecture_is_named(
    tmp_path: Path,
) -> None:
    program, model = tmp_path / "llama-server", tiny_gguf.write(tmp_path / "model.gguf", "")
    program.write_text(f"#!{sys.executable}\n{_OUTDATED}")
    program.chmod(0o755)
    job, _ = recorded_job()
    with pytest.raises(ProblemError) as raised, run_server(str(program), model, job):
        pass
    (problem,) = raised.value.problems
    assert problem.code == "gguf.unknown_architecture"
    assert f"{program} 4567 (abcdef0) doesn't support the architecture llama" in str(problem.what)
    assert "which is built in, supports it" in str(problem.remedy)


@pytest.mark.parametrize(
    ("output", "architecture"),
    [
        pytest.param("unknown model architecture: 'novel-2'", "novel-2", id="llama.cpp"),
        pytest.param('unsupported architecture "Novel"', "Novel", id="converter_of_ollama"),
        pytest.param("failed to load model", "", id="another_error"),
    ],
)
def test_unknown_architecture_is_read_from_the_message(output: str, architecture: str) -> None:
    assert find_unknown_architecture(output) == architecture
