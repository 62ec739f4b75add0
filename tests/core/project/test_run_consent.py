"""What a run from somebody else may read, write, and contact: nothing that the user hasn't allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project import access_requests, project
from lora_studio.core.project.project import Project
from lora_studio.core.runs import cluster, grid_search, step_records
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from tests.helpers.accepted_projects import accept_project

#: A setting of each kind that leaves the project, and the request that it makes.
OUTSIDE: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": {"source": "/secret/model"}}, "read /secret/model"),
    "hub model": ({"model": {"source": "org/model"}}, "download org/model"),
    "teacher": ({"training": {"teacher": "/secret/large"}}, "read /secret/large"),
    "data": ({"dataset": {"sources": ["/secret/rows.jsonl"]}}, "read /secret/rows.jsonl"),
    "hub data": ({"dataset": {"sources": ["org/rows"]}}, "download org/rows"),
    "held-out data": ({"dataset": {"validation_file": "/secret/v.jsonl"}}, "read /secret/v.jsonl"),
    "adapter": ({"lora": {"start_from": "/secret/adapter"}}, "read /secret/adapter"),
    "mixed adapter": ({"merging": {"further": ["/secret/other=0.5"]}}, "read /secret/other"),
    "base of a merge": ({"merging": {"base": "/secret/base"}}, "read /secret/base"),
    "output": ({"export": {"lm_studio_folder": "/secret/out"}}, "write /secret/out"),
    "tracker": ({"training": {"trackers": ["wandb"]}}, "send wandb"),
    "Ollama": ({"export": {"ollama_host": "http://a.example:1"}}, "send http://a.example:1"),
    "schema": (
        {"training": {"rewards": [{"kind": "json_schema", "schema_file": "/secret/s.json"}]}},
        "read /secret/s.json",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _as_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "ours"))
    monkeypatch.delenv(consent.TRUST_VARIABLE, raising=False)


def create_foreign(folder: Path, **specs: Any) -> RunFolder:
    """Return a run that somebody else has created."""
    (folder / "p").mkdir(exist_ok=True)
    (folder / "p" / "p.lorastudio").write_text('schema_version = 1\nname = "p"\n')
    content = Project.model_validate({"name": "p", **specs})
    return run_folder.create_run(folder / "p" / "runs", content, folder / "p", is_allowed=False)


def list_keys(run: RunFolder) -> list[str]:
    return [
        request.key
        for request in access_requests.list_unallowed_of_run(run.path, run.load_project())
    ]


@pytest.mark.parametrize("name", OUTSIDE)
def test_whatever_leaves_the_project_is_named(name: str, tmp_path: Path) -> None:
    specs, key = OUTSIDE[name]
    run = create_foreign(tmp_path, **specs)
    assert key in list_keys(run)
    with pytest.raises(ProblemError, match="haven't allowed") as caught:
        access_requests.require_run_allowed(run.path, run.load_project())
    (problem,) = caught.value.problems
    assert key.split()[1].partition(":")[0].removeprefix("wandb") in str(problem.what)


def test_own_run_is_allowed_if_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", "/proc/none")
    monkeypatch.setenv(consent.TRUST_VARIABLE, "")
    content = Project.model_validate({"name": "p", **OUTSIDE["data"][0]})
    run = run_folder.create_run(tmp_path / "p" / "runs", content, tmp_path / "p")
    assert list_keys(run) == []


def test_run_that_stays_in_its_project_needs_no_consent(tmp_path: Path) -> None:
    sources = ["data/rows.jsonl"]
    run = create_foreign(tmp_path, dataset={"sources": sources}, model={"source": "./m"})
    assert list_keys(run) == []


@pytest.mark.parametrize("wide", [False, True])
def test_runs_folder_alone_does_not_make_a_project(
    wide: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_foreign(tmp_path, dataset={"sources": [str(tmp_path / "p" / "secret.txt")]})
    assert list_keys(run) == []
    if wide:  # a project file doesn't make the home folder a project either
        monkeypatch.setenv("HOME", str(tmp_path / "p"))
    else:
        (tmp_path / "p" / "p.lorastudio").unlink()
    assert list_keys(run) == [f"read {tmp_path / 'p' / 'secret.txt'}"]


def test_own_run_is_allowed_also_where_it_was_moved(tmp_path: Path) -> None:
    specs: dict[str, Any] = OUTSIDE["data"][0]
    run = run_folder.create_run(
        tmp_path / "p" / "runs", Project.model_validate({"name": "p", **specs}), tmp_path / "p"
    )
    (tmp_path / "p").rename(tmp_path / "q")
    assert list_keys(RunFolder(tmp_path / "q" / "runs" / run.path.name)) == []


def test_manifest_leads_to_no_file_that_isnt_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text("{}\n")
    run = create_foreign(tmp_path, dataset={"sources": ["data/1/rows.jsonl"]})
    (stored,) = project.load(run.project_file).values["dataset"]["sources"]
    run.update_manifest(taken_along={stored["path"]: str(secret)})
    assert run.load_project().dataset.sources[0].path == str(secret)
    assert list_keys(run) == [f"read {secret}"]


def test_foreign_run_is_not_copied_for_a_cluster(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text("{}\n")
    run = create_foreign(
        tmp_path, dataset={"sources": [str(secret)]}, model={"source": "org/model"}
    )
    with pytest.raises(ProblemError) as raised:
        cluster.export_run(run, tmp_path / "out")
    assert raised.value.problems[0].code == "run.access_not_allowed"
    assert f": Read {secret}. Download" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_consent_to_a_project_covers_its_runs(tmp_path: Path) -> None:
    run = create_foreign(tmp_path, dataset={"sources": ["../rows.jsonl"]})
    assert list_keys(run) == [f"read {tmp_path / 'rows.jsonl'}"]
    (tmp_path / "p" / "p.lorastudio").write_text(
        'schema_version = 1\nname = "p"\n[dataset]\nsources = ["../rows.jsonl"]\n'
    )
    accept_project(project.load(tmp_path / "p"))
    assert list_keys(run) == []


def test_hash_allows_exactly_these_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_foreign(tmp_path, **OUTSIDE["Ollama"][0])
    digest = access_requests.compute_run_digest(
        access_requests.list_run_requests(run.path, run.load_project())
    )
    monkeypatch.setenv(consent.TRUST_VARIABLE, digest)
    assert list_keys(run) == []
    assert list_keys(create_foreign(tmp_path, **OUTSIDE["data"][0])) != []


def test_copies_and_new_settings_allow_nothing_more(tmp_path: Path) -> None:
    run = create_foreign(tmp_path, **OUTSIDE["data"][0])
    frozen = run.load_project()
    assert list_keys(grid_search.repeat_run(run)) == ["read /secret/rows.jsonl"]
    step_records.update_settings(run, frozen, "export")
    assert list_keys(run) == ["read /secret/rows.jsonl"]
    access_requests.allow_requests(access_requests.list_run_requests(run.path, frozen))
    assert list_keys(grid_search.repeat_run(run)) == []
