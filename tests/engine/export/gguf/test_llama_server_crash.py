"""A llama-server that ends in the middle of its work; real ones are in `test_llama_server.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.export.gguf.llama_server import run_server
from tests.helpers.recorded_job import recorded_job

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
