"""Projects: drafts keep every value, report all problems at once, and round-trip."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.export import suggest_ollama_name
from lora_studio.core.problems import STEPS, ProblemError, Step
from lora_studio.core.project import checks, presets, project
from lora_studio.core.project.presets import PRESETS, Preset
from lora_studio.core.project.project import SPECS, Draft, Project
from lora_studio.core.spec import FieldFacts, list_facts

EVERY_FIELD = [(step, facts) for step in STEPS for facts in list_facts(SPECS[step])]


def test_defaults_of_every_spec_are_valid() -> None:
    assert Draft().list_problems() == []


@pytest.mark.parametrize(
    ("step", "facts"), EVERY_FIELD, ids=[f"{step}.{facts.name}" for step, facts in EVERY_FIELD]
)
def test_every_field_has_title_description_and_bounds(step: str, facts: FieldFacts) -> None:
    assert facts.title
    assert facts.title != facts.name
    assert facts.description.endswith(".")
    if facts.kind in ("integer", "number"):
        assert facts.minimum is not None
        assert facts.maximum is not None
    if facts.kind == "choice":
        assert set(facts.choices) >= {facts.default}


#: No file or program takes a null character, and a lone surrogate is no text.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def _values(facts: FieldFacts) -> st.SearchStrategy[Any]:
    low, high = facts.minimum or 0, facts.maximum or 0
    match facts.kind:
        case "choice":
            return st.sampled_from(sorted(facts.choices))
        case "flag":
            return st.booleans()
        case "integer":
            return st.integers(int(low), int(high))
        case "number":
            return st.floats(low, high, exclude_min=facts.exclusive_minimum)
        case "list" if facts.choices:
            return st.lists(st.sampled_from(sorted(facts.choices)), min_size=1, unique=True)
        case "list" if facts.name == "own_ranks":
            return st.lists(st.sampled_from(["q_proj=8", "v_proj=4:8"]), unique=True)
        case "list" if facts.name == "new_tokens":
            return st.lists(st.from_regex(r"<[a-z]{1,9}>", fullmatch=True), unique=True)
        case "list" if facts.name == "rewards":
            kinds = st.sampled_from([{"kind": "exact"}, {"kind": "length", "weight": -0.5}])
            return st.lists(kinds)
        case "list":
            return st.lists(_texts(min_size=1, max_size=20))
    if facts.name in ("device", "ollama_name", "ollama_host", "revision", "blocks"):
        return st.just(facts.default)
    return _texts(max_size=40)


def _texts(**sizes: int) -> st.SearchStrategy[str]:
    """Return texts without “~” first: a path may begin with a user whom this computer doesn't know."""
    return st.text(_CHARACTERS, **sizes).filter(lambda value: not value.startswith("~"))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_valid_project_round_trips_through_its_file(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draft = Draft(name="Ünïcode “name”")
    for step, facts in EVERY_FIELD:
        if data.draw(st.booleans()):
            draft.set(step, facts.name, data.draw(_values(facts)))
    frozen = draft.freeze()
    path = draft.save(tmp_path_factory.mktemp("p") / "a b é.lorastudio")
    again = project.load(path)
    assert again.list_problems() == []
    assert again.freeze() == frozen


def test_frozen_project_writes_every_field() -> None:
    document = tomllib.loads(Project(name="x").to_toml())
    for step in STEPS:
        assert set(document[step]) == set(SPECS[step].model_fields)


def test_invalid_values_are_kept_and_reported_with_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.lorastudio"
    file.write_text(
        'schema_version = 1\nname = "bad"\n[lora]\nrank = "many"\ndropout = 7\n'
        "[training]\nlearning_rate = -1\nspeed = 3\n[wizardry]\na = 1\n"
    )
    draft = project.load(file)
    assert draft.get("lora", "rank") == "many"
    problems = {(p.where.step, p.where.field): p for p in draft.list_problems()}
    assert problems["lora", "rank"].where.line == 4
    assert problems["lora", "dropout"].where.line == 5
    assert "0.9" in str(problems["lora", "dropout"].remedy)
    assert problems["training", "learning_rate"].where.line == 7
    assert problems["training", "speed"].code == "project.unknown_field"
    assert problems[None, None].code == "project.unknown_section"
    with pytest.raises(ProblemError) as raised:
        draft.freeze()
    assert len(raised.value.problems) == 5


@pytest.mark.parametrize(
    ("step", "field", "value", "what", "remedy"),
    [
        ("training", "learning_rate", "fast", "Learning rate: “fast” isn't a number.", "above 0"),
        ("lora", "rank", 3.5, "Rank: 3.5 isn't a whole number.", "from 1 to 1024"),
        ("lora", "rank", 0, "Rank: 0 is too small.", "from 1 to 1024"),
        ("lora", "dropout", 2, "Dropout: 2 is too large.", "from 0 to 0.9"),
        ("training", "epochs", -1.0, "Epochs: -1 is too small.", "above 0"),
        ("lora", "dropout", "nan", "Dropout: “nan” isn't a number.", "from 0 to 0.9"),
        ("training", "epochs", float("nan"), "Epochs: nan isn't a number.", "above 0"),
        ("training", "epochs", "-Inf", "Epochs must be a finite number, not “-Inf”.", "above 0"),
        (
            "lora",
            "dropout",
            float("inf"),
            "Dropout must be a finite number, not inf.",
            "from 0 to 0.9",
        ),
        ("lora", "dropout", "1e999", "Dropout: “1e999” is too large.", "from 0 to 0.9"),
        ("lora", "rank", float("inf"), "Rank must be a finite number, not inf.", "from 1 to 1024"),
        ("model", "precision", "3bit", "Precision: “3bit” isn't one of the choices.", "4bit"),
        ("model", "double_quant", "perhaps", "is neither true nor false.", "true or false"),
        ("model", "device", "tpu", "Device: “tpu” can't be used.", "cuda"),
        ("export", "quantizations", [], "Quantizations: at least one is needed.", "Q4_K_M"),
        (
            "lora",
            "own_ranks",
            ["q", "v"],
            "“q, v” has an entry that isn't of the form",
            "q_proj=32",
        ),
        (
            "export",
            "ollama_host",
            "http://pim:pw@host",
            "“http://…@host” contains a user name",
            "127",
        ),
    ],
    ids=[
        "not-a-number",
        "fraction",
        "too-small",
        "too-large",
        "negative",
        "nan-typed",
        "nan",
        "infinity-typed",
        "infinity",
        "beyond-floats",
        "infinite-integer",
        "unknown-choice",
        "not-a-flag",
        "unknown-device",
        "empty-list",
        "malformed-entry",
        "password-in-url",
    ],
)
def test_invalid_value_is_explained_with_a_remedy(
    step: Step, field: str, value: object, what: str, remedy: str
) -> None:
    draft = project.Draft()
    draft.set(step, field, value)
    (problem,) = draft.list_problems()
    assert what in str(problem.what)
    assert remedy in str(problem.remedy)


def test_loaded_project_has_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.create(tmp_path / "p", "p", {}).save()
    monkeypatch.chdir(tmp_path)
    assert project.load(Path("p")).path == tmp_path / "p" / "p.lorastudio"


def test_unknown_entries_are_written_back(tmp_path: Path) -> None:
    file = tmp_path / "x.lorastudio"
    file.write_text('name = "x"\n[wizardry]\na = 1\n[lora]\nmagic = 2\n')
    project.load(file).save()
    document = tomllib.loads(file.read_text())
    assert document["wizardry"] == {"a": 1}
    assert document["lora"] == {"magic": 2}


def test_fix_removes_its_problem(tmp_path: Path) -> None:
    draft = Draft(path=tmp_path / "x.lorastudio")
    draft.set("lora", "rank", 0)
    draft.set("model", "source", "")
    draft.set("training", "learning_rate", "fast")
    named = {str(problem.fix.label) for problem in checks.check(draft) if problem.fix}
    assert "Use the default (2e-4)" in named, "as the field shows it"
    for problem in checks.check(draft):
        if problem.fix:
            draft.set(problem.fix.step, problem.fix.field, problem.fix.value)
    left = {problem.code for problem in checks.check(draft)}
    assert left == {"dataset.none"}


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        pytest.param('name = "x"\n[lora\nrank = 8\n', "project.syntax", 2, id="syntax"),
        pytest.param('name = "x"\n[lora]\nra\0', "project.syntax", 3, id="nul"),
        pytest.param("", "project.empty", None, id="empty"),
        pytest.param(" \n", "project.empty", None, id="blank"),
    ],
)
def test_damaged_project_file_is_refused_by_line(
    tmp_path: Path, content: str, code: str, line: int | None
) -> None:
    file = tmp_path / "x.lorastudio"
    file.write_text(content)
    with pytest.raises(ProblemError) as refused:
        project.load(file)
    (problem,) = refused.value.problems
    assert (problem.code, problem.where.line) == (code, line)
    assert "x.lorastudio" in str(problem.what)
    assert file.read_text() == content


def test_project_of_newer_version_opens_read_only(tmp_path: Path) -> None:
    file = tmp_path / "x.lorastudio"
    file.write_text(f'schema_version = {project.FORMAT_VERSION + 1}\nname = "x"\n')
    draft = project.load(file)
    assert [p.code for p in draft.list_problems()] == ["project.newer"]
    with pytest.raises(ProblemError, match="newer version"):
        draft.save()
    draft.save(tmp_path / "copy.lorastudio")
    assert project.load(tmp_path / "copy.lorastudio").list_problems() == []


def test_project_moved_while_open_is_not_saved_to_old_path(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "here", "bot")
    (tmp_path / "here").rename(tmp_path / "there")
    draft.set("lora", "rank", 8)
    with pytest.raises(ProblemError, match="no longer exists"):
        draft.save()
    assert not (tmp_path / "here").exists()
    draft.save(tmp_path / "elsewhere" / "bot.lorastudio")
    assert project.load(tmp_path / "elsewhere").get("lora", "rank") == 8


def test_binary_project_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bot.lorastudio").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProblemError, match=r"Couldn't read bot.lorastudio: it isn't UTF-8 text"):
        project.load(tmp_path)


def test_folder_opens_the_project_file_in_it(tmp_path: Path) -> None:
    project.create(tmp_path / "a", "My project: one")
    assert project.load(tmp_path / "a").name == "My project: one"
    with pytest.raises(ProblemError, match="no project file"):
        project.load(tmp_path)
    with pytest.raises(ProblemError, match="already contains a project"):
        project.create(tmp_path / "a", "Another")


def test_paths_are_relative_to_the_project_and_absolute_in_a_run(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "p", "p", {"dataset": {"sources": ["rows.jsonl"]}})
    draft.set("model", "source", "../models/tiny.gguf")
    frozen = draft.freeze().resolve(tmp_path / "p")
    assert frozen.dataset.sources[0].path == str(tmp_path / "p" / "rows.jsonl")
    assert frozen.model.source == str(tmp_path / "models" / "tiny.gguf")


def test_hub_id_and_builtin_model_are_not_resolved_as_paths(tmp_path: Path) -> None:
    for source in ("org/name", "builtin:SmolLM2-135M-Instruct"):
        draft = Draft(path=tmp_path / "x.lorastudio")
        draft.set("model", "source", source)
        assert draft.freeze().resolve(tmp_path).model.source == source
    (tmp_path / "org" / "name").mkdir(parents=True)
    draft.set("model", "source", "org/name")
    assert draft.freeze().resolve(tmp_path).model.source == str(tmp_path / "org" / "name")


def test_empty_project_misses_model_and_dataset() -> None:
    assert {p.code for p in checks.check(Draft())} == {"model.none", "dataset.none"}


def test_missing_files_are_reported(tmp_path: Path) -> None:
    draft = Draft(path=tmp_path / "x.lorastudio")
    draft.set("model", "source", "./nowhere")
    draft.set("dataset", "sources", ["nothing.json"])
    draft.set("export", "llama_cpp", "no-llama")
    draft.set("lora", "targets", "names")
    assert {p.code for p in checks.check(draft)} == {
        "model.not_found",
        "dataset.not_found",
        "export.llama_cpp_not_found",
        "lora.no_targets",
    }


def test_non_model_file_is_not_reported_as_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("No model.", "utf-8")
    draft = Draft(path=tmp_path / "x.lorastudio")
    draft.set("model", "source", "./notes.txt")
    (problem,) = [each for each in checks.check(draft) if each.where.step == "model"]
    assert problem.code == "model.not_a_model"
    assert "notes.txt isn't a model file" in str(problem.what)


def test_boolean_gradient_checkpointing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.lorastudio").write_text(
        "schema_version = 3\n[training]\ngradient_checkpointing = true\n"
    )
    (problem,) = project.load(tmp_path).list_problems()
    assert problem.where.field == "gradient_checkpointing"


def test_source_given_as_path_round_trips(tmp_path: Path) -> None:
    sources = ["a.jsonl", {"path": "b.csv", "mapping": {"answer": "{x}\n{y}"}, "weight": 0.5}]
    project.create(tmp_path / "p", "p", {"dataset": {"sources": sources, "max_length": 99}})
    dataset = project.load(tmp_path / "p").freeze().dataset
    assert [source.path for source in dataset.sources] == ["a.jsonl", "b.csv"]
    assert dataset.sources[1].mapping == {"answer": "{x}\n{y}"}
    assert (dataset.sources[1].weight, dataset.max_length) == (0.5, 99)


def test_invalid_source_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.lorastudio"
    file.write_text('[dataset]\n[[dataset.sources]]\npath = "a"\nweight = -1\n')
    (problem,) = project.load(file).list_problems()
    assert (problem.where.field, problem.where.line) == ("sources", 2)


def test_hub_dataset_is_distinguished_from_a_path(tmp_path: Path) -> None:
    hub, local = DataSource(path="org/rows"), DataSource(path="data/rows.jsonl")
    assert (hub.is_hub, local.is_hub) == (True, False)
    (tmp_path / "org" / "rows").mkdir(parents=True)
    spec = DatasetSpec(sources=(hub, local, DataSource(path="other/rows")))
    assert [source.path for source in spec.resolve_sources(tmp_path)] == [
        str(tmp_path / "org" / "rows"),
        str(tmp_path / "data" / "rows.jsonl"),
        "other/rows",
    ]


@pytest.mark.parametrize("name", ["my-model", "my-model:v2", "me/my_model:latest", "host:1/me/m"])
def test_valid_ollama_name_is_accepted(name: str) -> None:
    draft = Draft()
    draft.set("export", "ollama_name", name)
    assert draft.list_problems() == []


@pytest.mark.parametrize("name", ["with space", ":tag", "a/b/c/d", "x:"])
def test_invalid_ollama_name_is_refused(name: str) -> None:
    draft = Draft()
    draft.set("export", "ollama_name", name)
    assert [p.where.field for p in draft.list_problems()] == ["ollama_name"]


@pytest.mark.parametrize("blocks", ["7-0", "1, 9-8", "0-99999999999", "a", "1,,2", "-3"])
def test_invalid_blocks_are_reported_at_the_field(blocks: str) -> None:
    draft = Draft()
    draft.set("lora", "blocks", blocks)
    assert [problem.where.field for problem in draft.list_problems()] == ["blocks"]


def test_ollama_name_keeps_accented_letters() -> None:
    assert suggest_ollama_name("Kündigungen à la Weiß 2") == "kundigungen-a-la-weiss-2"
    assert suggest_ollama_name("日本") == "my-model"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_gives_a_valid_recipe(preset: Preset) -> None:
    draft = Draft()
    presets.apply_preset(draft, preset)
    problems = checks.check(draft)
    assert not [item for item in problems if item.where.step in ("lora", "training")]
    assert draft.list_problems() == []


def test_presets_differ_and_balanced_is_the_default() -> None:
    assert len({str(presets.get_values(preset)) for preset in PRESETS}) == len(PRESETS)
    current = presets.find_current(Draft().get)
    assert current is not None
    assert current.name == "balanced"


@pytest.mark.parametrize("first", PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("second", PRESETS, ids=lambda preset: preset.name)
def test_second_preset_replaces_the_first_completely(first: Preset, second: Preset) -> None:
    draft = Draft()
    presets.apply_preset(draft, first)
    presets.apply_preset(draft, second)
    assert presets.find_current(draft.get) is second
    assert not presets.list_differences(draft.get, second)


def test_low_memory_preset_keeps_the_effective_batch() -> None:
    batches = set()
    for preset in PRESETS:
        draft = Draft()
        presets.apply_preset(draft, preset)
        batches.add(draft.freeze().training.effective_batch)
    assert batches == {16}


def test_precision_stays_unless_the_preset_sets_it() -> None:
    draft = Draft()
    draft.set("model", "precision", "8bit")
    current = presets.find_current(draft.get)
    assert current is not None
    assert current.name == "balanced"
    presets.apply_preset(draft, presets.find_preset("memory"))
    assert draft.get("model", "precision") == "4bit"
    presets.apply_preset(draft, presets.find_preset("best"))
    assert draft.get("model", "precision") == "4bit"


def test_differences_name_fields_by_their_titles() -> None:
    draft = Draft()
    draft.set("training", "learning_rate", 5e-4)
    differences = [
        str(item.text)
        for item in presets.list_differences(draft.get, presets.find_preset("memory"))
    ]
    assert "Learning rate 5e-4 → 2e-4" in differences
    assert "Precision Best for this device → 4-bit (QLoRA)" in differences
    assert "Optimizer AdamW → AdamW 8-bit, paged" in differences


def test_preset_replaces_an_invalid_value() -> None:
    draft = Draft()
    draft.set("lora", "rank", "many")
    (difference,) = presets.apply_preset(draft, presets.find_preset("balanced"))
    assert str(difference.text) == "Rank many → 16"
    assert draft.list_problems() == []


def test_command_line_applies_the_preset_before_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    project.create(
        tmp_path / "p", "p",
        {"model": {"source": "../model/"}, "dataset": {"sources": ["../rows.jsonl"]}},
    )  # fmt: skip
    draft = headless.open_project(tmp_path / "p", ["lora.rank=4"], Display(), "quick")
    assert draft is not None
    frozen = draft.freeze()
    assert (frozen.training.max_steps, frozen.lora.rank, frozen.lora.alpha) == (60, 4, 8)
    assert "Preset Quick test: Rank 16 → 8, Alpha 32 → 16" in capsys.readouterr().err
    assert headless.open_project(tmp_path / "p", [], Display(), "fast") is None
    with pytest.raises(ProblemError, match="presets: quick, balanced, "):
        presets.find_preset("fast")


def test_published_presets_use_the_settings_that_were_measured() -> None:
    draft = Draft()
    presets.apply_preset(draft, presets.find_preset("rslora"))
    lora = draft.freeze().lora
    assert (lora.rank, lora.alpha, lora.scale, lora.targets) == (64, 64, 8.0, "attention_qv")
    presets.apply_preset(draft, presets.find_preset("mlp"))
    lora = draft.freeze().lora
    assert (lora.rank, lora.scale, lora.targets) == (10, 2.0, "mlp")
    published = [preset for preset in PRESETS if preset.evidence]
    assert all("PEFT's method comparison" in preset.evidence for preset in published)
    assert [preset.name for preset in published] == ["rslora", "mlp"]
