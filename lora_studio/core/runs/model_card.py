"""Build the README of a Hub repository from the facts about a run.

Nothing about this computer is included: no paths, no user name; files appear by name only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from lora_studio import __version__
from lora_studio.core import formatting
from lora_studio.core.evaluation import report
from lora_studio.core.evaluation.preferences import PreferenceVote
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.export import What
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.tasks.model_card import ModelCard
from lora_studio.core.training.retrieval import MRR, RECALLS

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")
_LIBRARY: dict[What, str] = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
_RELATION: dict[What, str] = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}

_NEW_TOKENS = (
    "This adapter adds tokens to the vocabulary, and `AutoPeftModelForCausalLM` adds their rows. With "
    "`PeftModel.from_pretrained`, first call `model.resize_token_embeddings(len(tokenizer))` on the base model."
)

#: The most evaluations in a card's table.
_ROWS = 12


@dataclass(frozen=True)
class CardFacts:
    """The sources of a card: settings, manifest, events, self-test, and newest complete evaluation of a run.

    `votes` are people's blind votes in the project. `license_name` is the base model's, None if it doesn't
    state one; `files` are the uploaded ones. `has_capped_scores`: the base caps attention scores, which only
    the slower attention of transformers does.
    """

    project: Project
    manifest: dict[str, Any]
    events: Sequence[events.Event]
    selftest: dict[str, Any]
    license_name: str | None = None
    files: Sequence[tuple[str, int]] = field(default_factory=tuple)
    evaluation: EvaluationResults | None = None
    votes: Sequence[PreferenceVote] = ()
    has_capped_scores: bool = False


def build_card(what: What, repository: str, facts: CardFacts) -> str:
    """Return the whole README.md: metadata for the Hub, then text for people."""
    parts = [
        _build_metadata(what, facts),
        f"# {repository.rsplit('/', 1)[-1]}",
        _build_opening(what, facts),
        _build_usage(what, repository, facts),
        _build_training(facts),
        _build_results(facts),
        _build_curve(facts.events, _get_kept_step(facts)),
        _build_selftest(facts.selftest),
        _build_license(facts),
        f"Made with LoRA Studio {__version__}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def get_base_id(project: Project) -> str | None:
    """Return the base model's hub ID, None for a folder or file on this computer."""
    source = project.model.source
    return source if _HUB_ID.match(source) else None


def _get_base_name(project: Project) -> str:
    return get_base_id(project) or PurePath(project.model.source.removeprefix("builtin:")).name


def _build_metadata(what: What, facts: CardFacts) -> str:
    """Return the YAML block; every value is JSON, which is YAML too and needs no quoting rules."""
    card = _get_model_card(facts)
    entries: dict[str, Any] = {"library_name": _LIBRARY[what], "pipeline_tag": card.pipeline}
    if base := get_base_id(facts.project):
        entries |= {"base_model": [base], "base_model_relation": _RELATION[what]}
    entries["license"] = facts.license_name or "other"
    data = [source.path for source in facts.project.dataset.sources if _HUB_ID.match(source.path)]
    if data:
        entries["datasets"] = data
    tags = ["lora", "lora-studio", *card.tags]
    entries["tags"] = tags + (["gguf", "llama.cpp"] if what == "gguf" else [])
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "\n".join(["---", *lines, "---"])


def _build_opening(what: What, facts: CardFacts) -> str:
    base = _get_base_name(facts.project)
    linked = f"[{base}](https://huggingface.co/{base})" if get_base_id(facts.project) else base
    purpose = _get_model_card(facts).purpose
    return {
        "adapter": f"A LoRA adapter for {' '.join((linked, purpose)).rstrip()}.",
        "merged": f"{linked}, fine-tuned with a LoRA adapter that is merged into its weights.",
        "gguf": f"{linked}, fine-tuned with LoRA, merged and quantized to GGUF.",
    }[what]


def _build_usage(what: What, repository: str, facts: CardFacts) -> str:
    card = _get_model_card(facts)
    if what == "gguf":
        rows = [f"| {name} | {formatting.format_size(size)} |" for name, size in facts.files]
        table = "\n".join(["| File | Size |", "|---|---|", *rows])
        return f"{table}\n\n```bash\n{card.gguf.format(repository=repository)}\n```"
    is_capped = facts.has_capped_scores
    usage = (card.adapter if what == "adapter" else card.merged).format(
        repository=repository,
        base=_get_base_name(facts.project),
        attention=', attn_implementation="eager"' if is_capped else "",
        keywords=', model_kwargs={"attn_implementation": "eager"}' if is_capped else "",
    )
    if what == "adapter" and facts.project.lora.new_tokens:
        usage += f"\n\n{_NEW_TOKENS}"
    return usage


def _get_model_card(facts: CardFacts) -> ModelCard:
    task = get_task(facts.manifest)
    return task.get_card(facts.project.training.preference) if task is not None else ModelCard()


def _build_training(facts: CardFacts) -> str:
    project, manifest = facts.project, facts.manifest
    lora, training = project.lora, project.training
    data = manifest.get("dataset") or {}
    counts = manifest.get("parameters") or {}
    rows: list[tuple[str, object]] = [
        ("Data", ", ".join(_get_source_name(source.path) for source in project.dataset.sources)),
        ("Rows trained on", data.get("rows_train")),
        ("Rows held out", data.get("rows_validation")),
        *(
            [("Rank, alpha", f"{lora.rank}, {lora.alpha:g}")]
            if lora.adapter_type == "lora"
            else [("Adapter type", "MiSS"), ("Rank", lora.rank)]
        ),
        ("Targets", formatting.join_names(counts.get("targets", ()))),
        ("Trainable parameters", _format_share(counts)),
        ("Epochs", training.epochs),
        ("Learning rate", f"{training.learning_rate:g}"),
        ("Max. sequence length", f"{project.dataset.max_length} tokens"),
        ("Base model precision", manifest.get("precision")),
        ("Seed", manifest.get("seed")),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows if value not in (None, "")]
    return "\n".join(["## Training", "", "| | |", "|---|---|", *lines])


def _get_source_name(path: str) -> str:
    return path if _HUB_ID.match(path) else PurePath(path).name


def _format_share(counts: dict[str, Any]) -> str:
    if not counts.get("total"):
        return ""
    trainable, total = counts["trainable"], counts["total"]
    return f"{formatting.format_count(trainable)} of {formatting.format_count(total)}"


def _build_results(facts: CardFacts) -> str:
    if facts.evaluation is None:
        return ""
    checksums = facts.manifest.get("checksums") or {}
    return report.build_card_section(facts.evaluation, checksums, facts.votes)


def _build_curve(stream: Iterable[events.Event], kept: int | None) -> str:
    evaluated = [event for event in stream if isinstance(event, events.Evaluated)]
    has_rewards = any(event.has_rewards for event in evaluated)
    if has_rewards:
        evaluated = [event for event in evaluated if events.REWARD in event.metrics]
    if not evaluated:
        return ""
    best = min(evaluated, key=lambda event: event.loss)
    retrieval = _build_retrieval(evaluated, kept)
    name, sign = ("Mean reward", -1.0) if has_rewards else ("Loss", 1.0)
    subject = (
        "Mean reward of answers to held-out prompts" if has_rewards else "Loss on held-out rows"
    )
    stride = -(-len(evaluated) // _ROWS)
    indices = sorted({*range(0, len(evaluated), stride), len(evaluated) - 1})
    table = [f"| {evaluated[at].step} | {sign * evaluated[at].loss:.4f} |" for at in indices]
    return "\n".join(
        [
            "## Evaluation",
            "",
            f"{subject}: {sign * evaluated[0].loss:.4f} at step {evaluated[0].step}, "
            f"{sign * evaluated[-1].loss:.4f} at the end, best {sign * best.loss:.4f} at step {best.step}.",
            "",
            *retrieval,
            f"| Step | {name} |",
            "|---|---|",
            *table,
        ]
    )


def _get_kept_step(facts: CardFacts) -> int | None:
    """Return the step of the saved adapter, None if the record doesn't say."""
    kept = (facts.manifest.get("results") or {}).get("kept")
    return kept.get("step") if isinstance(kept, dict) else None


def _build_retrieval(evaluated: Sequence[events.Evaluated], kept: int | None) -> list[str]:
    """Return a table of how well held-out queries find their texts, before and after; [] for other training."""
    first = evaluated[0]
    best = next((event for event in evaluated if event.step == kept), evaluated[-1])
    names = [*RECALLS.values(), MRR]
    if not all(name in event.metrics for event in (first, best) for name in names):
        return []
    rows = [
        f"| {title} | {' | '.join(f'{event.metrics[name]:.3f}' for name in names)} |"
        for title, event in (("Before training", first), (f"Step {best.step}", best))
    ]
    return ["| | Recall@1 | Recall@5 | Recall@10 | MRR |", "|---|---|---|---|---|", *rows, ""]


def _build_selftest(results: dict[str, Any]) -> str:
    stages = results.get("stages", [])
    if not stages:
        return ""
    rows = [
        f"| {stage['stage']} | {_format_agreement(stage)} | "
        f"{stage.get('verdict') or ('passed' if stage['passed'] else 'failed')} |"
        for stage in stages
    ]
    return "\n".join(
        [
            "## Self-test",
            "",
            f"Compared with base + adapter at {results['positions']} answer positions of "
            f"{results['conversations']} held-out conversations: how often the most likely token is the "
            "same, and the mean KL divergence in nats.",
            "",
            "| Stage | Same token | KL | Verdict |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _format_agreement(stage: dict[str, Any]) -> str:
    """Return two cells; a stage whose files differ from what was trained isn't measured."""
    if stage["top1"] is None or stage["kl"] is None:
        return "not measured | not measured"
    return f"{formatting.format_percent(stage['top1'])} | {stage['kl']:.4f}"


def _build_license(facts: CardFacts) -> str:
    base = _get_base_name(facts.project)
    if facts.license_name:
        return f"## License\n\nThe base model, {base}, is licensed under: {facts.license_name}."
    return f"## License\n\nThe files of the base model, {base}, don't name a license: look it up before you share."
