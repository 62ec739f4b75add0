"""Downloads that are interrupted, refused, corrupted, canceled and resumed."""

from __future__ import annotations

import errno
import hashlib
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.setup import download
from lora_studio.setup.download import DownloadFile
from lora_studio.setup.tools import SetupCancelledError, SetupLog, StopFlag
from tests.helpers.servers import certificates
from tests.helpers.servers.wheel_index import Index, make_wheel, serve

SIZE = 900_000


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "LONGEST_PAUSE", 0.02)
    package_index = Index()
    package_index.add(make_wheel("alpha", padding=SIZE), make_wheel("beta", padding=SIZE // 3))
    with serve(package_index):
        yield package_index


def file_of(index: Index, name: str, folder: Path, *, known: bool = True) -> DownloadFile:
    """Return the file of a package as an index lists it."""
    wheel = next(file for file in index.wheels if file.startswith(name))
    content = index.wheels[wheel]
    digest = hashlib.sha256(content).hexdigest()
    size = len(content) if known else None
    return DownloadFile(wheel, f"{index.url}/files/{wheel}", folder / wheel, size, digest)


def fetch(files: list[DownloadFile], folder: Path, stop: StopFlag | None = None) -> list[float]:
    """Download files and return the reported progress, in bytes."""
    log = SetupLog(folder / "log.txt")
    try:
        progress = list(download.fetch(files, "Downloading", stop or StopFlag(), log))
    finally:
        log.close()
    assert all(one.total == progress[0].total for one in progress)
    return [one.done for one in progress]


def test_several_files_share_one_progress_total(index: Index, tmp_path: Path) -> None:
    files = [file_of(index, name, tmp_path) for name in ("alpha", "beta")]
    done = fetch(files, tmp_path)
    assert done == sorted(done)
    assert done[-1] == sum(file.size or 0 for file in files)
    assert all(file.target.read_bytes() == index.wheels[file.name] for file in files)


def test_interrupted_download_resumes_at_its_offset(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.cut[file.name] = (200_000, 2)
    fetch([file], tmp_path)
    assert [start for _, start in index.starts] == [0, 200_000, 400_000]
    assert index.sent[file.name] == file.size


def test_server_without_ranges_sends_the_whole_file_again(index: Index, tmp_path: Path) -> None:
    index.ranges = False
    file = file_of(index, "alpha", tmp_path)
    index.cut[file.name] = (200_000, 1)
    done = fetch([file], tmp_path)
    assert file.target.read_bytes() == index.wheels[file.name]
    assert done[-1] == file.size


def test_existing_file_is_not_downloaded_again(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    file.target.write_bytes(index.wheels[file.name])
    assert fetch([file], tmp_path)[0] == file.size
    assert not index.starts


def test_partial_download_with_wrong_content_is_restarted(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    file.part.write_bytes(b"x" * 1000)
    done = fetch([file], tmp_path)
    assert file.target.read_bytes() == index.wheels[file.name]
    assert done[-1] == file.size


def test_partial_download_longer_than_the_file_is_restarted(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    file.part.write_bytes(b"x" * (SIZE * 2))
    fetch([file], tmp_path)
    assert file.target.read_bytes() == index.wheels[file.name]


def test_file_with_a_wrong_checksum_is_deleted(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.falsified.add(file.name)
    with pytest.raises(ProblemError) as caught:
        fetch([file], tmp_path)
    assert caught.value.problems[0].code == "engine.checksum"
    assert not file.target.exists()
    assert not file.part.exists()


def test_refused_download_is_not_retried(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.refused[file.name] = 403
    with pytest.raises(ProblemError) as caught:
        fetch([file], tmp_path)
    problem = caught.value.problems[0]
    assert problem.code == "engine.download"
    assert "403" in str(problem.what)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_retried_after_its_delay(index: Index, tmp_path: Path, status: int) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.busy[file.name] = (status, 1, "1")
    began = time.monotonic()
    fetch([file], tmp_path)
    assert time.monotonic() - began >= 1.0
    assert file.target.read_bytes() == index.wheels[file.name]


def test_retry_after_accepts_dates_and_seconds() -> None:
    def get_delay(header: str, **others: str) -> float:
        answer = httpx.Response(503, headers={"Retry-After": header} | others)
        request = httpx.Request("GET", "http://server/file")
        return download.get_retry_after(
            httpx.HTTPStatusError("busy", request=request, response=answer)
        )

    at = datetime.now(UTC) + timedelta(seconds=50)
    assert 40 < get_delay(format_datetime(at, usegmt=True)) <= 50
    assert get_delay(format_datetime(at - timedelta(hours=1), usegmt=True)) == 0
    assert get_delay("17") == 17
    assert get_delay("soon") == get_delay("") == get_delay("-3") == 0
    # The server's time counts: the clock of this computer may be wrong.
    server = format_datetime(at + timedelta(days=1000, seconds=-20), usegmt=True)
    assert get_delay(format_datetime(at + timedelta(days=1000), usegmt=True), Date=server) == 20
    # Neither "-0000" nor an impossible zone fails: the first is UTC, without the second this computer's time counts.
    later = format_datetime(at + timedelta(days=1000), usegmt=True)
    assert get_delay(later, Date=server.replace("GMT", "-0000")) == 20
    assert get_delay(later, Date=server.replace("GMT", "+9999999999999")) > 1e6


def test_long_retry_delay_fails_and_is_reported(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.busy[file.name] = (429, 1, "5400")
    with pytest.raises(ProblemError) as caught:
        fetch([file], tmp_path)
    assert "429" in str(caught.value.problems[0].what)
    assert "1 h 30 min" in str(caught.value.problems[0].what)


def test_size_request_to_a_busy_server_is_retried(index: Index, tmp_path: Path) -> None:
    log = SetupLog(tmp_path / "log.txt")
    file = file_of(index, "alpha", tmp_path, known=False)
    index.busy[file.name] = (503, 2, "")
    assert download.measure_sizes([file], StopFlag(), log)[0].size == len(index.wheels[file.name])
    index.refused[file.name] = 405
    assert download.measure_sizes([file], StopFlag(), log)[0].size is None
    log.close()


@pytest.mark.parametrize("known", [True, False])
def test_canceling_does_not_wait_for_a_silent_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 120.0)
    monkeypatch.setattr(download, "_END", 120.0)  # the threads have ended by then
    stop = StopFlag()
    log = SetupLog(tmp_path / "log.txt")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/alpha.whl"
        file = DownloadFile("alpha.whl", url, tmp_path / "alpha.whl", 1000 if known else None)

        def work() -> None:
            if known:
                list(download.fetch([file], "Downloading", stop, log))
            else:
                download.measure_sizes([file], stop, log)

        def cancel_on_request() -> None:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(60.0)
                connection.recv(1)
                stop.ask()
                while connection.recv(1 << 16):  # until the client disconnects
                    pass

        server = threading.Thread(target=cancel_on_request)
        server.start()
        try:
            with pytest.raises(SetupCancelledError):
                work()
        finally:
            server.join()
    log.close()


def test_lost_network_is_a_problem_and_keeps_the_partial_file(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    file.part.write_bytes(index.wheels[file.name][:300_000])
    index.cut[file.name] = (0, None)
    with pytest.raises(ProblemError) as caught:
        fetch([file], tmp_path)
    assert caught.value.problems[0].code == "engine.download"
    assert file.part.stat().st_size == 300_000
    del index.cut[file.name]
    fetch([file], tmp_path)
    assert index.sent[file.name] == (file.size or 0) - 300_000


def test_canceled_download_resumes_at_its_offset(index: Index, tmp_path: Path) -> None:
    file, stop = file_of(index, "alpha", tmp_path), StopFlag()
    index.held[file.name] = 2 << 16
    log = SetupLog(tmp_path / "log.txt")

    def cancel_in_the_middle() -> None:
        for event in download.fetch([file], "Downloading", stop, log):
            if event.done > 100_000:
                stop.ask()

    with pytest.raises(SetupCancelledError):
        cancel_in_the_middle()
    log.close()
    came = file.part.stat().st_size
    assert 100_000 <= came < SIZE
    index.freed.set()
    fetch([file], tmp_path)
    assert index.starts[-1] == (file.name, came)
    assert file.target.read_bytes() == index.wheels[file.name]


def test_local_files_are_copied_and_verified(index: Index, tmp_path: Path) -> None:
    source = tmp_path / "Räder und mehr" / "alpha-1.0-py3-none-any.whl"
    source.parent.mkdir()
    source.write_bytes(index.wheels[source.name])
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    target = tmp_path / "downloads" / source.name
    file = DownloadFile(source.name, source.as_uri(), target, source.stat().st_size, digest)
    fetch([file], tmp_path)
    assert target.read_bytes() == source.read_bytes()
    wrong = DownloadFile(source.name, source.as_uri(), tmp_path / "other.whl", None, "0" * 64)
    with pytest.raises(ProblemError, match="checksum"):
        fetch([wrong], tmp_path)


def test_unknown_sizes_are_requested(index: Index, tmp_path: Path) -> None:
    log = SetupLog(tmp_path / "log.txt")
    file = file_of(index, "alpha", tmp_path, known=False)
    assert download.measure_sizes([file], StopFlag(), log)[0].size == len(index.wheels[file.name])
    log.close()


def test_index_password_is_used_for_its_files_and_not_shown(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.user = "zoë:pa ss"
    host = index.url.removeprefix("http://")
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://zo%C3%AB:pa%20ss@{host}/simple")
    file = file_of(index, "beta", tmp_path)
    fetch([file], tmp_path)
    assert file.target.exists()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://zoe:wrong@{host}/simple")
    other = file_of(index, "alpha", tmp_path)
    with pytest.raises(ProblemError) as caught:
        fetch([other], tmp_path)
    assert "wrong" not in str(caught.value)


def test_full_disk_is_reported(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_continue", full)
    with pytest.raises(ProblemError) as caught:
        fetch([file_of(index, "alpha", tmp_path)], tmp_path)
    assert caught.value.problems[0].code == "disk.full"


def test_named_index_takes_its_user_from_variables(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.user = "zoë:pa=ss"
    monkeypatch.setenv("UV_INDEX", f"my-own={index.simple}")
    monkeypatch.setenv("UV_INDEX_MY_OWN_USERNAME", "zoë")
    monkeypatch.setenv("UV_INDEX_MY_OWN_PASSWORD", "pa=ss")
    file = file_of(index, "beta", tmp_path)
    fetch([file], tmp_path)
    assert file.target.exists()


def test_pip_proxy_is_used_for_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    request_lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def answer() -> None:
            connection, _ = proxy.accept()
            with connection:
                request_lines.append(connection.recv(1 << 16).partition(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        server = threading.Thread(target=answer)
        server.start()
        monkeypatch.setenv("PIP_PROXY", f"127.0.0.1:{proxy.getsockname()[1]}")
        url = "http://files.example/alpha.whl"
        with pytest.raises(ProblemError, match="404"):
            fetch([DownloadFile("alpha.whl", url, tmp_path / "alpha.whl", 10)], tmp_path)
        server.join()
    assert request_lines == [b"GET http://files.example/alpha.whl HTTP/1.1"]


@pytest.mark.parametrize(
    ("name", "value", "code", "word"),
    [
        ("ALL_PROXY", "sOcks9://proxy:port", "engine.proxy", "proxy"),
        ("SSL_CERT_FILE", "no such file.pem", "engine.certificates", "certificate file"),
        ("SSL_CERT_FILE", "a text", "engine.certificates", "certificate file"),
    ],
)
def test_invalid_proxy_or_certificate_file_is_reported(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    code: str,
    word: str,
) -> None:
    (tmp_path / "a text").write_text("no certificate")
    value = str(tmp_path / value) if name == "SSL_CERT_FILE" else value
    monkeypatch.setenv(name, value)
    with pytest.raises(ProblemError) as caught:
        fetch([file_of(index, "alpha", tmp_path)], tmp_path)
    assert caught.value.problems[0].code == code
    assert word in str(caught.value.problems[0].what)
    assert name in str(caught.value.problems[0].remedy)


@pytest.mark.parametrize("year", [2001, 2090])
def test_certificate_date_error_blames_the_clock_without_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.01)
    certificate = certificates.make(tmp_path, datetime(year, 1, 1), datetime(year + 1, 1, 1))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    index = Index()
    index.add(make_wheel("alpha"))
    with serve(index, certificate):
        file = file_of(index, "alpha", tmp_path, known=False)
        with pytest.raises(ProblemError) as fetched:
            fetch([file], tmp_path)
        log = SetupLog(tmp_path / "sizes.txt")
        with pytest.raises(ProblemError) as measured:
            download.measure_sizes([file], StopFlag(), log)
        log.close()
    for caught in (fetched, measured):
        assert caught.value.problems[0].code == "engine.clock"
        assert "127.0.0.1" in str(caught.value.problems[0].what)
        assert f"{datetime.now():%Y-%m}" in str(caught.value.problems[0].what)
    text = (tmp_path / "log.txt").read_text()
    assert "attempt 1" in text
    assert "attempt 2" not in text


def test_invalid_address_fails_immediately(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        fetch([DownloadFile("a.whl", "http://host:port/a.whl", tmp_path / "a.whl")], tmp_path)
    assert caught.value.problems[0].code == "engine.download"


@pytest.mark.slow
def test_download_of_a_killed_process_resumes_at_its_offset(index: Index, tmp_path: Path) -> None:
    file = file_of(index, "alpha", tmp_path)
    index.held[file.name] = 4 << 16
    script = textwrap.dedent(f"""
        from pathlib import Path
        from lora_studio.setup import download
        from lora_studio.setup.tools import SetupLog, StopFlag
        file = download.DownloadFile({file.name!r}, {file.url!r}, Path({str(file.target)!r}),
                             {file.size}, {file.sha256!r})
        log = SetupLog(Path({str(tmp_path / "log")!r}))
        list(download.fetch([file], "Downloading", StopFlag(), log))
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    while not (file.part.exists() and file.part.stat().st_size > 200_000):
        time.sleep(0.01)
    process.kill()
    process.wait()
    came = file.part.stat().st_size
    assert came < SIZE
    index.freed.set()
    fetch([file], tmp_path)
    assert index.starts[-1] == (file.name, came)
    assert file.target.read_bytes() == index.wheels[file.name]
