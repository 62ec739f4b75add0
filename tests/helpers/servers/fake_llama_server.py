"""A llama-server that loads nothing and builds no prompts; real ones are in `llama_server.py`."""

from __future__ import annotations

import sys
from pathlib import Path

_PROGRAM = """
import json, os, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/lora-adapters":
            print("scales", body.decode(), flush=True)
            self.answer(200, {})
        elif HANGS:
            time.sleep(60)
        else:
            self.answer(400, {"error": {"message": "not built"}})

print("arguments", *sys.argv[1:], flush=True)
print("reasoning", os.environ.get("LLAMA_ARG_REASONING"), flush=True)
if SECONDS:
    threading.Thread(target=lambda: (time.sleep(SECONDS), print("out of memory", flush=True), os._exit(1))).start()
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def write_program(folder: Path, *, seconds: float = 0.0, hangs: bool = False) -> Path:
    """Write the program into a folder and return it.

    It fails after some seconds, if given, and answers no question about prompts if it `hangs`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "llama-server"
    settings = f"SECONDS, HANGS = {seconds}, {hangs}"
    program.write_text(f"#!{sys.executable}\n{settings}\n{_PROGRAM}", "utf-8")
    program.chmod(0o755)
    return program
