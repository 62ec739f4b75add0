"""New tokens: trained and merged as by PEFT itself, one token everywhere, refused where they can't hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.lora.adapters import AdapterMix, WeightedAdapter
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.chat.adapters import AdapterSwitch
from lora_studio.engine.export.gguf import adapter_gguf
from lora_studio.engine.lora import adapter_files, attach
from lora_studio.engine.merging import combining, merge
from lora_studio.engine.model import tokenizer as tokenizer_module
from lora_studio.engine.training import checkpoint_files
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import random_adapter
from tests.helpers.runs.jobs import make_job

TOKENS = ("<lamp>", "</lamp>")
SPEC = LoraSpec(rank=4, new_tokens=TOKENS)
TEXT = "Light the <lamp>blue</lamp> one"

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")


def make_adapter(base: Path, folder: Path, seed: int = 0) -> peft.PeftModel:
    """Save an adapter with new tokens and random weights as a run saves it; return the model with it."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tuple(tokenizer_module.extend(model, tokenizer, TOKENS))
    wrapped = attach.attach_adapter(model, SPEC, make_job(), token_ids=ids).eval()
    torch.manual_seed(seed)
    for value in wrapped.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.05)
    folder.mkdir(parents=True)
    checkpoint_files.write_adapter(wrapped, folder, tokenizer)
    return wrapped


@pytest.mark.parametrize("family", ["llama3", "mistral"])  # tied, and with a head of its own
@torch.no_grad()
def test_saved_and_merged_rows_equal_peft(family: str, tiny: TinyModel, tmp_path: Path) -> None:
    base, folder = tiny(family), tmp_path / "adapter"
    trained = make_adapter(base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    assert set(tokenizer.convert_tokens_to_ids(list(TOKENS))) <= set(ids[0].tolist())
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    loaded = peft.PeftModel.from_pretrained(plain, str(folder)).eval()
    assert torch.equal(loaded(ids).logits, trained(ids).logits)
    automatic = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    assert torch.equal(automatic.eval()(ids).logits, trained(ids).logits)
    merge.merge_folders(base, [adapter_files.read(folder)], tmp_path / "merged", merge.MergingSpec(dtype="fp32"), make_job())  # fmt: skip
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    theirs = loaded.merge_and_unload()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")(TEXT).input_ids == ids[0].tolist()
    if family == "mistral":  # llama.cpp's converter reads them from here
        listed = json.loads((tmp_path / "merged" / "added_tokens.json").read_text("utf-8"))
        assert listed == {token: tokenizer.convert_tokens_to_ids(token) for token in TOKENS}


@torch.no_grad()
def test_new_row_starts_as_mean_of_its_parts(tiny: TinyModel) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32)
    before = model.get_input_embeddings().weight.clone()
    added = tokenizer_module.extend(model, AutoTokenizer.from_pretrained(tiny("llama3")), TOKENS)
    for row, parts in added.items():
        assert len(parts) > 1
        assert torch.allclose(model.get_input_embeddings().weight[row], before[parts].mean(0))


@pytest.mark.slow
def test_new_tokens_are_counted(tiny: TinyModel, tmp_path: Path) -> None:
    for number, family in enumerate(("llama3", "mistral")):
        inspected = attach.inspect_model(ModelSpec(source=str(tiny(family))), SPEC, make_job())
        without = attach.inspect_model(ModelSpec(source=str(tiny(family))), LoraSpec(rank=4), make_job())  # fmt: skip
        assert inspected.adapter is not None
        assert without.adapter is not None
        rows = 2 * (1 + number) * inspected.hidden_size
        assert inspected.adapter.trainable == without.adapter.trainable + rows
        trained = attach.count_parameters(make_adapter(tiny(family), tmp_path / family))
        assert trained.model_dump(exclude={"targets", "time"}) == inspected.adapter.model_dump(exclude={"targets", "time"})  # fmt: skip


def test_existing_token_is_refused_before_training(tiny: TinyModel) -> None:
    spec = LoraSpec(new_tokens=("<lamp>", "<|eot_id|>"))
    inspected = attach.inspect_model(ModelSpec(source=str(tiny("llama3"))), spec, make_job())
    assert inspected.adapter_problem is not None
    assert inspected.adapter_problem.code == "lora.token_exists"
    assert "<|eot_id|>" in str(inspected.adapter_problem)


@pytest.mark.parametrize("tokens", [("",), (" a",), ("<a>", "<a>")])
def test_malformed_new_tokens_are_refused(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"empty entry|space|same token twice"):
        LoraSpec(new_tokens=tokens)


@pytest.mark.parametrize(
    ("lora", "training", "model"),
    [
        ({"adapter_type": "miss"}, {}, {}),
        ({"start_from": "a"}, {}, {}),
        ({"modules_to_save": ("lm_head",)}, {}, {}),
        ({}, {"teacher": "m"}, {}),
        ({}, {}, {"sharding": "shard"}),
        ({}, {"backend": "unsloth"}, {}),
    ],
)
def test_new_tokens_are_refused_with_what_cannot_train_them(
    lora: dict[str, Any], training: dict[str, Any], model: dict[str, Any]
) -> None:
    spec, recipe = LoraSpec(**lora, new_tokens=TOKENS), TrainingSpec(**training)
    found = combinations.check(ModelSpec(source="m", **model), spec, recipe)
    assert any("oken" in str(problem.what) for problem in found), found


def test_mixes_that_cannot_hold_new_tokens_are_refused(tiny: TinyModel, tmp_path: Path) -> None:
    base, folder = tiny("llama3"), tmp_path / "adapter"
    make_adapter(base, folder)
    other = random_adapter(base, tmp_path / "other")
    second = Path(shutil.copytree(folder, tmp_path / "second"))
    assert adapter_gguf.explain_unsupported(adapter_files.read(folder)) is not None
    for pair in ([(other, 1.0), (folder, 1.0)], [(folder, 1.0), (second, 1.0)], [(folder, 0.5)]):
        read = [adapter_files.read(path, weight) for path, weight in pair]
        with pytest.raises(ProblemError, match="new tokens"):
            merge.make_plan(base, read, merge.MergingSpec())
        mix = AdapterMix(name="m", adapters=tuple(WeightedAdapter(folder=str(path), weight=weight) for path, weight in pair))  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        with pytest.raises(ProblemError, match="new tokens"):
            AdapterSwitch(model).to(mix)
    merge.make_plan(base, [adapter_files.read(folder), adapter_files.read(other)], merge.MergingSpec())  # fmt: skip
    command = commands.CombineAdapters(
        adapters=tuple(WeightedAdapter(folder=str(path)) for path in (folder, other)),
        out=str(tmp_path / "out"),
    )
    with pytest.raises(ProblemError, match="new tokens"):
        combining.combine(command, make_job())
