"""Evaluations of a tiny run: every kind of column, resumed, repeated from the cache, and with bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lora_studio.core.chat import (
    AdapterChatModel,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
    Sampling,
)
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.evaluation import storage
from lora_studio.core.evaluation.columns import Column, ServerModel
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.evaluation.summary import compute_means
from lora_studio.core.evaluation.test_sets import FileRows, HeldoutRows
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.evaluation import evaluation
from lora_studio.engine.evaluation.gguf_runner import create_gguf_runner
from lora_studio.engine.evaluation.runners import AnswerRequest
from lora_studio.engine.evaluation.test_sets import find_trained_prompts
from lora_studio.engine.evaluation.torch_runner import (
    TorchModels,
    create_model_runner,
    list_continuations,
)
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.merging import merge
from lora_studio.engine.runtime import llama_scores
from lora_studio.engine.runtime.llama_cpp import BATCH, Llama
from lora_studio.engine.runtime.llama_scores import ScoreRequest
from tests.helpers.runs.jobs import RecordingChannel, handle, recorded_job, write_rows
from tests.helpers.runs.tiny_run import heldout_rows, tiny_run

pytestmark = pytest.mark.slow

SHORT = Sampling(temperature=0.0, top_p=1.0, max_tokens=6)
METRICS = ("exact", "token_f1", "perplexity")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a tiny Llama with its adapter, merged model and 16-bit GGUF file."""
    new_run = tiny_run("llama3", tmp_path_factory.mktemp("run"), quantizations=("F16",))
    write_rows(new_run.path.parent.parent / "rows.jsonl", heldout_rows(60)[40:])
    job, _ = recorded_job()
    merge.merge(new_run, job)
    conversion.write(new_run, new_run.load_project(), job)
    return new_run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(evaluation, "get_cache_folder", lambda: tmp_path / "cache")


def make_plan(run: RunFolder, *keys: str, limit: int = 8, **fields: object) -> EvaluationPlan:
    columns = [each for each in chat_models.list_run_columns(run) if not keys or each.key in keys]
    settings = {
        "columns": tuple(columns),
        "test_sets": (HeldoutRows(limit=limit),),
        "metrics": METRICS,
        "sampling": SHORT,
    }
    return EvaluationPlan.model_validate(settings | fields)


def read_latest(run: RunFolder) -> EvaluationResults:
    results = storage.read_latest(run.evaluations_folder)
    assert results is not None
    return results


def evaluate(run: RunFolder, plan: EvaluationPlan) -> tuple[EvaluationResults, RecordingChannel]:
    channel = handle(commands.Evaluate(run=str(run.path), plan=plan))
    return read_latest(run), channel


def test_each_model_of_a_run_answers_and_is_scored(run: RunFolder) -> None:
    results, channel = evaluate(run, make_plan(run))
    assert channel.of(events.Failed) == []
    assert channel.of(events.ColumnRefused) == []
    assert [column.key for column in results.plan.columns] == ["base", "adapter", "merged", "F16"]
    assert results.is_complete
    assert len(results.answers) == 8 * 4
    perplexity = {
        column.key: compute_means(results, column.key)["heldout"]["perplexity"]
        for column in results.plan.columns
    }
    assert perplexity["merged"] == pytest.approx(perplexity["adapter"], rel=0.02)
    assert perplexity["F16"] == pytest.approx(perplexity["adapter"], rel=0.05)
    assert perplexity["base"] != pytest.approx(perplexity["adapter"], rel=0.02)
    same = [
        results.answers[item.id, "merged"].answer == results.answers[item.id, "F16"].answer
        for item in results.items
    ]
    assert sum(same) >= 6


def test_second_evaluation_comes_from_the_cache(run: RunFolder) -> None:
    plan = make_plan(run, "adapter", "F16")
    first, _ = evaluate(run, plan)
    second, channel = evaluate(run, plan)
    assert first.folder != second.folder
    assert channel.of(events.ModelLoaded) == []
    assert all(row.cached for row in second.answers.values())
    assert {key: row.answer for key, row in first.answers.items()} == {
        key: row.answer for key, row in second.answers.items()
    }


def test_interrupted_evaluation_continues_with_the_rest(run: RunFolder) -> None:
    plan = make_plan(run, "adapter")
    complete, _ = evaluate(run, plan)
    file = storage.EvaluationFolder(complete.folder).answers_file
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # as a kill leaves it
    assert len(storage.EvaluationFolder(complete.folder).read().answers) == 3
    command = commands.Evaluate(run=str(run.path), evaluation=complete.folder.name)
    channel = handle(command)
    assert channel.last(events.EvaluationStarted).answered == 3
    assert {key: row.answer for key, row in read_latest(run).answers.items()} == {
        key: row.answer for key, row in complete.answers.items()
    }


def test_foreign_evaluation_sends_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET", "x")
    model = ServerModel(address="http://127.0.0.1:9/v1", name="m", key_variable="AWS_SECRET")
    plan = make_plan(run, "adapter").model_copy(update={"columns": (Column(key="m", model=model),)})
    folder = storage.create_evaluation(run.evaluations_folder, plan)
    channel = handle(commands.Evaluate(run=str(run.path), evaluation=folder.path.name))
    assert channel.last(events.Failed).problem.code == "evaluation.plan_not_trusted"
    assert not folder.items_file.exists()


def test_pause_ends_an_evaluation_that_can_be_resumed(run: RunFolder) -> None:
    plan = make_plan(run, "adapter")
    channel = handle(
        commands.Evaluate(run=str(run.path), plan=plan),
        lambda event, flags: flags.pause.set() if event.kind == "evaluation_started" else None,
    )
    assert channel.last(events.Done).paused
    name = channel.last(events.EvaluationStarted).evaluation
    assert not read_latest(run).is_complete
    handle(commands.Evaluate(run=str(run.path), evaluation=name))
    assert read_latest(run).is_complete


def test_trained_rows_are_left_out_with_their_count(run: RunFolder, tmp_path: Path) -> None:
    rows = (run.path.parent.parent / "rows.jsonl").read_text("utf-8")
    trained = [json.loads(line) for line in rows.splitlines()]
    file = write_rows(tmp_path / "test.jsonl", [*trained[:3], *heldout_rows(4)])
    plan = make_plan(run, "base", test_sets=(FileRows(source=DataSource(path=str(file))),))
    results, _ = evaluate(run, plan)
    report = results.facts.test_sets[0]
    assert report.items >= 1
    assert report.trained + report.items + report.repeated == 7
    assert report.trained >= 2  # the validation split may have held one of the three out


def test_data_count_as_changed_by_their_content_alone(run: RunFolder) -> None:
    file, (job, _) = run.path.parent.parent / "rows.jsonl", recorded_job()
    content = file.read_bytes()
    (store,) = mixture.open_dataset(run.load_project().dataset, job).stores
    run.update_manifest(dataset={"sources": [{"sha256": store.sha256}]})
    try:
        os.utime(file, (1, 1))
        assert not find_trained_prompts(run, (), job).unchecked
        file.write_bytes(content + content.splitlines(keepends=True)[0])
        assert "changed" in str(find_trained_prompts(run, (), job).unchecked)
    finally:
        file.write_bytes(content)
        run.update_manifest(dataset=None)


def test_missing_models_are_refused_and_the_others_continue(run: RunFolder) -> None:
    gone = Column(key="gone", model=FolderChatModel(folder=str(run.path / "nowhere")))
    dead = Column(key="dead", model=ServerModel(address="http://127.0.0.1:9/v1", name="x"))
    ollama = Column(key="ollama", model=OllamaChatModel(name="x", host="http://127.0.0.1:9"))
    base = Column(key="base", model=AdapterChatModel())
    plan = make_plan(run, columns=(gone, dead, ollama, base))
    results, channel = evaluate(run, plan)
    refused = {event.column for event in channel.of(events.ColumnRefused)}
    assert refused == {"gone", "dead", "ollama"}
    assert channel.of(events.Failed) == []
    reports = {report.key: report for report in results.facts.columns}
    assert reports["base"].complete
    assert reports["dead"].unmeasured == ("perplexity",)
    assert all(reports[key].problem is not None for key in refused)


def test_evaluation_that_loses_its_gpu_ends(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(evaluation, "create_adapter_runner", lose)
    channel = handle(commands.Evaluate(run=str(run.path), plan=make_plan(run, "base", "adapter")))
    assert len(channel.of(events.Failed)) == 1
    assert channel.of(events.ColumnRefused) == []


def test_run_without_validation_rows_is_refused(run: RunFolder) -> None:
    run.update_manifest(heldout={"from": "training rows (no rows were held out)"})
    try:
        channel = handle(commands.Evaluate(run=str(run.path), plan=make_plan(run)))
    finally:
        run.update_manifest(heldout={"from": "validation rows"})
    assert channel.last(events.Failed).problem.code == "evaluation.nothing_held_out"


def test_llama_cpp_answers_together_as_alone(run: RunFolder) -> None:
    (file,) = chat_models.list_gguf_files(run)
    shared = "The keeper of the harbor writes every ship into the blue book before the tide turns. "
    texts = [f"{shared}{'And so on. ' * (n % 3)}Ship {n}:" for n in range(11)]
    with Llama(file, context=4096, sequences=llama_scores.SEQUENCES + 1) as llama:
        prompts = [llama.tokenize(text) for text in texts]
        together = dict(
            llama_scores.generate_together(
                llama, prompts, SHORT.model_copy(update={"max_tokens": 9})
            )
        )  # fmt: skip
    with Llama(file, context=512) as llama:
        alone = [
            list(llama.generate(prompt, Sampling(temperature=0, max_tokens=9)))
            for prompt in prompts
        ]
        ends = [answer and llama.is_end_of_generation(answer[-1]) for answer in alone]
    assert sorted(together) == list(range(11))
    for number, (answer, ended) in enumerate(zip(alone, ends, strict=True)):
        assert list(together[number].ids) == (answer[:-1] if ended else answer)
        assert together[number].ended == bool(ended)


def test_llama_cpp_scores_together_as_alone(run: RunFolder) -> None:
    """Requests of all kinds: a shared prompt, no target, more targets than sequences, a long text."""
    (file,) = chat_models.list_gguf_files(run)
    with Llama(file, context=2048, sequences=9) as llama:
        prompts = [llama.tokenize(f"Question {n}: which lamp burns longest?") for n in range(5)]
        targets = [
            tuple(llama.tokenize(text)) for text in ("the red one", "no lamp", "a lamp at sea")
        ]
        long = tuple(llama.tokenize("The keeper writes every ship into the blue book. " * 60))
        requests = [
            ScoreRequest(tuple(prompt), tuple(targets[:n])) for n, prompt in enumerate(prompts)
        ]
        requests += [
            ScoreRequest(long[:2], (long[2:], ())),
            ScoreRequest(long[:40], tuple(targets * 5)),
        ]
        assert len(long) > BATCH
        together = dict(llama_scores.score_together(llama, requests, sequences=9))
        reverse = dict(llama_scores.score_together(llama, requests[::-1], sequences=9))
        assert together == {len(requests) - 1 - at: scores for at, scores in reverse.items()}
        for index, request in enumerate(requests):
            assert together[index] == pytest.approx(
                [score_alone(llama, request.before, target) for target in request.targets], abs=1e-2
            )


def score_alone(llama: Llama, before: tuple[int, ...], target: tuple[int, ...]) -> float:
    """Return the log-likelihood of a target from the logits of the whole sequence."""
    whole = (*before, *target)
    positions = range(len(before) - 1, len(whole) - 1)
    logits = llama.compute_logits(whole[:-1], positions)
    rows = zip(logits, target, strict=True)
    return sum(llama_scores.compute_logprob(row, token) for row, token in rows)


def test_raw_prompts_begin_with_bos_in_torch_and_llama_cpp(run: RunFolder) -> None:
    """As in lm-eval: tokens of both, joined at the blank before the answer, and their log-likelihoods."""
    (file,) = chat_models.list_gguf_files(run)
    job, _ = recorded_job()
    prompt = "Question: Which ship is the oldest?\nAnswer: "
    item = EvaluationItem(
        id="a", test_set="raw", row=1, raw_prompt=prompt, choices=("the blue one", "no ship at all"), correct=0,
    )  # fmt: skip
    request = AnswerRequest(item, prompt)
    project = run.load_project()
    in_torch = create_model_runner(
        TorchModels(job), project, FolderChatModel(folder=str(run.merged))
    )
    in_llama_cpp = create_gguf_runner(
        project, GgufChatModel(file=str(file), tokenizer=str(run.merged)), job
    )
    tokenizer = in_torch.tokenizer
    (part, _) = list_continuations(tokenizer, request, in_torch._load())
    assert part.continuation.prompt[0] == tokenizer.bos_token_id
    ((_, expected),) = in_torch.score([request])
    ((_, scores),) = in_llama_cpp.score([request])
    assert scores.choices == pytest.approx(expected.choices, rel=1e-2)
    ((_, answer),) = in_torch.generate([request], SHORT)
    ((_, same),) = in_llama_cpp.generate([request], SHORT)
    assert (answer.prompt_tokens, answer.text) == (same.prompt_tokens, same.text)
    assert answer.prompt_tokens == len(tokenizer(prompt).input_ids)


def test_unknown_metric_fails_before_anything_is_computed(run: RunFolder) -> None:
    plan = make_plan(run, metrics=("beauty",))
    channel = handle(commands.Evaluate(run=str(run.path), plan=plan))
    assert channel.last(events.Failed).problem.code == "evaluation.unknown_measure"
    assert channel.of(events.ModelLoaded) == []
