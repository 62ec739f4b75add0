"""Chat in columns: adapters switched and blended on one base model, answers streamed together."""

from __future__ import annotations

import inspect
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    ChatQuestion,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
    Sampling,
    to_ollama_options,
)
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.system import locks
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.chat import turn_scheduler
from lora_studio.engine.chat.session import Session
from lora_studio.engine.devices import lock
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.generation import batched
from lora_studio.engine.generation.token_sampling import TokenSampler
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import Flags, JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.llama_cpp import Llama
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers.ollama_server import fake_ollama

TALK = (
    Message(role="system", content="Answer briefly."),
    Message(role="user", content="Which lamp burns longest?"),
    Message(role="assistant", content="The last one."),
    Message(role="user", content="Which is lit last?"),
)
GREEDY = Sampling(temperature=0, max_tokens=12)
DRAWN = Sampling(temperature=1.5, top_p=0.9, top_k=40, min_p=0.01, max_tokens=12, seed=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and two adapters of different ranks."""
    folder = tmp_path_factory.mktemp("chat")
    base = tiny_model("llama3", folder / "base")
    random_adapter(base, folder / "style", seed=1)
    random_adapter(base, folder / "facts", seed=2, r=8)
    return folder


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    new_session = Session()
    yield new_session
    new_session.close()


def blend(models: Path, **weights: float) -> AdapterChatModel:
    chosen = (WeightedAdapter(folder=str(models / name), weight=w) for name, w in weights.items())
    return AdapterChatModel(adapters=tuple(chosen))


def ask(
    session: Session, models: Path, *chat_models: AnyChatModel, sampling: Sampling = GREEDY
) -> tuple[dict[int, events.Answered], Recorder]:
    """Return the answers by column and a recorder of all events."""
    job, recorder = recorded_job()
    session.run_command(question(models, *chat_models, sampling=sampling), job)
    return {event.column: event for event in recorder.of(events.Answered)}, recorder


def question(
    models: Path, *chat_models: AnyChatModel, sampling: Sampling = GREEDY
) -> commands.AskChat:
    return commands.AskChat(
        model=ModelSpec(source=str(models / "base"), device="cpu", precision="fp32"),
        asked=tuple(
            ChatQuestion(column=column, chat_model=chat_model, messages=TALK, sampling=sampling)
            for column, chat_model in enumerate(chat_models)
        ),
    )


def greedy(network: Any, models: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(models / "base")
    turns = [{"role": turn.role, "content": turn.content} for turn in TALK]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).input_ids
    new_session = network.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
    text = str(tokenizer.decode(new_session[0, ids.shape[1] :], skip_special_tokens=True))
    return text.removesuffix("\ufffd")  # answers end without a character that is cut


@pytest.mark.slow
def test_blend_logits_match_peft_weighted_adapter(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat_models: list[loading.LoadedModel] = []
    load = loading.load

    def recording_load(*args: Any) -> loading.LoadedModel:
        chat_models.append(load(*args))
        return chat_models[-1]

    monkeypatch.setattr(loading, "load", recording_load)
    session = Session()
    ask(session, models, blend(models, style=0.7, facts=-0.4))
    (loaded,) = chat_models
    base = AutoModelForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, str(models / "style"), adapter_name="style")
    tuned.load_adapter(str(models / "facts"), adapter_name="facts")
    tuned.add_weighted_adapter(["style", "facts"], [0.7, -0.4], "blend", combination_type="cat")
    tuned.set_adapter("blend")
    ids = torch.tensor([[1, 5, 9, 30, 44]])
    with torch.no_grad():
        expected = tuned(ids).logits
        logits = loaded.model(ids).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
        with tuned.disable_adapter():
            plain = tuned(ids).logits
    assert (logits - plain).abs().max() > 0.1
    session.close()


@pytest.mark.slow
def test_columns_share_one_base_and_answer_as_if_alone(session: Session, models: Path) -> None:
    chat_models = (
        AdapterChatModel(),
        blend(models, style=1.0),
        blend(models, style=0.5, facts=0.5),
    )
    session.close()
    together, recorder = ask(session, models, *chat_models)
    assert len(recorder.of(events.ModelLoaded)) == 1
    alone = {
        column: ask(session, models, chat_model)[0][0].text
        for column, chat_model in enumerate(chat_models)
    }
    assert {column: answer.text for column, answer in together.items()} == alone
    assert len(set(alone.values())) == 3
    base = AutoModelForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    assert alone[0] == greedy(base, models)
    assert alone[1] == greedy(PeftModel.from_pretrained(base, str(models / "style")), models)


def test_seed_gives_same_answer_alone_and_beside_others(session: Session, models: Path) -> None:
    together, _ = ask(
        session,
        models,
        AdapterChatModel(),
        AdapterChatModel(),
        blend(models, facts=1),
        sampling=DRAWN,
    )
    assert together[0].text == together[1].text
    alone, _ = ask(session, models, blend(models, facts=1), sampling=DRAWN)
    assert alone[0].text == together[2].text
    other, _ = ask(
        session, models, AdapterChatModel(), sampling=DRAWN.model_copy(update={"seed": 5})
    )
    assert other[0].text != together[0].text


def test_streamed_pieces_form_answer_with_token_statistics(session: Session, models: Path) -> None:
    answers, recorder = ask(session, models, AdapterChatModel())
    text = ""
    for event in recorder.of(events.AnswerGrew):
        text = text[: event.start] + event.text
    assert answers[0].text.startswith(text)
    assert answers[0].tokens == 12
    assert answers[0].ending == "length"
    assert answers[0].prompt_tokens > 20
    assert answers[0].seconds >= answers[0].first_s > 0
    assert (answers[0].tokens_per_s or 0) > 0


def test_cancel_keeps_partial_answer_and_loaded_model(session: Session, models: Path) -> None:
    job, recorder = recorded_job()
    recorder.on_event = lambda event: event.kind == "answer_grew" and job.flags.cancel.set()
    endless = Sampling(temperature=0, max_tokens=60_000)
    with pytest.raises(CancelledError):
        session.run_command(
            question(models, AdapterChatModel(), blend(models, style=1), sampling=endless), job
        )
    stopped = recorder.of(events.Answered)
    assert [answer.ending for answer in stopped] == ["stopped"] * len(stopped)
    assert stopped[0].text
    assert ask(session, models, AdapterChatModel())[0][0].tokens == 12  # the model is still loaded


def test_retrained_adapter_is_reloaded(session: Session, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "style", tmp_path / "own")
    before, _ = ask(session, models, blend(tmp_path, own=1))
    random_adapter(models / "base", tmp_path / "own", seed=9)
    after, _ = ask(session, models, blend(tmp_path, own=1))
    assert before[0].text != after[0].text


def test_models_that_no_column_uses_leave_before_others_load(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FolderChatModel(folder=str(tiny_model("llama3", tmp_path / "other")))
    networks: list[weakref.ref[Any]] = []
    alive: list[int] = []
    load = loading.load

    def recording_load(*args: Any) -> loading.LoadedModel:
        alive.append(sum(network() is not None for network in networks))
        loaded = load(*args)
        networks.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(loading, "load", recording_load)
    session = Session()
    ask(session, models, AdapterChatModel())
    ask(session, models, other)
    assert alive == [0, 0]
    model = question(models, other).model
    both = commands.OpenChat(model=model, chat_models=(AdapterChatModel(), other))
    session.run_command(both, recorded_job()[0])
    assert alive == [0, 0, 1]
    ask(session, models, AdapterChatModel())
    ask(session, models, other)
    assert alive == [0, 0, 1]
    session.close()


def test_chat_without_columns_in_torch_holds_no_model(models: Path) -> None:
    session, model = Session(), question(models, AdapterChatModel()).model
    memory = []
    for chat_models in ((AdapterChatModel(),), ()):
        job, recorder = recorded_job()
        session.run_command(commands.OpenChat(model=model, chat_models=chat_models), job)
        memory += [ready.memory_bytes for ready in recorder.of(events.ChatReady)]
    assert memory[0] > memory[1] == 0


def test_failing_column_leaves_other_columns_unaffected(
    session: Session, models: Path, tmp_path: Path
) -> None:
    other = tiny_model("phi3", tmp_path / "other")
    foreign = random_adapter(other, tmp_path / "foreign")
    chat_models = (
        AdapterChatModel(),
        AdapterChatModel(adapters=(WeightedAdapter(folder=str(foreign)),)),
    )
    answers, recorder = ask(
        session, models, *chat_models, FolderChatModel(folder=str(tmp_path / "none"))
    )
    assert list(answers) == [0]
    refused = {event.column: event.problem for event in recorder.of(events.AnswerRefused)}
    assert refused[1].code == "merging.foreign_adapter"
    assert refused[2].code == "chat.no_model"


def test_prompt_is_shown_as_tokens_with_special_tokens(models: Path) -> None:
    job, recorder = recorded_job()
    spec = ModelSpec(source=str(models / "base"), device="cpu")
    Session().run_command(
        commands.ShowPrompt(model=spec, chat_model=AdapterChatModel(), messages=TALK), job
    )
    (shown,) = recorder.of(events.PromptShown)
    assert not recorder.of(events.ModelLoaded), "another window may train on the GPU"
    tokenizer = loading.load_tokenizer(models / "base")
    assert [token.id for token in shown.tokens] == tokenizer(
        shown.text, add_special_tokens=False
    ).input_ids
    assert "".join(token.text for token in shown.tokens) == shown.text
    special = [token.text for token in shown.tokens if token.special]
    assert special[0] == "<|begin_of_text|>"
    assert special.count("<|eot_id|>") == 4


def test_ollama_server_streams_answers_and_reports_errors(
    session: Session, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_scheduler, "UPDATE_INTERVAL", 0.0)  # send every word
    with fake_ollama() as server:
        chat_model = OllamaChatModel(name="harbour", host=server.host)
        answers, recorder = ask(session, models, chat_model, AdapterChatModel())
        assert answers[0].text == "last? lit is Which "
        assert answers[0].ending == "end"
        assert answers[1].tokens == 12
        assert len([e for e in recorder.of(events.AnswerGrew) if e.column == 0]) > 1
        server.faults.chat_error = "out of tea"
        refused = ask(session, models, chat_model)[1].of(events.AnswerRefused)
        assert "out of tea" in str(refused[0].problem.what)
    gone = ask(session, models, chat_model)[1].of(events.AnswerRefused)
    assert gone[0].problem.code == "ollama.not_running"


def test_chat_refuses_gpu_that_a_job_holds(
    session: Session, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path))
    gpu = locks.DeviceIdentity("cuda-7", "RTX 4090")
    monkeypatch.setattr(lock, "get_lockable_devices", lambda spec: [gpu])
    taken = locks.lock_devices([gpu], locks.LockHolder("/runs/x", "training"), lambda *_: None)
    with pytest.raises(ProblemError) as caught:
        ask(session, models, AdapterChatModel())
    assert caught.value.problems[0].code == "chat.device_busy"
    assert "in use by the run x" in str(caught.value.problems[0].what)
    taken[0].release()
    assert ask(session, models, AdapterChatModel())[0][0].tokens == 12
    assert locks.find_holder(gpu) is None  # released between answers


@pytest.mark.parametrize("parts", [(Llama.generate, Llama._create_chain), (TokenSampler, batched)])
def test_every_sampling_setting_is_used(parts: tuple[Any, ...]) -> None:
    source = "".join(map(inspect.getsource, parts))
    assert [name for name in Sampling.model_fields if f"sampling.{name}" not in source] == []


def test_ollama_knows_every_sampling_setting() -> None:
    # The options of its api/types.go; it ignores others with a line in its log.
    known = {
        "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature", "repeat_penalty",
        "presence_penalty", "frequency_penalty",
    }  # fmt: skip
    assert to_ollama_options(Sampling()).keys() <= known


@pytest.mark.slow
def test_gguf_merged_and_adapter_give_same_answer(session: Session, tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, quantizations=("F16",))
    job, _ = recorded_job()
    merge.merge(run, job)
    conversion.write(run, run.load_project(), job)
    file = str(run.get_gguf_file("Harbour", "F16"))
    tuned = AdapterChatModel(adapters=(WeightedAdapter(folder=str(run.adapter)),))
    with_template = GgufChatModel(file=file, tokenizer=str(run.adapter))
    chat_models = (
        tuned,
        FolderChatModel(folder=str(run.merged)),
        with_template,
        GgufChatModel(file=file),
    )
    # Few tokens: for a tiny model the candidates are nearly equal, and a merge rounds.
    few = GREEDY.model_copy(update={"max_tokens": 6})
    answers, recorder = ask(session, tmp_path, *chat_models, sampling=few)
    assert not recorder.of(events.AnswerRefused)
    assert len({answer.text for answer in answers.values()}) == 1
    assert len({answer.prompt_tokens for answer in answers.values()}) == 1
    penalized = few.model_copy(update={"repetition_penalty": 1.8})
    strict, recorder = ask(session, tmp_path, *chat_models, sampling=penalized)
    assert not recorder.of(events.AnswerRefused)
    assert strict[0].text == strict[1].text == strict[2].text
    assert not answers[0].text.startswith(strict[0].text)
    shown = prompts(session, tmp_path, chat_models[0], with_template)
    assert [t.id for t in shown[0].tokens] == [t.id for t in shown[1].tokens]
    assert shown[0].text == shown[1].text == "".join(token.text for token in shown[1].tokens)
    merged_tokens = GgufChatModel(file=file, tokenizer=str(run.merged))
    assert not ask(session, tmp_path, merged_tokens, sampling=few)[1].of(events.AnswerRefused)
    checksums.record_checksums(run, run.adapter)
    (run.merged / "chat_template.jinja").unlink()  # although the session has loaded the model
    with (run.adapter / "tokenizer_config.json").open("a") as damaged:
        damaged.write(" ")
    _, recorder = ask(session, tmp_path, *chat_models[:3], merged_tokens, sampling=few)
    refused = {event.column: event.problem.code for event in recorder.of(events.AnswerRefused)}
    adapter, merged = "run.damaged_adapter", "run.damaged_merged"
    assert refused == {0: adapter, 1: merged, 2: adapter, 3: merged}


def prompts(session: Session, models: Path, *chat_models: AnyChatModel) -> list[events.PromptShown]:
    recorder = Recorder()
    for chat_model in chat_models:
        job = JobContext("test", recorder, Flags())  # type: ignore[arg-type]  # has what a job needs
        spec = ModelSpec(source=str(models / "base"), device="cpu")
        session.run_command(
            commands.ShowPrompt(model=spec, chat_model=chat_model, messages=TALK), job
        )
    return recorder.of(events.PromptShown)


def test_shortened_answer_is_sent_from_its_new_end() -> None:
    """As when a stop word is complete and gets removed."""

    class Answer:
        tokens = 3

        def get_text(self) -> str:
            return "Yes"

    job, recorder = recorded_job()
    answer = turn_scheduler.ColumnAnswer(0, Answer())  # type: ignore[arg-type]  # has what is used
    answer.sent = "Yes, and"
    answer.send_update(job)
    assert answer.sent == "Yes"
    (grew,) = recorder.of(events.AnswerGrew)
    assert (grew.start, grew.text) == (3, "")
