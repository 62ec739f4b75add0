"""What a project asks for outside its folder, and the record of what was accepted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests, checks, project
from tests.helpers.accepted_projects import accept_project, list_new_requests


def load(folder: Path, body: str) -> project.Draft:
    folder.mkdir(exist_ok=True)
    (folder / "p.lorastudio").write_text(f'schema_version = 1\nname = "p"\n{body}', "utf-8")
    return project.load(folder)


CASES = [
    pytest.param('[model]\nsource = "./m"\ntrust_remote_code = true', ["code ./m"], id="model code"),
    pytest.param('[export]\nllama_cpp = "tools"', ["code tools"], id="llama.cpp"),
    pytest.param(
        '[export]\nollama_host = "http://models.example:11434"',
        ["send http://models.example:11434"],
        id="another Ollama",
    ),
    pytest.param('[export]\nollama_host = "models.example"', ["send models.example"], id="a name"),
    pytest.param('[export]\nollama_host = "127.0.0.1:11434"', [], id="own Ollama"),
    pytest.param('[export]\nollama_host = "127.0.0.1#@a.example"', ["send 127.0.0.1#@a.example"], id="two hosts"),
    pytest.param('[export]\nollama_host = "a.example//127.0.0.1"', ["send a.example//127.0.0.1"], id="host as a path"),
    pytest.param(
        '[training]\ntrackers = ["wandb", "tensorboard"]', ["send wandb"], id="tracker"
    ),
    pytest.param('[dataset]\nsources = ["../rows.jsonl"]', ["read ../rows.jsonl"], id="data above"),
    pytest.param('[dataset]\nsources = ["rows.jsonl"]', [], id="own data"),
    pytest.param('[dataset]\nsources = ["out/rows.jsonl"]', ["read {link}"], id="link"),
    pytest.param('[dataset]\nvalidation_file = "/etc/passwd"', ["read /etc/passwd"], id="held out"),
    pytest.param('[lora]\nstart_from = "~/adapter"', ["read ~/adapter"], id="adapter"),
    pytest.param('[merging]\nfurther = ["/a=0.5"]', ["read /a"], id="further adapter"),
    pytest.param('[model]\nsource = "/models/m"', ["read /models/m"], id="model elsewhere"),
    pytest.param('[model]\nsource = "org/m"', ["download org/m"], id="model of the Hub"),
    pytest.param('[model]\nsource = "builtin:SmolLM2-135M-Instruct"', [], id="built-in model"),
    pytest.param('[training]\nteacher = "org/large"', ["download org/large"], id="Hub teacher"),
    pytest.param('[training]\nteacher = "/models/large"', ["read /models/large"], id="teacher"),
    pytest.param('[dataset]\nsources = ["org/rows"]', ["download org/rows"], id="Hub data"),
    pytest.param('[export]\nlm_studio_folder = "/srv"', ["write /srv"], id="LM Studio"),
    pytest.param('[dataset]\nsources = [1, {path = 2}]', [], id="invalid values"),
    pytest.param('[dataset]\nvalidation_file = "~unknown-user/x\\u0000"', None, id="impossible path"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "keys"), CASES)
def test_project_asks_for_what_leaves_its_folder(
    body: str, keys: list[str] | None, tmp_path: Path
) -> None:
    draft = load(tmp_path / "p", body)
    (tmp_path / "p" / "out").symlink_to(tmp_path)
    requests = access_requests.list_requests(draft)
    if keys is None:
        assert [request.kind for request in requests] == ["read"]
    else:
        target = str((tmp_path / "rows.jsonl").resolve())
        assert [each.key for each in requests] == [key.format(link=target) for key in keys]


@pytest.fixture
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))


@pytest.mark.usefixtures("_own_configuration")
def test_accepted_requests_are_not_new_but_further_ones_are(tmp_path: Path) -> None:
    draft = load(tmp_path / "p", '[model]\nsource = "org/m"')
    assert not access_requests.is_known_project(tmp_path / "p" / "p.lorastudio")
    assert len(list_new_requests(draft)) == 1
    accept_project(draft)
    assert access_requests.is_known_project(tmp_path / "p" / "p.lorastudio")
    assert list_new_requests(draft) == []
    changed = load(
        tmp_path / "p", '[model]\nsource = "org/m"\n[export]\nollama_host = "evil.example"'
    )
    assert [request.kind for request in list_new_requests(changed)] == ["send"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"x": 1}', b"[" * 100_000])
@pytest.mark.usefixtures("_own_configuration")
def test_damaged_record_makes_projects_new_again(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "known_projects.json").write_bytes(content)
    draft = load(tmp_path / "p", '[model]\nsource = "org/m"')
    assert len(list_new_requests(draft)) == 1
    accept_project(draft)
    assert list_new_requests(draft) == []


def test_nothing_is_inside_of_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = load(tmp_path / "p", '[dataset]\nsources = ["rows.jsonl"]')
    for home in (tmp_path / "p", tmp_path / "p" / "user"):
        monkeypatch.setenv("HOME", str(home))
        assert [each.key for each in access_requests.list_requests(draft)] == ["read rows.jsonl"]


def test_link_is_shown_with_its_target(tmp_path: Path) -> None:
    draft = load(tmp_path / "p", '[dataset]\nsources = ["rows.jsonl"]')
    for target in ("secret", "other"):
        (tmp_path / "p" / "rows.jsonl").unlink(missing_ok=True)
        (tmp_path / "p" / "rows.jsonl").symlink_to(tmp_path / target)
        (request,) = access_requests.list_requests(draft)
        assert request.key == f"read {tmp_path / target}"
        assert str(tmp_path / target) in str(request.text)


def test_linked_folder_of_runs_is_asked_for(tmp_path: Path) -> None:
    draft = load(tmp_path / "p", "")
    (tmp_path / "disk").mkdir()
    (tmp_path / "p" / "runs").symlink_to(tmp_path / "disk")
    (request,) = access_requests.list_requests(draft)
    assert request.key == f"write {tmp_path / 'disk'}"


@pytest.mark.usefixtures("_own_configuration")
def test_judge_is_not_accepted_as_an_ollama_server(tmp_path: Path) -> None:
    ollama = load(tmp_path / "p", '[export]\nollama_host = "http://a.example"')
    reward = '[[training.rewards]]\nkind = "judge"\nmodel = "m"\naddress = "http://a.example"'
    judge = load(tmp_path / "q", reward)
    accept_project(ollama)
    assert access_requests.list_unallowed_judges(judge) == list_new_requests(judge)


#: What an attacker, or a broken disk, puts in the place of a value.
VALUES = [
    '"a\\u0000b"', '"~unknown-user/x"', f'"{"x" * 5000}"', f'"{"x/" * 3000}"', "nan", "inf", "-1", "[]", "{}",
    "9" * 400, "true", '[["a"]]', "[{a=1}]", "1979-05-27T07:32:00Z", '"\\ud800"', "'''", '"../../.."',
    '"/dev/zero"', '"<img src=x>"', "[" * 2000, '"\\u200b"',
]  # fmt: skip


def write(folder: Path, content: bytes) -> Path:
    file = folder / "p.lorastudio"
    file.write_bytes(content)
    return file


def load_and_check(file: Path) -> None:
    """Do what opening a project does."""
    try:
        draft = project.load(file)
    except ProblemError:
        return
    draft.list_problems()
    checks.check(draft)
    try:
        frozen = draft.freeze()
    except ProblemError:
        return
    frozen.resolve(file.parent)


@given(content=st.binary(max_size=200))
@example(content=b"\xff\xfe")
@example(content=b"name = 'a'\nname = 'b'")
@example(content=b"[model]\nsource='a'\n[model]\nsource='b'")
@example(content=b"a.b=1\n[a]\nb=2")
@example(content=b"x=" + b"[" * 5000)
def test_any_bytes_load_or_give_a_problem(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    load_and_check(write(tmp_path_factory.mktemp("project"), content))


@settings(max_examples=150)
@given(data=st.data())
def test_any_value_of_any_setting_loads_or_gives_a_problem(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("project")
    lines = []
    for step, spec in project.SPECS.items():
        lines.append(f"[{step}]")
        names = data.draw(st.lists(st.sampled_from(list(spec.model_fields)), max_size=4))
        lines += [f"{name} = {data.draw(st.sampled_from(VALUES))}" for name in names]
    load_and_check(write(folder, "\n".join(lines).encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize(
    ("field", "count"),
    [("training]\nsample_prompts", 20_000), ("merging]\nfurther", 5_000)],
    ids=["prompts", "adapters"],
)
def test_endless_list_is_a_problem(tmp_path: Path, field: str, count: int) -> None:
    entries = '"a", ' * count
    file = write(tmp_path, f"[{field} = [{entries}]".encode())
    (problem,) = project.load(file).list_problems()
    assert "more than 1,000 entries" in str(problem.what)
    assert len(str(problem.what)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_and_device_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.lorastudio"
    os.mkfifo(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    endless = tmp_path / "zero.lorastudio"
    endless.symlink_to("/dev/zero")
    for file in (pipe, endless):
        with pytest.raises(ProblemError):
            project.load(file)
