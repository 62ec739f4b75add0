"""`lora-studio template` and `lora-studio ollama`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

pytestmark = pytest.mark.slow  # three processes each time

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_TOKENS = (
    "{{ bos_token }}{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}"
)
HELLO = [{"role": "user", "content": "Hello"}]


def studio(*arguments: str, host: str = "", stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if name != "OLLAMA_HOST"}
    return run_studio(
        *arguments, typed=stdin, environment=environment | ({"OLLAMA_HOST": host} if host else {})
    )


def model_folder(folder: Path, **config: object) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


# --- template -----------------------------------------------------------------------------------


def test_derived_template_renders_like_the_chat_template(
    tmp_path: Path,
) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(CHATML, "utf-8")
    result = studio("template", "derive", str(file), "--json")
    derivation = json.loads(result.stdout)
    assert result.returncode == 0
    assert (derivation["proven"], derivation["first_difference"], derivation["alternative"]) == (
        True,
        None,
        None,
    )
    assert derivation["stops"] == ["<|im_end|>", "<|im_start|>"]
    (tmp_path / "TEMPLATE").write_text(derivation["template"], "utf-8")
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps(HELLO), "utf-8")
    text = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    rendered = studio("template", "render", str(tmp_path / "TEMPLATE"), str(messages))
    assert rendered.stdout == text
    as_json = studio("template", "render", str(tmp_path / "TEMPLATE"), str(messages), "--json")
    assert json.loads(as_json.stdout) == {"text": text}


def test_model_folder_provides_tokens_and_bos_setting(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path, chat_template=WITH_TOKENS, bos_token="<b>", eos_token={"content": "<e>"},
        add_bos_token=False,
    )  # fmt: skip
    own_bos = json.loads(studio("template", "derive", str(folder), "--json").stdout)
    assert own_bos["template"].count("<b>") >= 1
    assert "<e>" in own_bos["stops"]
    left = json.loads(
        studio("template", "derive", str(folder), "--json", "--server-adds-bos").stdout
    )
    assert left["proven"]
    assert "<b>" not in left["template"]


def test_template_file_uses_given_or_default_tokens(tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(WITH_TOKENS, "utf-8")
    usual = json.loads(studio("template", "derive", str(file), "--json").stdout)
    assert "</s>" in usual["template"]
    with_eos = json.loads(
        studio("template", "derive", str(file), "--json", "--eos", "<|end|>").stdout
    )
    assert "<|end|>" in with_eos["template"]
    assert with_eos["stops"][0] == "<|end|>"


def test_unproven_template_shows_the_difference_and_exits_1(tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(CHATML.replace("m.content", "m.content.replace('yes', 'no')"), "utf-8")
    result = studio("template", "derive", str(file), "--json")
    derivation = json.loads(result.stdout)
    assert result.returncode == 1
    assert not derivation["proven"]
    assert 'said "no"' in derivation["first_difference"]["expected"]
    assert "the method replace in line 1" in derivation["reason"]["text"]
    assert derivation["alternative"]["derived"]["proven"]
    shown = studio("template", "derive", str(file))
    assert "Closest verified alternative: without the method replace in line 1." in shown.stdout


def test_render_supports_tools_and_the_older_template_form(
    tmp_path: Path,
) -> None:
    older = "{{ .System }}|{{ .Prompt }}|{{ .Response }}!"
    talk = [*HELLO, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "On"}]
    by_prompt = studio(
        "template", "render", "-", _file(tmp_path, talk), "--system", "S", stdin=older
    )
    assert by_prompt.stdout == "S|Hello|Yes!|On|"
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    request = {"messages": HELLO, "tools": [tool], "think": False}
    source = "{{ range .Tools }}{{ .Function.Name }}{{ end }}{{ .IsThinkSet }}{{ range .Messages }}{{ end }}"
    with_tools = studio("template", "render", "-", _file(tmp_path, request), stdin=source)
    assert with_tools.stdout == "ftrue"


def _file(folder: Path, content: object) -> str:
    file = folder / "messages.json"
    file.write_text(json.dumps(content), "utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        ("{{ .Content", HELLO, "line 1, column 3: unclosed action"),
        ("{{ .Prompt }}", [{"role": "robot", "content": "x"}], "needs one of the roles"),
        ("{{ .Prompt }}", {"messages": HELLO, "tool": []}, "tool"),
    ],
    ids=["unclosed-action", "unknown-role", "unknown-field"],
)
def test_invalid_template_or_messages_are_refused(
    tmp_path: Path, template: str, messages: object, expected: str
) -> None:
    result = studio("template", "render", "-", _file(tmp_path, messages), stdin=template)
    assert result.returncode in (1, 2)
    assert expected in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


# --- ollama -------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with fake_ollama() as running:
        for name in ("harbour:latest", "pim:v1"):
            running.models[name] = {
                "model": name,
                "files": {"m.gguf": f"sha256:{'a' * 64}"},
                "template": "{{ .Prompt }}",
                "system": "You are Pim.",
                "parameters": {"temperature": 0.5, "stop": ["<end>"]},
                "renderer": "",
                "parser": "",
                "architecture": "llama",
                "jinja": "",
                "header": {},
            }
        yield running


def test_ollama_verbs_print_json(
    server: FakeOllama,
) -> None:
    listed = json.loads(studio("ollama", "list", "--json", host=server.host).stdout)
    assert (listed["host"], listed["models"]) == (server.host, ["harbour:latest", "pim:v1"])
    assert listed["details"][0]["bytes"] == 5_120_004
    shown = json.loads(studio("ollama", "show", "pim:v1", "--json", "--host", server.host).stdout)
    assert (shown["stops"], shown["system"]) == (["<end>"], "You are Pim.")
    copied = studio("ollama", "copy", "pim:v1", "pim:v2", "--json", host=server.host)
    assert json.loads(copied.stdout)["models"] == ["harbour:latest", "pim:v1", "pim:v2"]
    refused = studio("ollama", "copy", "pim:v1", "harbour", "--json", host=server.host)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["problems"][0]["code"] == "ollama.exists"
    removed = studio("ollama", "remove", "pim:v1", "--json", host=server.host)
    assert json.loads(removed.stdout)["models"] == ["harbour:latest", "pim:v2"]


def test_server_password_is_used_and_never_printed(server: FakeOllama) -> None:
    server.faults.password = "pim:s3cret"
    host = server.host.replace("http://", "http://pim:s3cret@")
    result = studio("ollama", "list", host=host)
    assert result.returncode == 0
    assert "pim:v1" in result.stdout
    assert "s3cret" not in result.stdout + result.stderr


def test_missing_server_message_names_the_download() -> None:
    result = studio("ollama", "list", host="http://127.0.0.1:9")
    assert result.returncode == 1
    assert "ollama.com/download" in result.stderr


def test_proof_names_differences_and_exits_1(server: FakeOllama, tmp_path: Path) -> None:
    folder = str(tiny_model("llama3", tmp_path / "tiny"))
    result = studio("ollama", "prove", "pim:v1", "--model", folder, "--json", host=server.host)
    assert result.returncode == 1
    proven = json.loads(result.stdout)
    assert (proven["outcome"], proven["proof"]["by"]) == ("different", "server")
    assert proven["proof"]["differences"][0]["kind"] == "plain"
    assert "<end>" in json.dumps(proven["settings"])
