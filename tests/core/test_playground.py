"""Saved conversations and votes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core import chat, formatting
from lora_studio.core.chat import AdapterChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.playground import (
    AnswerVersion,
    Conversation,
    Playground,
    Turn,
    TurnAnswers,
    Vote,
    count_votes,
    to_csv,
)
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import create_run


def talk(*answers: str) -> Conversation:
    turns = tuple(
        Turn(user=f"Question {n}").put(1, TurnAnswers().add(AnswerVersion(text=text)))
        for n, text in enumerate(answers)
    )
    return Conversation(
        chat_models=(AdapterChatModel(), AdapterChatModel()), system="Be brief.", turns=turns
    )


def test_column_history_contains_its_own_answers() -> None:
    conversation = talk("one", "two").with_turn(1, Turn(user="And now?"))
    history = [(each.role, each.content) for each in conversation.build_messages(1, 1)]
    assert history == [
        ("system", "Be brief."),
        ("user", "Question 0"),
        ("assistant", "one"),
        ("user", "And now?"),
    ]
    # The other column didn't answer the first question, but roles still alternate.
    assert [each.role for each in conversation.build_messages(0, 1)] == ["system", "user"]


def test_regenerated_answer_keeps_earlier_versions() -> None:
    answers = TurnAnswers().add(AnswerVersion(text="first")).add(AnswerVersion(text="second"))
    assert answers.current == AnswerVersion(text="second")
    assert answers.model_copy(update={"shown": 0}).current == AnswerVersion(text="first")


def test_branch_keeps_the_original_conversation(tmp_path: Path) -> None:
    playground = Playground(tmp_path)
    before = talk("one", "two")
    playground.save(before)
    branch = before.branch(1)
    playground.save(branch)
    assert playground.load_conversations()[0] == branch
    assert {each.id: len(each.turns) for each in playground.load_conversations()} == {
        before.id: 2,
        branch.id: 1,
    }


def test_saved_conversation_is_first_after_the_clock_is_set_back(tmp_path: Path) -> None:
    playground = Playground(tmp_path)
    before, after = Conversation(draft="before"), Conversation(draft="after")
    playground.save(before)
    os.utime(playground.get_file(before), (time.time() + 86_400,) * 2)
    playground.save(after)
    assert playground.load_conversations() == [after, before]
    playground.save(before)
    assert playground.load_conversations() == [before, after]


def test_conversations_load_with_chat_models_and_skip_torn_files(
    tmp_path: Path,
) -> None:
    playground = Playground(tmp_path)
    mix = (WeightedAdapter(folder="/a", weight=0.5), WeightedAdapter(folder="/b"))
    who = (
        AdapterChatModel(adapters=mix),
        GgufChatModel(file="/m.gguf"),
        OllamaChatModel(name="m:latest"),
    )
    conversation = Conversation(chat_models=who, draft="not sent yet")
    playground.save(conversation)
    (playground.folder / "conversation-torn.json").write_text('{"id": ')
    assert playground.load_conversations() == [conversation]
    assert conversation.title == "not sent yet"
    assert [chat.get_chat_model_key(each) for each in who] == ["a × 0.5 + b", "m.gguf", "m:latest"]


def test_votes_are_counted_with_ties_as_half_and_exported(tmp_path: Path) -> None:
    playground = Playground(tmp_path)
    for winner in (0, 0, 1, None):
        playground.vote(
            Vote(prompt="Hi, you", names=("base", "tuned"), answers=("a", "b"), winner=winner)
        )
    counts = {
        each.name: (each.votes, each.wins, each.rate)
        for each in count_votes(playground.load_votes())
    }
    assert counts == {"base": (4, 2, 0.625), "tuned": (4, 1, 0.375)}
    lines = to_csv(playground.load_votes()).splitlines()
    assert lines[0].startswith("time,prompt,winner,name_1,answer_1")
    assert lines[4].endswith('Z,"Hi, you",tie,base,a,tuned,b')


def test_unreadable_votes_are_never_overwritten(tmp_path: Path) -> None:
    playground = Playground(tmp_path)
    playground.folder.mkdir()
    playground.votes_file.write_text("[torn")
    with pytest.raises(ProblemError):
        playground.vote(Vote(prompt="x", names=("a", "b"), answers=("1", "2")))
    assert playground.votes_file.read_text() == "[torn"


def test_run_offers_its_adapter_checkpoints_and_gguf_files(tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    assert chat_models.list_run_chat_models(run) == []
    for folder in (run.adapter, run.checkpoint(20), run.checkpoint(40)):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
    run.gguf.mkdir()
    for name in ("x-Q4_K_M", "x-adapter"):
        (run.gguf / f"{name}.gguf").write_text("")
    (run.adapter / "tokenizer_config.json").write_text("{}")
    options = chat_models.list_run_chat_models(run)
    assert [str(each.title) for each in options] == [
        "Adapter",
        "Checkpoint, step 40",
        "Checkpoint, step 20",
        "x-Q4_K_M.gguf",
    ]
    assert isinstance(options[-1].chat_model, GgufChatModel)
    assert options[-1].chat_model.tokenizer == str(run.adapter)
    assert chat.get_chat_model_key(options[1].chat_model) == f"{run.path.name}, step-00000040"
    assert (
        chat.format_chat_model_name(options[1].chat_model)
        == f"{formatting.format_run_name(run.path.name)}, step 40"
    )
    assert options[0].run == formatting.format_run_name(run.path.name)
    run.write_about(RunAnnotations(title="My best"))
    assert chat_models.list_run_chat_models(run)[0].run == "My best"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x/../../../notes"},
        {"chat_models": []},
        {"chat_models": [{"kind": "base"}] * 4},
        {"created": 1e300},
        {"turns": [{"user": "Hi", "answers": [{"takes": [{"text": "Yo"}], "shown": 3}]}]},
        {"turns": [{"user": "Hi", "answers": [{"takes": [{"text": "Yo"}], "shown": -2}]}]},
    ],
)
def test_impossible_conversation_is_skipped(changes: dict[str, Any], tmp_path: Path) -> None:
    playground = Playground(tmp_path)
    playground.save(talk("Yo"))
    content = json.loads(Conversation().model_dump_json()) | changes
    (playground.folder / "conversation-y.json").write_text(json.dumps(content))
    assert len(playground.load_conversations()) == 1


def test_saved_conversation_does_not_choose_the_host() -> None:
    hosts = ("http://127.0.0.1:1234", "http://models.example", "127.0.0.1#@models.example")
    chat_models = tuple(OllamaChatModel(name="m", host=host) for host in hosts)
    moved = Conversation(chat_models=chat_models).with_ollama_host("http://my.example")
    assert [each.host for each in moved.chat_models if isinstance(each, OllamaChatModel)] == [
        "http://127.0.0.1:1234", "http://my.example", "http://my.example"
    ]  # fmt: skip


def test_files_with_the_names_before_chat_models_are_read() -> None:
    conversation = talk("one")
    vote = Vote(
        prompt="?", names=("m",), answers=("x",), winner=0, chat_models=conversation.chat_models[:1]
    )
    for stored in (conversation, vote):
        old = stored.model_dump_json().replace('"chat_model', '"speaker')
        assert "speaker" in old
        assert type(stored).model_validate_json(old) == stored
