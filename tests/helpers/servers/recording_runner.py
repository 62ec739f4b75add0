"""Replace the process in which an Ollama server runs a model, and record its prompts.

    recording_runner.py FOLDER runner … --port N

The server starts it like its own runner and sends the prompt of a conversation. The last prompt is
written to FOLDER/prompt; FOLDER/answer is the text that "the model" generates.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
_READY = {"status": 0, "progress": 1.0}


class Runner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._lines(_READY)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/completion":
            self._lines({})
            return
        prompt: str = request["Prompt"]
        (FOLDER / "prompt").write_bytes(prompt.encode())
        answer = (FOLDER / "answer").read_text("utf-8") if (FOLDER / "answer").exists() else ""
        counts = {"prompt_eval_count": len(prompt.encode()), "eval_count": 1}
        last = {"content": "", "done": True, "done_reason": 0} | counts
        self._lines({"content": answer, "done": False}, last)

    def _lines(self, *answers: dict[str, Any]) -> None:
        body = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Recorder(ThreadingHTTPServer):
    """End when the server that started it ends, even if it is killed."""

    parent = os.getppid()

    def service_actions(self) -> None:
        if os.getppid() != self.parent:
            os._exit(0)


if __name__ == "__main__":
    port = int(sys.argv[sys.argv.index("--port") + 1])
    Recorder(("127.0.0.1", port), Runner).serve_forever()
