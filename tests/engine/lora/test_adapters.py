"""Adapters on their own: listed, described, checked against a model, combined, imported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_studio.core.lora.adapters import (
    EMBEDS,
    METHODS,
    AdapterMix,
    Method,
    WeightedAdapter,
    parse_weighted,
)
from lora_studio.core.merging import MergingSpec
from lora_studio.core.model.embedding_files import (
    EmbeddingOutput,
    list_pooling_modes,
    read_pooling,
    write_modules,
)
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.facts import measure_sizes
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.tasks.samples import Message
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import (
    combining,
    imported_runs,
    library,
)
from lora_studio.engine.merging import (
    merge as merging_merge,
)
from lora_studio.engine.model import safetensors_files
from tests.helpers.models.tiny_models import ATTENTION, random_adapter, tiny_model
from tests.helpers.runs.jobs import handle, new_run, recorded_job

pytestmark = [
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:The density 1.0:UserWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pair(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of the same rank on different layers."""
    folder = tmp_path_factory.mktemp("pair")
    return [
        random_adapter(base, folder / "one", seed=1, target_modules=ATTENTION),
        random_adapter(base, folder / "two", seed=2, target_modules=["q_proj", "up_proj"]),
    ]


def problem(action: Callable[[], object]) -> str:
    with pytest.raises(ProblemError) as caught:
        action()
    return caught.value.problems[0].code


# --- listed and described ---------------------------------------------------------------------


def test_adapters_are_listed_from_runs_and_nested_folders(base: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "project", model={"source": str(base)})
    random_adapter(base, run.adapter)
    random_adapter(base, tmp_path / "elsewhere" / "deep" / "style")
    broken = tmp_path / "elsewhere" / "broken"
    broken.mkdir()
    (broken / adapter_files.CONFIG).write_text('{"peft_type": "LORA", "r": 4}', "utf-8")
    job, _ = recorded_job()
    result = {Path(f.folder): f for f in library.find_adapters([tmp_path], job)}
    assert set(result) == {run.adapter, tmp_path / "elsewhere" / "deep" / "style", broken}
    assert result[run.adapter].run == str(run.path)
    assert result[run.adapter].rank == 4
    assert result[run.adapter].base == str(base)
    assert result[broken].problem is not None


def test_layer_norm_is_that_of_the_full_update(pair: list[Path]) -> None:
    facts = library.show_adapter(pair[0], None, recorded_job()[0]).adapter
    tensors = load_file(pair[0] / adapter_files.WEIGHTS)
    for layer in facts.layers:
        a, b = (tensors[f"base_model.model.{layer.module}.lora_{h}.weight"] for h in "AB")
        assert layer.norm == pytest.approx(float((2 * b @ a).norm()), rel=1e-5)
    assert facts.parameters == sum(value.numel() for value in tensors.values())


def test_adapter_fits_only_its_own_model(base: Path, pair: list[Path], tmp_path: Path) -> None:
    other = tiny_model("phi3", tmp_path / "phi3")
    job, _ = recorded_job()
    own = library.fit(pair[0], ModelSpec(source=str(base)), job)
    assert own.fits
    assert not own.warning
    strange = library.fit(pair[0], ModelSpec(source=str(other)), job)
    assert not strange.fits
    assert "no model.layers.0.self_attn." in str(strange.reason)
    begun = random_adapter(base, tmp_path / "pissa", init_lora_weights="pissa")
    by_peft = library.fit(begun, ModelSpec(source=str(base)), job)
    assert by_peft.fits
    assert "pissa" in str(by_peft.warning)
    assert not library.fit(begun, ModelSpec(source=str(other)), job).fits
    result = library.find_adapters([pair[0], pair[1]], job)
    fits = library.check_compatibility(result, ModelSpec(source=str(other)), job)
    assert [each.fits for each in fits.values()] == [False, False]
    assert library.check_compatibility(result, ModelSpec(source=str(tmp_path / "none")), job) == {}
    alike = tiny_model("llama3", tmp_path / "alike")
    twin = library.fit(pair[0], ModelSpec(source=str(alike)), job)
    assert twin.fits
    assert "trained on" in str(twin.warning)


@pytest.mark.parametrize(
    ("text", "folder", "weight"),
    [
        ("a/b", "a/b", 1.0),
        ("a/b=0.5", "a/b", 0.5),
        ("a=-1", "a", -1.0),
        ("x=y/z", "x=y/z", 1.0),
        ("x=y/z=2", "x=y/z", 2.0),
    ],
)
def test_weighted_adapter_is_parsed(text: str, folder: str, weight: float) -> None:
    assert parse_weighted(text) == WeightedAdapter(folder=folder, weight=weight)


@pytest.mark.parametrize("text", ["a=nan", "a=half", "a="])
def test_invalid_weight_is_refused(text: str) -> None:
    assert problem(lambda: parse_weighted(text)) == "adapters.weight"


# --- combined ---------------------------------------------------------------------------------


def combined(
    pair: list[Path], out: Path, method: Method, layers: int = 10, **settings: Any
) -> Path:
    each = (WeightedAdapter(folder=str(pair[0]), weight=0.7), WeightedAdapter(folder=str(pair[1]), weight=-1.5))  # fmt: skip
    command = commands.CombineAdapters(adapters=each, out=str(out), method=method, **settings)
    job, _ = recorded_job()
    event = combining.combine(command, job)
    assert event.layers == layers
    return out


def by_peft(base: Path, pair: list[Path], method: str, **settings: Any) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = PeftModel.from_pretrained(model, pair[0], adapter_name="one")
    wrapped.load_adapter(pair[1], adapter_name="two")
    wrapped.add_weighted_adapter(["one", "two"], [0.7, -1.5], "new", method, **settings)
    return wrapped


def updates_of(wrapped: Any, name: str) -> dict[str, torch.Tensor]:
    return {
        key: module.get_delta_weight(name)
        for key, module in wrapped.named_modules()
        if hasattr(module, "get_delta_weight") and name in module.lora_A
    }


@pytest.mark.parametrize("method", ["cat", "svd", "linear", "ties", "magnitude_prune"])
def test_combined_adapter_equals_peft(
    method: Method, base: Path, pair: list[Path], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"density": 0.4} if method in ("ties", "magnitude_prune") else {}
    folder = combined(pair, tmp_path / "new", method, **settings)
    expected = updates_of(by_peft(base, pair, method, **settings), "new")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    result = updates_of(PeftModel.from_pretrained(model, folder), "default")
    assert result.keys() == expected.keys()
    exact = method not in ("cat", "svd")  # PEFT decomposes the large product in 32 bits
    for name, value in result.items():
        torch.testing.assert_close(
            value, expected[name], rtol=0, atol=0 if exact else 2e-5, msg=name
        )


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_follows_the_seed_and_full_density_drops_nothing(
    method: Method, pair: list[Path], tmp_path: Path
) -> None:
    def tensors(name: str, **settings: Any) -> dict[str, torch.Tensor]:
        return load_file(
            combined(pair, tmp_path / name, method, **settings) / adapter_files.WEIGHTS
        )

    one, same, other = tensors("a", seed=5), tensors("b", seed=5), tensors("c", seed=6)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    whole = tensors("d", density=1.0)
    plain: Method = "ties" if method == "dare_ties" else "linear"
    settings = {"density": 1.0} if plain == "ties" else {}
    without_dropping = load_file(
        combined(pair, tmp_path / "e", plain, **settings) / adapter_files.WEIGHTS
    )
    assert all(torch.equal(whole[name], without_dropping[name]) for name in whole)


def test_cat_is_the_exact_sum_and_adds_ranks(base: Path, pair: list[Path], tmp_path: Path) -> None:
    folder = combined(pair, tmp_path / "new", "cat")
    config = json.loads((folder / adapter_files.CONFIG).read_text("utf-8"))
    assert config["r"] == config["lora_alpha"] == 8
    tensors = load_file(folder / adapter_files.WEIGHTS)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    parts = [load_file(each / adapter_files.WEIGHTS) for each in pair]
    expected = sum(
        weight * 2 * part[name.format("B")] @ part[name.format("A")]
        for weight, part in zip((0.7, -1.5), parts, strict=True)
    )
    torch.testing.assert_close(tensors[name.format("B")] @ tensors[name.format("A")], expected)


def test_rslora_scale_is_not_applied_twice(base: Path, tmp_path: Path) -> None:
    one = random_adapter(base, tmp_path / "one", target_modules=["q_proj"], use_rslora=True)
    command = commands.CombineAdapters(
        adapters=(WeightedAdapter(folder=str(one)),), out=str(tmp_path / "new"), method="cat"
    )
    combining.combine(command, recorded_job()[0])
    (before, *_), (after, *_) = (
        library.show_adapter(folder, None, recorded_job()[0]).adapter.layers
        for folder in (one, tmp_path / "new")
    )
    assert after.norm == pytest.approx(before.norm, rel=1e-5)
    assert after.scale == 1.0


def test_unequal_ranks_combine_only_with_cat_and_svd(base: Path, tmp_path: Path) -> None:
    mixed = [
        random_adapter(base, tmp_path / str(r), r=r, target_modules=["q_proj"]) for r in (2, 4)
    ]
    each = tuple(WeightedAdapter(folder=str(folder)) for folder in mixed)
    for method in get_args(Method):
        command = commands.CombineAdapters(
            adapters=each, out=str(tmp_path / "out" / method), method=method
        )
        if method in ("cat", "svd"):
            event = combining.combine(command, recorded_job()[0])
            assert event.rank == (6 if method == "cat" else 4)
        else:
            result = problem(lambda c=command: combining.combine(c, recorded_job()[0]))
            assert result == "adapters.ranks_differ"
            assert not (tmp_path / "out" / method).exists()
    assert set(METHODS) == set(get_args(Method))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["DoRA", "fully trained head"],
)
def test_dora_and_fully_trained_modules_are_not_combined(
    settings: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    one = random_adapter(base, tmp_path / "one", **settings)
    command = commands.CombineAdapters(
        adapters=(WeightedAdapter(folder=str(one)),), out=str(tmp_path / "new")
    )
    assert problem(lambda: combining.combine(command, recorded_job()[0])) == "adapters.not_combined"


def test_frozen_embedding_is_kept_in_a_combination(base: Path, tmp_path: Path) -> None:
    targets = ["q_proj", "embed_tokens"]  # PEFT then saves the frozen embedding, too
    one, two = (
        random_adapter(base, tmp_path / str(s), seed=s, target_modules=targets) for s in (1, 2)
    )
    folder = combined([one, two], tmp_path / "new", "linear", layers=2 + 1)
    name = "base_model.model.model.embed_tokens.base_layer.weight"
    frozen = load_file(folder / adapter_files.WEIGHTS)[name]
    assert torch.equal(frozen, load_file(one / adapter_files.WEIGHTS)[name])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wrapped = PeftModel.from_pretrained(model, folder)
    embedding = wrapped.base_model.model.model.embed_tokens
    expected = by_peft(base, [one, two], "linear").base_model.model.model.embed_tokens
    assert torch.equal(embedding.get_delta_weight("default"), expected.get_delta_weight("new"))


# --- several in one merge ---------------------------------------------------------------------


def test_weighted_adapters_merge_like_peft(base: Path, pair: list[Path], tmp_path: Path) -> None:
    command = commands.MergeAdapters(
        base=ModelSpec(source=str(base)),
        adapters=(
            WeightedAdapter(folder=str(pair[0]), weight=0.7),
            WeightedAdapter(folder=str(pair[1]), weight=-1.5),
        ),
        out=str(tmp_path / "merged"),
    )
    channel = handle(command)
    assert channel.last(events.Done)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    wrapped = PeftModel.from_pretrained(model, pair[0], adapter_name="one")
    wrapped.load_adapter(pair[1], adapter_name="two")
    for module in wrapped.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("one", 0.7)
            module.set_scale("two", -1.5)
    expected = wrapped.merge_and_unload(adapter_names=["one", "two"]).state_dict()
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").state_dict()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_run_merges_further_adapters_with_their_weights(
    base: Path, pair: list[Path], tmp_path: Path
) -> None:
    further = (f"{pair[1]}=-1.5",)
    run = new_run(
        tmp_path, model={"source": str(base)}, merging={"weight": 0.7, "further": further}
    )
    (run.path / "adapter").mkdir()
    for file in pair[0].iterdir():
        (run.adapter / file.name).write_bytes(file.read_bytes())
    planned = merging_merge.preview_merge(run, run.load_project().merging, recorded_job()[0])
    assert planned.tensors_changed == 10
    assert planned.by_peft is None
    merging_merge.merge(run, recorded_job()[0])
    one = load_file(run.merged / safetensors_files.SINGLE)
    job, _ = recorded_job()
    both = [adapter_files.read(pair[0], 0.7), adapter_files.read(pair[1], -1.5)]
    merging_merge.merge_into(tmp_path / "again", base, both, MergingSpec(), job)
    two = load_file(tmp_path / "again" / safetensors_files.SINGLE)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_fully_trained_layer_is_not_weighted_or_merged_twice(base: Path, tmp_path: Path) -> None:
    whole: dict[str, Any] = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    one, two = (random_adapter(base, tmp_path / str(s), seed=s, **whole) for s in (1, 2))

    def merge(*merged: adapter_files.Adapter) -> None:
        merging_merge.merge_into(tmp_path / "m", base, merged, MergingSpec(), recorded_job()[0])

    assert problem(lambda: merge(adapter_files.read(one, 0.5))) == "merging.weighted_whole"
    assert (
        problem(lambda: merge(adapter_files.read(one), adapter_files.read(two)))
        == "merging.two_wholes"
    )


@pytest.mark.parametrize("initial", ["pissa_niter_4", "corda", "loftq"])
def test_adapter_whose_init_changed_the_base_is_refused(
    initial: str, pair: list[Path], tmp_path: Path
) -> None:
    for file in pair[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / adapter_files.CONFIG).read_text("utf-8"))
    (tmp_path / adapter_files.CONFIG).write_text(
        json.dumps(config | {"init_lora_weights": initial})
    )
    assert problem(lambda: adapter_files.read(tmp_path)) == "merging.changed_base"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[1, 2]", "merging.not_lora"),
        ('{"peft_type": "LORA", "lora_alpha": 8}', "merging.broken_settings"),
        ('{"peft_type": "LORA", "lora_alpha": 8, "r": 0}', "merging.broken_settings"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": null}', "merging.broken_settings"),
        (
            '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 0}}',
            "merging.broken_settings",
        ),
    ],
    ids=["list", "no rank", "rank 0", "no alpha", "rank 0 in pattern"],
)
def test_invalid_adapter_settings_are_listed_with_a_problem(
    content: str, code: str, pair: list[Path], tmp_path: Path
) -> None:
    for file in pair[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / adapter_files.CONFIG).write_text(content, "utf-8")
    (listed,) = library.find_adapters([tmp_path], recorded_job()[0])
    assert listed.problem is not None
    assert listed.problem.code == code


def test_pickled_adapter_is_never_opened(pair: list[Path], tmp_path: Path) -> None:
    (tmp_path / adapter_files.CONFIG).write_bytes((pair[0] / adapter_files.CONFIG).read_bytes())
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    assert problem(lambda: adapter_files.read(tmp_path)) == "merging.pickle"


# --- imported ---------------------------------------------------------------------------------


def test_run_can_start_from_an_imported_adapter(
    base: Path, pair: list[Path], tmp_path: Path
) -> None:
    run = new_run(tmp_path, model={"source": str(base)})
    channel = handle(commands.ImportAdapter(run=str(run.path), adapter=str(pair[0])))
    assert channel.last(events.AdapterSaved).folder == str(run.adapter)
    assert run.read_state() == "trained"
    assert run.read_manifest()["imported"]["from"] == str(pair[0])
    handle(commands.Merge(run=str(run.path)))
    assert run.read_state() == "merged"


def test_adapter_that_peft_cannot_merge_is_named(base: Path, tmp_path: Path) -> None:
    folder = random_adapter(base, tmp_path / "activated", alora_invocation_tokens=[5, 6])
    command = commands.MergeAdapters(
        base=ModelSpec(source=str(base)),
        adapters=(WeightedAdapter(folder=str(folder)),),
        out=str(tmp_path / "out"),
    )
    assert handle(command).last(events.Failed).problem.code == "merging.not_mergeable"


def test_damaged_adapter_of_a_run_is_not_used(base: Path, pair: list[Path], tmp_path: Path) -> None:
    run = new_run(tmp_path, model={"source": str(base)})
    handle(commands.ImportAdapter(run=str(run.path), adapter=str(pair[0])))
    (run.adapter / "tokenizer_config.json").unlink()
    model, chosen = ModelSpec(source=str(base)), (WeightedAdapter(folder=str(run.adapter)),)
    out = str(tmp_path / "out")
    other = str(new_run(tmp_path / "other", model={"source": str(base)}).path)
    for command in (
        commands.ImportAdapter(run=other, adapter=str(run.adapter)),
        commands.CombineAdapters(adapters=chosen, out=out),
        commands.MergeAdapters(base=model, adapters=chosen, merging=MergingSpec(), out=out),
        commands.Merge(run=str(run.path)),
    ):
        assert handle(command).last(events.Failed).problem.code == "run.damaged_adapter"
    assert not Path(out).exists()


def test_adapter_of_other_model_is_not_imported(
    base: Path, pair: list[Path], tmp_path: Path
) -> None:
    other = tiny_model("phi3", tmp_path / "phi3")
    run = new_run(tmp_path, model={"source": str(other)})
    job, _ = recorded_job()
    assert (
        problem(lambda: imported_runs.import_adapter(run, pair[0], job)) == "adapters.does_not_fit"
    )
    assert not run.adapter.exists()


def test_adapter_with_other_pooling_is_refused_before_copying(
    base: Path, pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(pair[0], tmp_path / "source"))
    config = source / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"task_type": EMBEDS}))
    write_modules(source, EmbeddingOutput("mean", 8, 64))
    module = source / "1_Pooling" / "config.json"
    module.write_text(json.dumps({"pooling_mode_cls_token": True}))
    run = new_run(tmp_path, model={"source": str(base)})
    before = sorted(run.path.rglob("*"))
    copied: list[object] = []
    monkeypatch.setattr(imported_runs, "copy_file", lambda *args: copied.append(args))
    job, _ = recorded_job()
    assert (
        problem(lambda: imported_runs.import_adapter(run, source, job))
        == "adapters.unsupported_pooling"
    )
    assert not copied
    assert sorted(run.path.rglob("*")) == before


@pytest.mark.parametrize("described", ["mean", "nothing"])
def test_imported_embedding_adapter_is_known_as_one(
    base: Path, pair: list[Path], tmp_path: Path, described: str
) -> None:
    source = Path(shutil.copytree(pair[0], tmp_path / "source"))
    config = source / "adapter_config.json"
    changed = json.loads(config.read_text()) | {"task_type": "FEATURE_EXTRACTION"}
    config.write_text(json.dumps(changed))
    if described == "mean":
        write_modules(source, EmbeddingOutput("mean", 8, 64))
    run = new_run(tmp_path, model={"source": str(base)})
    channel = handle(commands.ImportAdapter(run=str(run.path), adapter=str(source)))
    assert channel.of(events.AdapterSaved)
    manifest = run.read_manifest()
    pooling = "mean" if described == "mean" else "last"
    assert (get_task(manifest), manifest["embedding"]["pooling"]) == (TASKS["embedding"], pooling)
    mode = {"mean": "mean_tokens", "last": "lasttoken"}[pooling]
    assert list_pooling_modes(read_pooling(run.adapter) or {}) == [mode]
    (facts,) = library.find_adapters([source], recorded_job()[0])
    assert facts.use == "embedding"
    assert not measure_sizes(run).writes_text


def test_run_can_start_from_an_imported_model(base: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path, model={"source": str(base)})
    channel = handle(commands.ImportModel(run=str(run.path)))
    assert channel.last(events.Merged).tensors_changed == 0
    assert run.read_state() == "merged"
    original, here = base / safetensors_files.SINGLE, run.merged / safetensors_files.SINGLE
    assert original.samefile(here) or original.read_bytes() == here.read_bytes()
    before = original.read_bytes()
    AutoModelForCausalLM.from_pretrained(run.merged, dtype="auto")
    assert original.read_bytes() == before
    assert RunFolder(run.path).read_manifest()["imported"]["what"] == "model"


# --- generation -------------------------------------------------------------------------------


def test_generation_switches_adapters_on_one_base(
    base: Path, pair: list[Path], tmp_path: Path
) -> None:
    run = new_run(tmp_path, model={"source": str(base), "precision": "fp32"})
    one, two = (WeightedAdapter(folder=str(folder)) for folder in pair)
    mixes = (
        AdapterMix(name="one", adapters=(one,)),
        AdapterMix(name="base"),
        AdapterMix(name="both", adapters=(one, two.model_copy(update={"weight": -1.5}))),
        AdapterMix(name="off", adapters=(one.model_copy(update={"weight": 0.0}),)),
        AdapterMix(name="one again", adapters=(one,)),
    )
    turns = (Message(role="user", content="Which lamp burns longest?"),)
    command = commands.Generate(
        run=str(run.path), sources=(), mixes=mixes, conversations=(turns,), max_tokens=24
    )
    channel = handle(command)
    assert len(channel.of(events.ModelLoaded)) == 1
    texts = {event.mix: event.text for event in channel.of(events.Generated)}
    assert texts["one"] == texts["one again"]
    assert texts["off"] == texts["base"]
    assert len({texts["one"], texts["base"], texts["both"]}) == 3
    merged = commands.MergeAdapters(
        base=ModelSpec(source=str(base)),
        adapters=mixes[2].adapters,
        out=str(tmp_path / "merged"),
        merging=MergingSpec(dtype="fp32"),
    )
    handle(merged)
    plain = new_run(
        tmp_path / "plain", model={"source": str(tmp_path / "merged"), "precision": "fp32"}
    )
    alone = command.model_copy(
        update={"run": str(plain.path), "mixes": (), "sources": ("base",), "id": "alone"}
    )
    assert handle(alone).last(events.Generated).text == texts["both"]


def test_generation_refuses_an_adapter_of_another_model(
    base: Path, pair: list[Path], tmp_path: Path
) -> None:
    other = tiny_model("phi3", tmp_path / "phi3")
    run = new_run(tmp_path, model={"source": str(other)})
    mix = AdapterMix(name="x", adapters=(WeightedAdapter(folder=str(pair[0])),))
    turns = (Message(role="user", content="Hello"),)
    channel = handle(
        commands.Generate(run=str(run.path), sources=(), mixes=(mix,), conversations=(turns,))
    )
    assert channel.last(events.Failed).problem.code == "merging.foreign_adapter"


def test_trained_biases_are_not_combined(pair: list[Path], tmp_path: Path) -> None:
    for file in pair[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / adapter_files.WEIGHTS)
    tensors["base_model.model.model.layers.0.self_attn.q_proj.bias"] = torch.ones(64)
    save_file(tensors, tmp_path / adapter_files.WEIGHTS)
    config = json.loads((tmp_path / adapter_files.CONFIG).read_text("utf-8"))
    (tmp_path / adapter_files.CONFIG).write_text(json.dumps(config | {"bias": "lora_only"}))
    assert adapter_files.read(tmp_path).trained_whole == {"model.layers.0.self_attn.q_proj.bias"}
    command = commands.CombineAdapters(
        adapters=(WeightedAdapter(folder=str(tmp_path)),), out=str(tmp_path / "new")
    )
    assert problem(lambda: combining.combine(command, recorded_job()[0])) == "adapters.not_combined"
