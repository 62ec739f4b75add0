"""Ranking of the command palette's matches."""

from __future__ import annotations

import pytest

from lora_studio.core.project.project import SPECS
from lora_studio.core.project.search_terms import SYNONYMS
from lora_studio.core.spec import list_facts
from lora_studio.gui.help.palette import SearchEntry, find


def _titles(query: str, *titles: tuple[str, str]) -> list[str]:
    entries = [SearchEntry("setting", title, print, detail) for title, detail in titles]
    return [entry.title for entry in find(entries, query)]


def _settings() -> list[SearchEntry]:
    """Return all settings of a project, titled by their field, and those with synonyms alone."""
    fields = {
        f"{step}.{facts.name}": facts for step, spec in SPECS.items() for facts in list_facts(spec)
    }
    names = {*fields, *SYNONYMS}
    return [
        SearchEntry(
            "setting",
            name,
            print,
            fields[name].description if name in fields else "",
            terms=SYNONYMS.get(name, ""),
        )
        for name in sorted(names)
    ]


def test_start_of_title_ranks_before_word_in_description() -> None:
    matches = _titles(
        "rate",
        ("Dropout", "The rate at which outputs are dropped."),
        ("Learning rate", ""),
        ("Rate limit", ""),
        ("Rank", ""),
    )
    assert matches == ["Rate limit", "Learning rate", "Dropout"]


def test_exact_title_ranks_first_then_page_order() -> None:
    assert _titles("rate", ("Learning rate", ""), ("Low rate", ""), ("Rate", ""))[0] == "Rate"
    assert _titles("rate", ("Learning rate", ""), ("Low rate", "")) == ["Learning rate", "Low rate"]


def test_every_word_must_match_without_case_and_accents() -> None:
    assert _titles("GROSSE los", ("Losgröße", ""), ("Größe der Lose", ""))[0] == "Größe der Lose"
    assert _titles("learning dataset", ("Learning rate", "")) == []


def test_letters_in_order_match_as_last_resort() -> None:
    assert _titles("lrt", ("Learning rate", ""), ("Rank", "")) == ["Learning rate"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param("batch size", "training.micro_batch", id="batch-size"),
        pytest.param("seq length", "dataset.max_length", id="seq-length"),
        pytest.param("max tokens", "dataset.max_length", id="max-tokens"),
        pytest.param("quantize", "export.quantizations", id="quantize-american"),
        pytest.param("quantise", "export.quantizations", id="quantise-british"),
        pytest.param("quantisation", "model.precision", id="quantisation-british"),
        pytest.param("upload", "go_export", id="upload"),
        pytest.param("dark mode", "settings.theme", id="dark-mode"),
        pytest.param("colour scheme", "settings.theme", id="colour-british"),
        pytest.param("DPO", "training.preference", id="dpo"),
        pytest.param("beta", "training.beta", id="beta"),
        pytest.param("seed", "training.seed", id="seed"),
        pytest.param("lr", "training.learning_rate", id="lr"),
        pytest.param("optimiser", "training.optimizer", id="optimiser-british"),
        pytest.param("wandb", "training.trackers", id="wandb"),
    ],
)
def test_synonyms_find_the_setting(query: str, name: str) -> None:
    assert name in [entry.title for entry in find(_settings(), query)][:4]


def test_synonyms_belong_to_existing_fields() -> None:
    fields = {(step, facts.name) for step, spec in SPECS.items() for facts in list_facts(spec)}
    named = {tuple(name.split(".")) for name in SYNONYMS if name.split(".")[0] in SPECS}
    assert named <= fields
