"""Generation: torch and llama.cpp agree, answers end at the trained token, and can be canceled."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from lora_studio.core.chat import Sampling
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import TextSource
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message
from lora_studio.engine import jobs
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.generation import answering, direct_decoder, turn_boundaries
from lora_studio.engine.generation.batched import use_mask
from lora_studio.engine.generation.direct_decoder import can_decode_directly
from lora_studio.engine.generation.group_sampling import GroupSampling, sample_groups
from lora_studio.engine.kernels import sequence_packing
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.llama_cpp import Llama, should_add_bos
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import FAMILIES, TEMPLATES, tiny_model
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers.ollama_server import fake_ollama

CONVERSATIONS = (
    (Message(role="user", content="Which lamp burns longest?"),),
    (Message(role="user", content="And?"),),
    (
        Message(role="user", content="Please answer in one short sentence."),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="What does it come to in all, 42 crates or 3.50 each?"),
    ),
)


LEARNED = ("The one lit last, said the keeper.", "He writes every ship down.", "They come to 147.")


def memorize(run: RunFolder) -> None:
    """Train the adapter on `LEARNED`, so that no rounding decides between two tokens."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(run.load_project().model.source)
    model = PeftModel.from_pretrained(base, run.adapter, is_trainable=True)
    tokenizer = load_tokenizer(run.adapter)
    optimizer = torch.optim.AdamW(
        (weight for weight in model.parameters() if weight.requires_grad), lr=0.01
    )
    batch = []
    for conversation, answer in zip(CONVERSATIONS, LEARNED, strict=True):
        turns = [turn.model_dump(include={"role", "content"}) for turn in conversation]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        batch.append((prompt, tokenizer(answer, add_special_tokens=False).input_ids))
    for _ in range(100):
        for prompt, answer in batch:
            labels = [-100] * len(prompt) + answer
            model(torch.tensor([prompt + answer]), labels=torch.tensor([labels])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(run.adapter)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a tiny Llama with its adapter, merged model and 16-bit GGUF file."""
    new_run = tiny_run("llama3", tmp_path_factory.mktemp("run"), quantizations=("F16",))
    memorize(new_run)
    job, _ = recorded_job()
    merge.merge(new_run, job)
    conversion.write(new_run, new_run.load_project(), job)
    return new_run


def answers(
    run: RunFolder, *sources: TextSource, max_tokens: int = 12, **settings: float
) -> tuple[dict[str, list[events.Generated]], Recorder]:
    job, recorder = recorded_job()
    command = commands.Generate(
        run=str(run.path),
        sources=sources,
        conversations=CONVERSATIONS,
        max_tokens=max_tokens,
        **settings,
    )
    jobs.run_command(command, job)
    by_source: dict[str, list[events.Generated]] = {source: [] for source in sources}
    for event in recorder.of(events.Generated):
        by_source[event.source].append(event)
    for generated in by_source.values():
        generated.sort(key=lambda event: event.index)
        assert [event.index for event in generated] == [0, 1, 2]
    return by_source, recorder


def texts(generated: list[events.Generated]) -> list[str]:
    return [event.text for event in generated]


# --- by torch ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_batch_gives_the_same_answers_as_single_prompts(run: RunFolder) -> None:
    generated, _ = answers(run, "tuned")
    project = run.load_project()
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    base = AutoModelForCausalLM.from_pretrained(project.model.source, dtype=torch.float32)
    tuned = answering.with_adapter(base, run)
    for conversation, event in zip(CONVERSATIONS, generated["tuned"], strict=True):
        ids = tokenizer.apply_chat_template(
            [turn.model_dump(include={"role", "content"}) for turn in conversation],
            add_generation_prompt=True,
            return_dict=False,
        )
        for _ in range(12):
            ids.append(int(tuned(torch.tensor([ids])).logits[0, -1].argmax()))
        assert event.text == tokenizer.decode(ids[-12:], skip_special_tokens=True)
        assert (event.tokens, event.finished) == (12, False)


@pytest.mark.slow
def test_merged_model_answers_like_the_adapter_unlike_the_base(
    run: RunFolder,
) -> None:
    generated, recorder = answers(run, "base", "tuned", "merged")
    assert texts(generated["base"]) != texts(generated["tuned"])
    assert texts(generated["merged"])[0] == texts(generated["tuned"])[0]
    assert len(recorder.of(events.ModelLoaded)) == 2  # base and tuned share one


def test_sampling_follows_the_seed(run: RunFolder) -> None:
    first, repeated, other = (
        texts(answers(run, "tuned", temperature=1.0, seed=seed)[0]["tuned"]) for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other


def test_answer_ends_at_the_trained_end_of_turn_token(run: RunFolder) -> None:
    tokenizer = loading.load_tokenizer(run.adapter)
    end = turn_boundaries.create_turn_end_criteria(tokenizer, [1, 5])
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") in end.ids
    assert {1, 5} <= set(end.ids)
    assert end.text == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_end_of_turn_token(family: str, tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny_model(family, tmp_path))
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    assert end.text == ""
    marks = tokenizer.convert_ids_to_tokens(list(end.ids))
    expected = {
        "llama3": "<|eot_id|>", "qwen3": "<|im_end|>", "gemma2": "<end_of_turn>", "gemma3": "<end_of_turn>",
        "mistral": "</s>", "phi3": "<|end|>", "granite": "<|end_of_text|>",
        "smollm3": "<|im_end|>", "qwen3_moe": "<|im_end|>",
    }  # fmt: skip
    assert expected[family] in marks


def test_end_marker_without_a_token_is_cut_as_text(tmp_path: Path) -> None:
    tokenizer = loading.load_tokenizer(tiny_model("mistral", tmp_path))
    tokenizer.chat_template = (TEMPLATES / "chatml.jinja").read_text("utf-8")
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    assert end.text == "<|im_end|>"
    assert end.cut("Yes.<|im_end|>\nmore") == ("Yes.", True)
    assert end.cut("Yes. And") == ("Yes. And", False)


# --- by llama.cpp -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(run: RunFolder) -> Path:
    return run.get_gguf_file("Harbour", "F16")


@pytest.fixture
def llama(file: Path) -> Iterator[Llama]:
    with Llama(file, context=1024) as opened:
        yield opened


def test_llama_cpp_matches_tokens_and_logits_of_torch(run: RunFolder, llama: Llama) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run.merged)
    text = "<|begin_of_text|>The keeper laughed.  42 crates\n\n你好 🙂<|eot_id|>" * 30
    ids = llama.tokenize(text)
    assert ids == tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) > 600  # more than one batch
    positions = [0, 1, 511, 512, len(ids) - 1]
    network = AutoModelForCausalLM.from_pretrained(run.merged, dtype=torch.float32)
    expected = network(torch.tensor([ids])).logits[0, positions].detach().numpy()
    np.testing.assert_allclose(llama.compute_logits(ids, positions), expected, atol=0.02)


def test_llama_cpp_logs_only_errors(
    file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Llama(file, context=256) as llama:
        llama.compute_logits(llama.tokenize("The harbour master"), [0])
    assert capfd.readouterr() == ("", "")
    (tmp_path / "torn.gguf").write_bytes(b"torn")
    with pytest.raises(ProblemError):
        Llama(tmp_path / "torn.gguf")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "torn.gguf" in shown.err


def test_greedy_tokens_follow_the_logits_up_to_the_limit(llama: Llama) -> None:
    ids = llama.tokenize("The harbour master")
    tokens = list(llama.generate(ids, Sampling(temperature=0, max_tokens=7)))
    assert len(tokens) == 7
    for token in tokens:
        assert token == int(llama.compute_logits(ids, [len(ids) - 1]).argmax())
        ids.append(token)


def test_llama_cpp_sampling_follows_the_seed(llama: Llama) -> None:
    ids = llama.tokenize("The harbour master")
    first, repeated, other = (
        list(llama.generate(ids, Sampling(max_tokens=8, temperature=2.0, top_p=0.9, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other


def test_answer_ends_at_the_context_limit(file: Path) -> None:
    with Llama(file, context=256) as llama:
        ids = (llama.tokenize("la ") * 250)[:250]
        assert (
            len(list(llama.generate(ids, Sampling(temperature=0, max_tokens=100)))) == 256 - 250 + 1
        )


def compute_for_ever(llama: Llama, ids: list[int]) -> None:
    while True:
        llama.compute_logits(ids, [0])


def test_cancel_stops_a_llama_cpp_computation(file: Path) -> None:
    flag = threading.Event()
    with Llama(file, context=1024, cancelled=flag.is_set) as llama:
        ids = llama.tokenize("The harbour master")
        began = time.monotonic()
        threading.Timer(0.2, flag.set).start()
        with pytest.raises(CancelledError):
            compute_for_ever(llama, ids)
        assert time.monotonic() - began < 300  # without the cancel, it never ends


def test_adds_bos_is_read_from_the_file(file: Path) -> None:
    assert should_add_bos(file) is True


def test_gguf_file_answers_like_the_tuned_model(run: RunFolder) -> None:
    generated, _ = answers(run, "tuned", "gguf", max_tokens=4)
    assert texts(generated["gguf"]) == texts(generated["tuned"])
    assert [event.tokens for event in generated["gguf"]] == [4, 4, 4]


# --- all together -----------------------------------------------------------------------------


def test_ollama_uses_project_name_and_command_settings(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.host)
        generated, _ = answers(run, "ollama", max_tokens=3)
    assert texts(generated["ollama"])[0] == "longest? burns lamp "
    assert [event.finished for event in generated["ollama"]] == [False, True, False]


def test_cancel_stops_an_answer_between_tokens(run: RunFolder) -> None:
    job, _ = recorded_job()
    command = commands.Generate(
        run=str(run.path), sources=("tuned",), conversations=CONVERSATIONS, max_tokens=900
    )
    threading.Timer(1.0, job.flags.cancel.set).start()
    with pytest.raises(CancelledError):
        jobs.run_command(command, job)


@pytest.mark.parametrize(
    ("source", "missing", "code"),
    [
        ("tuned", "adapter", "chat.no_adapter"),
        ("merged", "merged", "chat.not_merged"),
        ("gguf", "gguf", "chat.no_gguf"),
    ],
)
def test_missing_model_is_reported_with_its_step(
    source: TextSource, missing: str, code: str, run: RunFolder, tmp_path: Path
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(copy.path / missing)
    with pytest.raises(ProblemError) as caught:
        answers(copy, source)
    assert caught.value.problems[0].code == code


def test_conversation_rejected_by_template_is_a_problem(tmp_path: Path) -> None:
    run = tiny_run("gemma3", tmp_path)
    two = (Message(role="user", content="a"), Message(role="user", content="b"))
    command = commands.Generate(run=str(run.path), sources=("base",), conversations=(two,))
    with pytest.raises(ProblemError) as caught:
        jobs.run_command(command, recorded_job()[0])
    assert caught.value.problems[0].code == "chat.refused_by_template"


_PROMPTS = [[5, 6, 7, 8, 9, 10], [40, 41, 42], [100]]
_SAMPLING = GroupSampling(answers=3, max_tokens=12, rows=9, seed="0 1")


def adapt(folder: Any, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """Return a tiny model with an adapter that changes its answers, and biases where its family may have them."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attention_bias=True)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "o_proj", "up_proj"], **config)
    model = get_peft_model(network, lora)
    torch.manual_seed(3)
    for name, value in model.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            value.data.normal_(std=0.3)
    return model.eval()


@pytest.mark.parametrize("family", ["llama3", "qwen3"])
def test_direct_answers_equal_those_of_the_model(tiny: TinyModel, family: str) -> None:
    model, tokenizer = adapt(tiny(family)), load_tokenizer(tiny(family))
    assert can_decode_directly(model)
    by_model = sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None)
    for rows in (9, 4, 1):
        sampling = replace(_SAMPLING, rows=rows)
        directly = sample_groups(
            model, tokenizer, _PROMPTS, sampling, lambda _: None, directly=True
        )
        assert directly == by_model, rows
    with model.disable_adapter():
        base = sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None, directly=True)
    assert base != by_model


def test_rows_that_end_leave_the_others_unchanged(tiny: TinyModel) -> None:
    model = adapt(tiny("llama3"))
    ids, mask = direct_decoder.pad_left(_PROMPTS, 0)

    def decode(rows: list[int], kept: list[int]) -> torch.Tensor:
        cache = direct_decoder.prefix_cache.create_cache(model)
        direct_decoder.compute_logits(model, ids, cache, mask=mask)
        decoder = direct_decoder.DirectDecoder(model, cache, mask, rows)
        decoder.compute_logits([20 + row for row in range(len(rows))])
        decoder.keep(kept)
        return decoder.compute_logits([30 + row for row in kept])

    every = decode([0, 0, 1, 2, 2], [0, 1, 2, 3, 4])
    torch.testing.assert_close(decode([0, 0, 1, 2, 2], [1, 3, 4]), every[[1, 3, 4]])
    torch.testing.assert_close(decode([0, 0, 1, 2, 2], [2]), every[[2]])


def test_bfloat16_logits_are_close_to_those_of_the_model(tiny: TinyModel) -> None:
    model = adapt(tiny("llama3"), torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert can_decode_directly(model)


def test_models_with_other_parts_are_left_to_transformers(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not can_decode_directly(adapt(tiny("llama3"), use_dora=True))
    assert not can_decode_directly(adapt(tiny("gemma3")))
    model = adapt(tiny("llama3"))
    assert can_decode_directly(model)
    monkeypatch.setattr(direct_decoder._Layer, "finish", lambda self, x, attended: x)
    assert not can_decode_directly(model)


def test_checks_between_layers_also_run_while_writing_directly(tiny: TinyModel) -> None:
    model, tokenizer = adapt(tiny("llama3")), load_tokenizer(tiny("llama3"))
    calls: list[int] = []

    def check(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:  # two blocks for the prompts, two for a token
            raise MemoryError

    for block in model.get_base_model().model.layers:
        block.register_forward_pre_hook(check)
    with pytest.raises(MemoryError):
        sample_groups(model, tokenizer, _PROMPTS, _SAMPLING, lambda _: None, directly=True)


CPU = torch.device("cpu")


class ReadValues(TorchDispatchMode):
    """Counts the values that Python reads from tensors: on a GPU, it would wait for each."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=["llama3", "gemma3"])
def model(request: pytest.FixtureRequest, tiny: TinyModel) -> PreTrainedModel:
    """Return a model without a sliding window, and one whose rows are longer than it."""
    settings = {"sliding_window": 8} if request.param == "gemma3" else {}
    network = AutoModelForCausalLM.from_pretrained(
        tiny(request.param), dtype=torch.float32, **settings
    )
    assert isinstance(network, PreTrainedModel)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(12, 9), (12, 12)], ids=["padded", "unpadded"])
def test_known_mask_gives_the_same_states_unread(
    model: PreTrainedModel, lengths: Sequence[int]
) -> None:
    decoder: Any = model.get_decoder()
    ids = torch.arange(24).view(2, 12) + 5
    mask = (torch.arange(12) < torch.tensor(lengths)[:, None]).long()
    with ReadValues() as read:
        expected = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    assert read.count > 0
    with use_mask(mask, CPU) as known, ReadValues() as read:
        states = decoder(input_ids=ids, attention_mask=known, use_cache=False).last_hidden_state
    assert read.count == 0
    torch.testing.assert_close(states[mask == 1], expected[mask == 1])


@torch.no_grad()
def test_packed_rows_are_not_searched_for(model: PreTrainedModel) -> None:
    decoder: Any = model.get_decoder()
    assert sequence_packing.enable_packing(model, decoder)
    with sequence_packing.use_packed_rows(), ReadValues() as read:
        decoder(
            input_ids=torch.arange(12)[None] + 5,
            position_ids=sequence_packing.build_position_ids((7, 5), CPU),
            documents=(7, 5),
            use_cache=False,
        )
    assert read.count == 0
