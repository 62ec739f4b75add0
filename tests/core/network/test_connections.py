"""Connections of a process: counted with their purpose, and refused in offline mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.servers import certificates

#: A server that answers with twice what it received, and a function that talks to it.
_PROGRAM = """
import socket, threading
from lora_studio.core.network import connections
from lora_studio.core.network.purposes import Purpose
connections.start()
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
def answer():
    while True:
        accepted, _ = server.accept()
        while data := accepted.recv(100):
            accepted.sendall(data * 2)
        accepted.close()
threading.Thread(target=answer, daemon=True).start()
def talk(data=b"x" * 10):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(data)
        assert client.recv(100)
"""


def run(program: str, tmp_path: Path, **environ: str) -> dict[str, Any]:
    """Run a program with the prelude; return its contacts by purpose."""
    script = _PROGRAM + textwrap.dedent(program)
    variables = os.environ | {"LORA_STUDIO_LOGS": str(tmp_path), "LORA_STUDIO_SESSION": "s"}
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=variables | environ,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    records = [json.loads(file.read_text()) for file in (tmp_path / "network").glob("*.json")]
    return {contact["purpose"]: contact for one in records for contact in one["contacts"]}


def test_bytes_are_counted_with_the_declared_purpose(tmp_path: Path) -> None:
    contacts = run(
        """
        with connections.contacting(Purpose.OLLAMA):
            talk()
            talk(b"y" * 5)
        talk()
        """,
        tmp_path,
    )
    assert set(contacts) == {"ollama", "unknown"}
    ollama = contacts["ollama"]
    assert (ollama["connections"], ollama["sent"]) == (2, 15)
    assert ollama["received"] == 30
    assert ollama["host"] == "127.0.0.1"


def test_purpose_follows_a_context_into_other_threads(tmp_path: Path) -> None:
    program = """
    from contextvars import copy_context
    with connections.contacting(Purpose.OLLAMA):
        context = copy_context()
    for target, arguments in ((context.run, (talk,)), (talk, ())):
        thread = threading.Thread(target=target, args=arguments)
        thread.start()
        thread.join()
    """
    contacts = run(program, tmp_path)
    assert {name: one["connections"] for name, one in contacts.items()} == {
        "ollama": 1,
        "unknown": 1,
    }


def test_time_limit_ends_with_its_block(tmp_path: Path) -> None:
    program = """
    one, other = socket.socketpair()
    other.send(b"x")
    with connections.contacting(Purpose.HUB_SEARCH):
        connections.limit_receiving(0.0)
        try:
            one.recv(1)
        except TimeoutError:
            pass
        else:
            raise SystemExit("no limit")
    assert one.recv(1) == b"x"
    """
    assert run(program, tmp_path) == {}


def test_threads_of_a_library_have_the_purpose_of_their_caller(tmp_path: Path) -> None:
    contacts = run(
        """
        def in_thread():
            thread = threading.Thread(target=talk)
            thread.start()
            thread.join()
        with connections.contacting(Purpose.MODEL_DOWNLOAD, with_threads=True):
            in_thread()
        with connections.contacting(Purpose.MLFLOW):
            in_thread()
        """,
        tmp_path,
    )
    assert {name: one["connections"] for name, one in contacts.items()} == {
        "model_download": 1,
        "unknown": 1,
    }


def test_child_program_has_the_purpose_of_its_variable(tmp_path: Path) -> None:
    assert set(run("talk()", tmp_path, LORA_STUDIO_NETWORK_PURPOSE="builtin_model")) == {
        "builtin_model"
    }


def test_server_sockets_and_files_are_not_counted(tmp_path: Path) -> None:
    assert run("a, b = socket.socketpair(); a.send(b'x'); b.recv(1)", tmp_path) == {}


def test_connection_is_on_record_before_the_process_is_killed(tmp_path: Path) -> None:
    run_killed = "import os, signal\ntalk()\nos.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(subprocess.CalledProcessError):
        run(run_killed, tmp_path)
    assert list((tmp_path / "network").glob("*.json"))


def test_forked_process_has_its_own_record(tmp_path: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    run(
        """
        import os
        with connections.contacting(Purpose.OLLAMA):
            talk()
            connections.save()
            if os.fork() == 0:
                talk()
                connections.save()
                os._exit(0)
            os.wait()
        """,
        tmp_path,
    )
    files = [json.loads(file.read_text()) for file in (tmp_path / "network").glob("*.json")]
    assert [one["contacts"][0]["connections"] for one in files] == [1, 1]


def test_no_process_keeps_secrets_or_paths(tmp_path: Path) -> None:
    contacts = run(
        """
        import httpx
        from lora_studio.core.network.bounded_answers import API_LIMITS, bound_answers
        with connections.contacting(Purpose.OLLAMA):
            try:
                bound_answers(httpx.Client(), lambda _: API_LIMITS).get(
                    f"http://me:hf_secret@127.0.0.1:{port}/private?token=hf_secret"
                )
            except httpx.HTTPError:
                pass
        """,
        tmp_path,
    )
    assert set(contacts) == {"ollama"}
    content = "".join(file.read_text() for file in (tmp_path / "network").glob("*.json"))
    assert "secret" not in content
    assert "private" not in content


#: Ways to contact another computer.
_ACTIONS = {
    "connect": "socket.create_connection(('192.0.2.1', 80), 1)",
    "connect_ex": "socket.socket().connect_ex(('192.0.2.1', 80))",
    "lookup": "socket.getaddrinfo('example.com', 80)",
    "old lookup": "socket.gethostbyname('example.com')",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 5))",
    "native code": "connections.require_allowed('192.0.2.1')",
}


def test_other_computers_are_refused_offline(tmp_path: Path) -> None:
    program = f"""
    from lora_studio.core.system import offline
    talk()
    offline.switch(True)
    refused = []
    for name, action in {_ACTIONS!r}.items():
        try:
            exec(action)
        except connections.OfflineError as error:
            assert error.host in ("192.0.2.1", "example.com"), error.host
            refused.append(name)
    assert refused == {list(_ACTIONS)!r}, refused
    talk()
    """
    contacts = run(program, tmp_path)
    assert set(contacts) == {"unknown"}
    assert contacts["unknown"]["host"] == "127.0.0.1"
    assert contacts["unknown"]["connections"] == 2


def test_open_connection_is_refused_once_offline_mode_is_on(tmp_path: Path) -> None:
    program = """
    from lora_studio.core.system import offline
    offline.is_local_host = lambda host: False  # this computer stands for another one
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        client.recv(2)
        offline.switch(True)
        for attempt in (lambda: client.sendall(b"x"), lambda: client.recv(1)):
            try:
                attempt()
            except connections.OfflineError:
                continue
            raise SystemExit("reached")
    """
    assert run(program, tmp_path)["unknown"]["sent"] == 1


def test_contacts_that_were_refused_are_not_recorded(tmp_path: Path) -> None:
    program = """
    try:
        socket.create_connection(("192.0.2.1", 80), 1)
    except OSError:
        pass
    """
    assert run(program, tmp_path, HF_HUB_OFFLINE="1") == {}


def test_record_that_can_t_be_written_doesn_t_disturb(tmp_path: Path) -> None:
    (tmp_path / "network").write_text("a file where the folder should be")
    script = _PROGRAM + "talk()\nconnections.save()"
    variables = os.environ | {"LORA_STUDIO_LOGS": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_bytes_over_tls_are_counted_without_encryption(tmp_path: Path) -> None:
    now = datetime.now()
    file = certificates.make(tmp_path, now - timedelta(days=1), now + timedelta(days=1))
    contacts = run(
        f"""
        import ssl
        side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        side.load_cert_chain({str(file)!r})
        def answer_tls(plain):
            with side.wrap_socket(plain.accept()[0], server_side=True) as accepted:
                accepted.sendall(accepted.recv(100) * 3)
        plain = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_tls, args=(plain,))
        thread.start()
        context = ssl.create_default_context(cafile={str(file)!r})
        with connections.contacting(Purpose.HUB_SEARCH):
            connection = socket.create_connection(plain.getsockname())
            with context.wrap_socket(connection, server_hostname="127.0.0.1") as client:
                client.sendall(b"x" * 10)
                while client.recv(7):
                    pass
        thread.join()
        """,
        tmp_path,
    )
    assert set(contacts) == {"hub_search"}
    assert (contacts["hub_search"]["sent"], contacts["hub_search"]["received"]) == (10, 30)
