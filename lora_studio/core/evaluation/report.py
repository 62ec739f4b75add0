"""The results of an evaluation as HTML, CSV, and JSON, and as a table for model cards."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import jinja2

from lora_studio.core import formatting
from lora_studio.core.evaluation import forgetting, preferences, run_verdict, summary
from lora_studio.core.evaluation.columns import format_model_name
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.preferences import Preference, PreferenceVote, VoteComparison
from lora_studio.core.evaluation.results import EvaluationResults, ItemResult, Judgment, find_chosen
from lora_studio.core.evaluation.run_verdict import Checksums
from lora_studio.core.evaluation.summary import EvaluationSummary, MeanScore
from lora_studio.core.formatting import CsvWriter
from lora_studio.core.messages import Text, text
from lora_studio.core.system import paths

#: Turns a message into a sentence of the reader's language.
Translate = Callable[[Text], str]

#: Items whose answers are shown, and characters of each cell; the CSV file has everything.
_MOST_ITEMS, _MOST_CHARACTERS = 500, 2000


def build_report(
    results: EvaluationResults,
    votes: Iterable[PreferenceVote] = (),
    *,
    translate: Translate = str,
    language: str = "en",
) -> str:
    """Return an HTML document with scores, intervals, verdicts, and answers; raises OSError.

    `votes` are people's blind votes. What models and datasets wrote is escaped. The document has no scripts
    and loads nothing.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.get_resources_folder() / "evaluation"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    shown = summary.summarize(results)
    title = results.plan.title or translate(text("Evaluation"))
    return environment.get_template("report.html").render(
        language=language,
        title=title,
        facts=_describe(results, translate),
        sections=list(_iter_sections(results, shown, translate)),
        preferences=_list_preferences(results, votes, shown.baseline, translate),
        answers=_list_answers(results, translate),
    )


def build_card_section(
    results: EvaluationResults, checksums: Checksums, votes: Iterable[PreferenceVote] = ()
) -> str:
    """Return the part of a model card about an evaluation in Markdown, "" without scores.

    `votes` are people's blind votes. `checksums` are those that the run's manifest records now: a model that
    has changed since its evaluation is marked as out of date.
    """
    outdated = run_verdict.list_outdated(results, checksums)
    shown = summary.summarize(results)
    lines = list(_iter_card_lines(results, shown, outdated))
    if not lines:
        return ""
    notes = [
        f"{results.plan.get_column(key).name}: {report.sentence}."
        for key, report in shown.forgetting.items()
    ]
    if outdated:
        notes.insert(0, "A model that is out of date was changed after this evaluation.")
    return "\n".join(
        [
            "## Results",
            "",
            "Means of all rows with 95 % bootstrap intervals; differences are paired, from the base "
            f"model. {_describe_sampling(results)}",
            "",
            "| Test set | Metric | Model | Score | 95 % interval | Rows | Difference |",
            "|---|---|---|---|---|---|---|",
            *lines,
            *(line for note in notes for line in ("", _escape_cell(note))),
            *_build_card_preferences(results, votes, shown.baseline),
        ]
    )


def _build_card_preferences(
    results: EvaluationResults, votes: Iterable[PreferenceVote], baseline: str
) -> list[str]:
    """Return the lines of a table of preferences, [] without any."""
    found = preferences.list_preferences(results, votes, baseline)
    if not found:
        return []
    rows = (
        [
            str(each.judged_by),
            results.plan.get_column(each.column).name,
            results.plan.get_column(each.baseline).name,
            *_format_preference(each),
        ]
        for each in found
    )
    return [
        "",
        "Answers compared in pairs without the names of the models; a tie counts as half a win.",
        "",
        "| Compared by | Model | Compared with | Preferred | 95 % interval | Wins | Ties | Losses | No verdict |",
        "|---|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(map(_escape_cell, row)) + " |" for row in rows),
    ]


def _format_preference(preference: Preference) -> list[str]:
    """Return the share, its interval, and the counts; no share if no comparison has a result."""
    share = interval = "–"
    if preference.compared:
        low, high = preference.interval.low, preference.interval.high
        share, *ends = (f"{formatting.format_float(100 * value, '.0f')} %" for value in (preference.share, low, high))  # fmt: skip
        interval = "–".join(ends)
    counts = (preference.wins, preference.ties, preference.losses, preference.unknown)
    return [share, interval, *map(formatting.format_number, counts)]


def _iter_card_lines(
    results: EvaluationResults, shown: EvaluationSummary, outdated: Sequence[str]
) -> Iterator[str]:
    """Yield a line of the table for each mean; `outdated` are the keys of models that have changed."""
    titles = {report.key: str(report.title) for report in results.facts.test_sets}
    for test_set, metric, column, mean in _iter_means(results, shown):
        verdict = shown.verdicts.get((test_set, metric, column))
        name = results.plan.get_column(column).name
        cells = [
            titles.get(test_set) or test_set,
            str(summary.format_metric(metric)),
            f"{name} (out of date)" if column in outdated else name,
            summary.format_score(metric, mean.mean),
            summary.format_interval(metric, mean),
            str(mean.rows),
            "" if verdict is None else str(verdict.sentence),
        ]
        yield "| " + " | ".join(_escape_cell(cell) for cell in cells) + " |"


def _escape_cell(cell: str) -> str:
    """Return text that can't end a cell, begin markup, or link to anything."""
    plain = " ".join(cell.split())
    for mark in "\\`|<>[]*_#":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _describe_sampling(results: EvaluationResults) -> str:
    sampling = results.plan.sampling
    if sampling.temperature == 0:
        return "Answers are greedy."
    return f"Answers are sampled at temperature {sampling.temperature:g} with seed {sampling.seed}."


def _describe(results: EvaluationResults, translate: Translate) -> str:
    """Return when and how the answers were made, in one line."""
    sampling = results.plan.sampling
    parts = [
        formatting.format_time(results.facts.created),
        translate(
            text("greedy answers")
            if sampling.temperature == 0
            else text(
                "temperature {temperature}, seed {seed}",
                temperature=f"{sampling.temperature:g}",
                seed=sampling.seed,
            )
        ),
        translate(text("at most {tokens} tokens", tokens=sampling.max_tokens)),
    ]
    if not results.is_complete:
        parts.append(translate(text("not complete yet")))
    if results.facts.app_version:
        parts.append(f"LoRA Studio {results.facts.app_version}")
    return " · ".join(part for part in parts if part)


def _iter_means(
    results: EvaluationResults, shown: EvaluationSummary
) -> Iterator[tuple[str, str, str, MeanScore]]:
    """Yield test set, metric, column, and mean in the order of a table."""
    for test_set, metrics in shown.metrics.items():
        for metric in metrics:
            for column in results.plan.columns:
                if mean := shown.means.get((test_set, metric, column.key)):
                    yield test_set, metric, column.key, mean


def _iter_sections(
    results: EvaluationResults, shown: EvaluationSummary, translate: Translate
) -> Iterator[dict[str, Any]]:
    """Yield a table for each test set."""
    header = [
        translate(word)
        for word in (
            text("Metric"), text("Model"), text("Score"), text("95 % interval"), text("Rows"),
            text("Compared with {column}", column=results.plan.get_column(shown.baseline).label),
        )
    ]  # fmt: skip
    means = list(_iter_means(results, shown))
    for report in results.facts.test_sets:
        notes = [translate(report.left_out)] if report.trained else []
        if report.problem is not None:
            notes.append(translate(report.problem.what))
        if report.key == forgetting.KEY:
            notes += [
                f"{translate(results.plan.get_column(key).label)}: {translate(found.sentence)}"
                for key, found in shown.forgetting.items()
            ]
        rows = [
            _to_row(results, shown, entry, translate) for entry in means if entry[0] == report.key
        ]
        yield {"title": translate(report.title), "notes": notes, "header": header, "rows": rows}


def _to_row(
    results: EvaluationResults,
    shown: EvaluationSummary,
    entry: tuple[str, str, str, MeanScore],
    translate: Translate,
) -> dict[str, Any]:
    test_set, metric, column, mean = entry
    verdict = shown.verdicts.get((test_set, metric, column))
    is_share = not summary.is_lower_better(metric)
    low, high = 100 * mean.interval.low, 100 * mean.interval.high
    return {
        "metric": translate(summary.format_metric(metric)),
        "column": translate(results.plan.get_column(column).label),
        "score": summary.format_score(metric, mean.mean),
        "interval": summary.format_interval(metric, mean),
        "rows": formatting.format_number(mean.rows),
        "finding": "" if verdict is None else verdict.finding,
        "verdict": "" if verdict is None else translate(verdict.sentence),
        "width": f"{100 * mean.mean:.1f}" if is_share else None,
        "low": f"{low:.1f}",
        "spread": f"{max(0.0, high - low):.1f}",
    }


def _list_preferences(
    results: EvaluationResults,
    votes: Iterable[PreferenceVote],
    baseline: str,
    translate: Translate,
) -> dict[str, Any]:
    """Return the table of how often answers were preferred, by the judge and by people."""
    header = (
        text("Compared by"), text("Model"), text("Compared with"), text("Preferred"), text("95 % interval"),
        text("Wins"), text("Ties"), text("Losses"), text("No verdict"),
    )  # fmt: skip
    rows = [
        {
            "finding": each.finding,
            "cells": [
                translate(each.judged_by),
                translate(results.plan.get_column(each.column).label),
                translate(results.plan.get_column(each.baseline).label),
                *_format_preference(each),
            ],
        }
        for each in preferences.list_preferences(results, votes, baseline)
    ]
    problem = results.facts.judge_problem
    notes = [] if problem is None else [translate(problem.what)]
    if rows:
        notes.append(translate(text("A tie counts as half a win.")))
    return {
        "title": translate(text("Preferred answers")),
        "notes": notes,
        "header": list(map(translate, header)),
        "rows": rows,
    }


def _describe_judgments(
    results: EvaluationResults, translate: Translate
) -> dict[tuple[str, str], list[str]]:
    """Return what the judge said of each answer, by item and column."""
    sentences: dict[tuple[str, str], list[str]] = {}
    for each in preferences.list_judgments(results):
        sentence = translate(_describe_judgment(results, each))
        sentences.setdefault((each.item, each.second), []).append(sentence)
    return sentences


def _describe_judgment(results: EvaluationResults, judgment: Judgment) -> Text:
    """Return what the judge said of the second answer of a pair."""
    other = results.plan.get_column(judgment.first).label
    if judgment.winner == judgment.second:
        return text("Judge: better than {model}", model=other)
    if judgment.winner == judgment.first:
        return text("Judge: worse than {model}", model=other)
    if judgment.winner is None:
        return text("Judge: no verdict")
    return text("Judge: as good as {model}", model=other)


def _list_answers(results: EvaluationResults, translate: Translate) -> dict[str, Any]:
    """Return the table of items: question, reference, and the answer of each column with its scores."""
    columns = results.plan.columns
    judged = _describe_judgments(results, translate)
    items = [item for item in results.items if not item.is_text]
    rows = []
    for item in items[:_MOST_ITEMS]:
        expected = item.reference or ""
        if item.correct is not None and item.correct < len(item.choices):
            expected = item.choices[item.correct]
        cells = [item.question, expected]
        for column in columns:
            answer = _format_answer(item, results.answers.get((item.id, column.key)), translate)
            cells.append("\n".join([_shorten(answer), *judged.get((item.id, column.key), ())]))
        rows.append([*map(_shorten, cells[:2]), *cells[2:]])
    note = ""
    if len(items) > _MOST_ITEMS:
        note = translate(
            text("The first {shown} of {total} items.", shown=_MOST_ITEMS, total=len(items))
        )
    return {
        "title": translate(text("Answers")),
        "note": note,
        "header": [
            translate(text("Question")), translate(text("Reference")), *(translate(each.label) for each in columns),
        ],
        "rows": rows,
    }  # fmt: skip


def _format_answer(item: EvaluationItem, answer: ItemResult | None, translate: Translate) -> str:
    """Return an answer, the most likely choice, and the scores, or why there is no answer."""
    if answer is None:
        return ""
    if answer.problem is not None:
        return translate(answer.problem.what)
    scores = [
        f"{translate(summary.format_metric(name))}: {summary.format_score(name, value)}"
        for name, value in answer.scores.items()
    ]
    choice = find_chosen(item, answer)
    chosen = translate(text("Most likely choice: {choice}", choice=choice)) if choice else ""
    return "\n".join(part for part in (answer.answer, chosen, " · ".join(scores)) if part)


def _shorten(cell: str) -> str:
    return cell if len(cell) <= _MOST_CHARACTERS else f"{cell[:_MOST_CHARACTERS]}…"


#: The columns of a CSV file before the scores.
_HEADS = (
    "test_set", "item", "category", "question", "reference", "column", "answer", "choice", "tokens",
    "seconds", "problem", "compared_with", "preference", "compared_by",
)  # fmt: skip

#: The test set of blind votes in a CSV file.
_VOTES = "blind_votes"


def to_csv(results: EvaluationResults, votes: Iterable[PreferenceVote] = ()) -> str:
    """Return one line per item and column: what was asked and expected, the answer, and its scores.

    `preference` is "better", "worse", "tie", or "no verdict" of the judge, who compared the answer with
    that of the column `compared_with`. Each of people's blind votes follows as a line of its own.
    """
    metrics = list(dict.fromkeys(itertools.chain.from_iterable(results.facts.metrics.values())))
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.writerow([*_HEADS, *metrics])
    for facts, scores in (*_iter_answers(results), *_iter_votes(results, votes)):
        cells = [facts.get(head, "") for head in _HEADS]
        writer.writerow([*cells, *(scores.get(metric, "") for metric in metrics)])
    return out.getvalue()


_Line = tuple[dict[str, object], dict[str, float]]


def _iter_answers(results: EvaluationResults) -> Iterator[_Line]:
    """Yield the cells and the scores of every answer, with what the judge said of it."""
    judged = {(each.item, each.second): each for each in preferences.list_judgments(results)}
    judge = results.plan.judge
    name = "" if judge is None else format_model_name(judge.model)
    for item in results.items:
        for column in results.plan.columns:
            row = results.answers.get((item.id, column.key))
            if row is None:
                continue
            facts: dict[str, object] = {
                "test_set": item.test_set, "item": item.id, "category": item.category,
                "question": item.question, "reference": item.reference or "", "column": column.key,
                "answer": row.answer, "choice": find_chosen(item, row), "tokens": row.tokens,
                "seconds": round(row.seconds, 4),
                "problem": "" if row.problem is None else str(row.problem.what),
            }  # fmt: skip
            if judgment := judged.get((item.id, column.key)):
                facts |= {
                    "compared_with": judgment.first,
                    "preference": _name_preference(column.key, judgment.winner),
                    "compared_by": name,
                }
            yield facts, row.scores


def _iter_votes(results: EvaluationResults, votes: Iterable[PreferenceVote]) -> Iterator[_Line]:
    """Yield the cells of every comparison that people made."""
    for vote in _list_votes(results, votes):
        facts: dict[str, object] = {
            "test_set": _VOTES, "question": vote.prompt, "column": vote.column, "answer": vote.answer,
            "compared_with": vote.baseline, "compared_by": "people",
            "preference": _name_preference(vote.column, vote.winner),
        }  # fmt: skip
        yield facts, {}


def to_json(results: EvaluationResults, votes: Iterable[PreferenceVote] = ()) -> str:
    """Return the plan, the facts, means, verdicts, preferences, and every item with its answers.

    `preferences` are those of the judge and of people's blind votes, with 95 % intervals.
    """
    votes = tuple(votes)
    items = []
    for item in results.items:
        rows = [results.answers.get((item.id, column.key)) for column in results.plan.columns]
        answers = [row.model_dump(mode="json", exclude={"item"}) for row in rows if row is not None]
        items.append(item.model_dump(mode="json", exclude_defaults=True) | {"answers": answers})
    shown = summary.summarize(results)
    means: dict[str, dict[str, dict[str, float]]] = {}
    for (test_set, metric, column_key), mean in shown.means.items():
        means.setdefault(test_set, {}).setdefault(metric, {})[column_key] = mean.mean
    content = {
        "plan": results.plan.model_dump(mode="json"),
        "facts": results.facts.model_dump(mode="json"),
        "complete": results.is_complete,
        "means": means,
        **_list_verdicts(shown),
        "preferences": [
            _to_plain(each) for each in preferences.list_preferences(results, votes, shown.baseline)
        ],
        "items": items,
        "judgments": [judgment.model_dump(mode="json") for judgment in results.judgments],
        "votes": [asdict(each) for each in _list_votes(results, votes)],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _list_votes(
    results: EvaluationResults, votes: Iterable[PreferenceVote]
) -> list[VoteComparison]:
    baseline = summary.choose_baseline(results.plan.columns)
    return preferences.list_vote_comparisons(results.plan.columns, votes, baseline)


def _name_preference(column: str, winner: str | None) -> str:
    """Return the result of a comparison for one of its columns."""
    if winner is None:
        return "no verdict"
    return "tie" if not winner else "better" if winner == column else "worse"


def _to_plain(preference: Preference) -> dict[str, object]:
    """Return a preference with its share, interval, and finding."""
    return asdict(preference) | {
        "compared_by": "judge" if preference.judge else "people",
        "compared": preference.compared,
        "share": preference.share if preference.compared else None,
        "interval": asdict(preference.interval) if preference.compared else None,
        "finding": preference.finding,
        "sentence": str(preference.sentence),
    }


def _list_verdicts(shown: EvaluationSummary) -> dict[str, object]:
    """Return the baseline, each difference from it, and what each column has forgotten."""
    differences = [
        {
            "test_set": test_set, "metric": metric, "column": column, "finding": verdict.finding,
            "sentence": str(verdict.sentence), **asdict(verdict.difference),
        }
        for (test_set, metric, column), verdict in shown.verdicts.items()
    ]  # fmt: skip
    forgetting = {
        column: {"has_forgotten": found.has_forgotten, "sentence": str(found.sentence)}
        for column, found in shown.forgetting.items()
    }
    return {"baseline": shown.baseline, "differences": differences, "forgetting": forgetting}
