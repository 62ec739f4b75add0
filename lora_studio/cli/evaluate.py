"""`lora-studio evaluate`: compare what a run trained with its base model, on rows it wasn't trained on.

`lora-studio benchmarks` lists the public benchmarks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lora_studio.cli import headless
from lora_studio.cli.common import (
    JsonLinesOption,
    JsonObjectOption,
    RunArgument,
    add_spec_options,
    ask,
    exit_on_problem,
    print_json,
)
from lora_studio.cli.console import Display
from lora_studio.cli.data import parse_source
from lora_studio.cli.event_text import describe
from lora_studio.core.chat import FolderChatModel, GgufChatModel, OllamaChatModel, Sampling
from lora_studio.core.evaluation import preferences, report, run_verdict, storage, summary
from lora_studio.core.evaluation.columns import AnyColumnModel, Column, ServerModel
from lora_studio.core.evaluation.items import create_item
from lora_studio.core.evaluation.metrics import create_metric
from lora_studio.core.evaluation.plan import (
    GREEDY,
    EvaluationPlan,
    JudgeSettings,
    build_judge_prompt,
)
from lora_studio.core.evaluation.preferences import Preference, PreferenceVote
from lora_studio.core.evaluation.results import ColumnReport, EvaluationResults
from lora_studio.core.evaluation.run_verdict import Checksums
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.summary import EvaluationSummary, MeanScore
from lora_studio.core.evaluation.test_sets import (
    AnyTestSet,
    BenchmarkTask,
    FileRows,
    ForgettingSet,
    HeldoutRows,
    PlaygroundPrompts,
    TestSetReport,
)
from lora_studio.core.messages import Text, counted, fill, listed, text
from lora_studio.core.playground import Playground
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models, checksums
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.paths import expand_home

ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME",
        help="Evaluate only this model of the run: base, adapter, merged, ollama, or a quantization such as Q4_K_M. Repeat it for several.",
    ),
]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="MODEL",
        help="Also evaluate this model: another run, a model folder, a GGUF file, ollama:NAME, or the address of an OpenAI-compatible server as URL#NAME.",
    ),
]
TestOption = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="SET",
        help="Test set: heldout (default), forgetting, playground, benchmark:TASK, or a file. Repeat it for several.",
    ),
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Metric, such as exact, contains, number:0.01, rouge_l, or perplexity. Without this option, metrics are chosen by what the references look like.",
    ),
]
OldMetricOption = Annotated[list[str] | None, typer.Option("--measure", hidden=True)]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="Items drawn from each test set. 0 uses all.")
]
ShotsOption = Annotated[
    int, typer.Option("--shots", min=0, max=64, help="Examples before each item of a benchmark.")
]
JudgeOption = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help="Let this model compare the answers in pairs, in both orders: ollama:NAME, URL#NAME, a GGUF file, or a model folder.",
    ),
]
CriteriaOption = Annotated[
    str, typer.Option("--criteria", help="What the judge has to look at.", metavar="TEXT")
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key-variable",
        metavar="VARIABLE",
        help="Environment variable with the key of the server.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue the latest evaluation of the run.")
]
ShowOption = Annotated[
    bool,
    typer.Option(
        "--show", help="Show the results so far of the latest evaluation, and compute nothing."
    ),
]
#: What writes results, by the suffix of the file.
_WRITERS: dict[str, Callable[[EvaluationResults, Iterable[PreferenceVote]], str]] = {
    ".csv": report.to_csv,
    ".json": report.to_json,
    ".html": report.build_report,
}

OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Also write the results to this file: CSV, JSON, or an HTML report.",
        dir_okay=False,
    ),
]


@add_spec_options(Sampling, **GREEDY.model_dump())
def evaluate(
    path: RunArgument,
    column: ColumnOption = None,
    against: AgainstOption = None,
    test: TestOption = None,
    metric: MetricOption = None,
    old_metric: OldMetricOption = None,
    limit: LimitOption = 0,
    shots: ShotsOption = 0,
    judge: JudgeOption = "",
    criteria: CriteriaOption = "",
    key_variable: KeyOption = "",
    resume: ResumeOption = False,
    show: ShowOption = False,
    out: OutOption = None,
    as_json: JsonLinesOption = False,
    **options: Any,
) -> None:
    """Compare the models of a run with the base model, on rows that it wasn't trained on.

    Ctrl+C keeps the answers so far; `--resume` continues. The exit status is 1 if a model couldn't be evaluated.
    """
    display, run = Display(as_json=as_json), RunFolder(path.resolve())
    with exit_on_problem(display):
        run.load_project()
        _require_known_suffix(out)
        if show:
            _report(run, _get_latest(run), out, display)
            return
        if resume:
            command = commands.Evaluate(run=str(run.path), evaluation=_get_latest(run).path.name)
        else:
            plan = EvaluationPlan(
                columns=_choose_columns(run, column or [], against or [], key_variable),
                test_sets=_choose_test_sets(test, limit, options["seed"], shots),
                metrics=tuple(
                    create_metric(name).name for name in (*(metric or ()), *(old_metric or ()))
                ),
                sampling=Sampling(**options),
                judge=_parse_judge(judge, criteria, key_variable),
            )
            command = commands.Evaluate(run=str(run.path), plan=plan)
    raise typer.Exit(_perform(run, command, out, display))


def benchmarks(
    search: Annotated[
        str, typer.Argument(help="Words in the name or the dataset. Without them, all are listed.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, max=20_000, help="Maximum number of benchmarks to list.")
    ] = 40,
    as_json: JsonObjectOption = False,
) -> None:
    """List public benchmarks of lm-eval, for `lora-studio evaluate --test benchmark:NAME`."""
    display = Display(as_json=as_json)
    command = commands.ListBenchmarks(search=search, limit=limit)
    listed = ask(command, events.BenchmarksListed, display)
    if as_json:
        shown = [each.model_dump(mode="json", exclude={"file"}) for each in listed.benchmarks]
        print_json({"benchmarks": shown, "total": listed.total})
        return
    table = Table(box=None, pad_edge=False)
    for title in (text("Benchmark"), text("Dataset"), text("Kind")):
        table.add_column(str(title), overflow="fold")
    for each in listed.benchmarks:
        table.add_row(each.name, each.dataset, each.output_type)
    if listed.benchmarks:
        display.console.print(table)
    shown_count = len(listed.benchmarks)
    display.console.print(
        str(
            text("{shown} of {total} benchmarks are shown.", shown=shown_count, total=listed.total)
            if shown_count < listed.total
            else counted(listed.total, "{n} benchmark found.", "{n} benchmarks found.")
        )
    )


def _perform(run: RunFolder, command: commands.Evaluate, out: Path | None, display: Display) -> int:
    """Evaluate and show the results; return the exit status."""
    if command.plan is not None:
        _show_judge_text(command.plan, display)
    ending = headless.perform(command, display)
    status = headless.get_exit_status(ending)
    started = [
        event
        for event in run.iter_events_of("evaluation_started")
        if isinstance(event, events.EvaluationStarted) and event.id == command.id
    ]
    if not started:
        return status
    folder = EvaluationFolder(run.evaluations_folder / started[-1].evaluation)
    try:
        results = _report(run, folder, out, display)
    except ProblemError as error:
        display.print_problems(error.problems)
        return headless.FAILED
    if isinstance(ending, events.Done) and ending.paused:
        return headless.INTERRUPTED
    has_failed = any(report.problem is not None for report in results.facts.columns)
    return status or (headless.FAILED if has_failed or results.facts.judge_problem else 0)


def _report(
    run: RunFolder, folder: EvaluationFolder, out: Path | None, display: Display
) -> EvaluationResults:
    """Show the results of an evaluation and write them to a file; raises ProblemError."""
    results = folder.read()
    votes = Playground.of_run(run.path).find_votes()
    show(results, votes, checksums.read_recorded(run), display)
    if out is not None:
        content = _WRITERS[out.suffix](results, votes)
        out.write_bytes(content.encode("utf-8", "replace"))
        display.print_line(text("Written: {file}", file=str(out)))
    return results


def _require_known_suffix(out: Path | None) -> None:
    if out is not None and out.suffix not in _WRITERS:
        raise fail(
            "evaluation.unknown_export",
            "{file} is neither a CSV, a JSON, nor an HTML file.",
            "Let its name end in .csv, .json, or .html.",
            file=out.name,
        )


def _get_latest(run: RunFolder) -> EvaluationFolder:
    """Return the latest evaluation of a run; raises ProblemError if there is none."""
    if folders := storage.list_evaluations(run.evaluations_folder):
        return folders[0]
    raise fail(
        "evaluation.none",
        "This run hasn't been evaluated yet.",
        "Run `lora-studio evaluate {run}`.",
        run=str(run.path),
    )


def _choose_columns(
    run: RunFolder, chosen: list[str], against: list[str], key_variable: str
) -> tuple[Column, ...]:
    """Return the columns to evaluate; raises ProblemError for one that the run doesn't have."""
    columns = chat_models.list_run_columns(run)
    known = [column.key for column in columns]
    for key in chosen:
        if key not in known:
            raise fail(
                "evaluation.unknown_column",
                "The run has no model named {name} to evaluate.",
                "Choose one of these: {known}. Merge or export the run to get more.",
                name=key,
                known=", ".join(known) or "–",
            )
    if chosen:
        columns = [column for column in columns if column.key in chosen]
    for number, name in enumerate(against):
        columns.append(_parse_against(name, key_variable, [each.key for each in columns], number))
    if not columns:
        raise fail(
            "evaluation.no_columns",
            "The run has nothing to evaluate yet.",
            "Train it first, or name a model with --against.",
        )
    return tuple(columns)


def _parse_against(name: str, key_variable: str, taken: list[str], number: int) -> Column:
    """Return the column of another model, under a key that isn't taken."""
    path = expand_home(Path(name))
    run = RunFolder(path.resolve())
    if run.project_file.is_file() and run.has_adapter:
        key, model = (
            run_names.read_stored_name(run),
            chat_models.create_adapter_chat_model(run.adapter),
        )
        return Column(key=_make_unique(str(key), taken), title=str(key), model=model)
    parsed = parse_model(name, key_variable)
    key = getattr(parsed, "name", "") or path.stem or f"model {number + 1}"
    return Column(key=_make_unique(key, taken), model=parsed)


def _make_unique(key: str, taken: list[str]) -> str:
    names = [key, *(f"{key}-{count}" for count in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def parse_model(name: str, key_variable: str = "") -> AnyColumnModel:
    """Return the model that an option names; raises ProblemError."""
    if name.startswith("ollama:"):
        return OllamaChatModel(name=name.removeprefix("ollama:"))
    if name.startswith(("http://", "https://")):
        address, _, model = name.partition("#")
        return ServerModel(address=address, name=model, key_variable=key_variable)
    path = expand_home(Path(name)).resolve()
    if path.suffix == ".gguf" and path.is_file():
        return GgufChatModel(file=str(path))
    if (path / "config.json").is_file():
        return FolderChatModel(folder=str(path))
    raise fail(
        "evaluation.unknown_model",
        "Unknown model: {name}.",
        "Use a run, a model folder, a GGUF file, ollama:NAME, or URL#NAME for a server.",
        name=name,
    )


def _choose_test_sets(
    names: list[str] | None, limit: int, seed: int, shots: int
) -> tuple[AnyTestSet, ...]:
    """Return the test sets of an option, by default the held-out rows; raises ProblemError."""
    return tuple(parse_test_set(name, limit, seed, shots) for name in names or ["heldout"])


def parse_test_set(name: str, limit: int, seed: int, shots: int) -> AnyTestSet:
    """Return the test set that an option names; raises ProblemError."""
    common: dict[str, Any] = {"limit": limit, "seed": seed}
    match name:
        case "heldout":
            return HeldoutRows(**common)
        case "forgetting":
            return ForgettingSet(**common)
        case "playground":
            return PlaygroundPrompts(**common)
    if name.startswith("benchmark:"):
        return BenchmarkTask(task=name.removeprefix("benchmark:"), shots=shots, **common)
    return FileRows(source=parse_source(name), **common)


def _parse_judge(name: str, criteria: str, key_variable: str) -> JudgeSettings | None:
    if not name:
        return None
    return JudgeSettings(model=parse_model(name, key_variable), criteria=criteria)


def _show_judge_text(plan: EvaluationPlan, display: Display) -> None:
    """Show what the judge is sent, with placeholders for what differs from item to item."""
    if plan.judge is None:
        return
    item = create_item(test_set="", raw_prompt="…", reference="…")
    display.print_note(text("The judge is sent this text for each pair of answers:"))
    prompt = build_judge_prompt(item, "…", "…", plan.judge.criteria)
    if not display.as_json:
        display.notes.print(prompt, markup=False, soft_wrap=True)


@describe.register
def _describe_started(event: events.EvaluationStarted) -> Text:
    return text(
        "Evaluation {name}: {items} items × {columns}{again}.",
        name=event.evaluation,
        items=event.items,
        columns=counted(len(event.columns), "{n} model", "{n} models"),
        again=text(", {answered} answers are there already", answered=event.answered)
        if event.answered
        else "",
    )


@describe.register
def _describe_refused(event: events.ColumnRefused) -> Text:
    return text(
        "{column} can't be evaluated: {reason} {remedy}",
        column=event.column,
        reason=event.problem.what,
        remedy=event.problem.remedy,
    )


@describe.register
def _describe_column(event: events.ColumnEvaluated) -> Text:
    template = "{key}: {answered} answered, {cached} of them known from before, {failed} failed, {seconds:duration}."
    return fill(template, vars(event.column))


def show(
    results: EvaluationResults,
    votes: Iterable[PreferenceVote],
    checksums: Checksums,
    display: Display,
) -> None:
    """Print what the test sets contained, and a table of each with the mean of every metric.

    `votes` are people's blind votes. `checksums` are those that the run's manifest records now.
    """
    if display.as_json:
        return
    shown = summary.summarize(results)
    for test_set in results.facts.test_sets:
        display.print_title(str(test_set.title))
        for line in describe_test_set(test_set):
            display.print_line(line)
        if test_set.items:
            display.console.print(_build_table(results, test_set, shown))
    _print_verdicts(results, shown, display)
    for line in _describe_columns(results):
        display.print_line(line)
    for line in describe_preferences(
        results, preferences.list_preferences(results, votes, shown.baseline)
    ):
        display.print_line(line)
    if results.facts.judge_problem is not None:
        display.print_line(results.facts.judge_problem.what)
    if outdated := run_verdict.list_outdated(results, checksums):
        display.print_line(run_verdict.describe_outdated(results, outdated))
    if not results.is_complete:
        display.print_line(text("These results are partial. `--resume` continues the evaluation."))


def describe_test_set(report: TestSetReport) -> list[Text]:
    """Return sentences on what a test set contained and what was left out of it."""
    lines = [counted(report.items, "{n} item.", "{n} items.")]
    if report.problem is not None:
        lines = [report.problem.what, report.problem.remedy]
    if report.trained:
        lines.append(report.left_out)
    if report.repeated:
        lines.append(counted(report.repeated, "{n} repeated row is left out.", "{n} repeated rows are left out."))  # fmt: skip
    for reason, count in report.reasons:
        lines.append(
            counted(count, "{n} row is left out: {reason}.", "{n} rows are left out: {reason}.", reason=reason)
        )  # fmt: skip
    if report.not_drawn:
        lines.append(
            counted(report.not_drawn, "{n} more item is not among those drawn.", "{n} more items are not among those drawn.")
        )  # fmt: skip
    if report.unchecked:
        lines.append(report.unchecked)
    return lines


def _build_table(
    results: EvaluationResults, report: TestSetReport, shown: EvaluationSummary
) -> Table:
    """Return a table of columns × metrics, each with its 95 % interval."""
    table = Table(box=None, padding=(0, 1, 0, 2))
    table.add_column("", no_wrap=True)
    metrics = results.facts.metrics.get(report.key, ())
    for metric in metrics:
        table.add_column(str(summary.format_metric(metric)), justify="right")
    for column in results.plan.columns:
        means = (shown.means.get((report.key, metric, column.key)) for metric in metrics)
        cells = [_format_mean(*each) for each in zip(metrics, means, strict=True)]
        table.add_row(column.name if column.title else column.key, *cells)
    return table


def _format_mean(metric: str, mean: MeanScore | None) -> str:
    """Return the mean of a metric, and its interval on a second line; a dash without scores."""
    if mean is None:
        return "–"
    score = summary.format_score(metric, mean.mean)
    return f"{score}\n({summary.format_interval(metric, mean)})"


def _print_verdicts(results: EvaluationResults, shown: EvaluationSummary, display: Display) -> None:
    """Print in words what each model shows against the base model, and whether it forgot anything."""
    lines = []
    for column in results.plan.columns:
        sentences = []
        if column.key != shown.baseline and (verdict := shown.get_main_verdict(column.key)):
            sentences.append(verdict.sentence)
        if report := shown.forgetting.get(column.key):
            sentences.append(report.sentence)
        lines += [
            text("{column}: {verdict}", column=column.key, verdict=sentence)
            for sentence in sentences
        ]
    if lines:
        display.print_title(str(text("Compared with {column}", column=shown.baseline)))
    for line in lines:
        display.print_line(line)


def describe_preferences(results: EvaluationResults, found: Iterable[Preference]) -> list[Text]:
    """Return how often each model was preferred to the one that it was compared with."""
    keys = {column.key: column.title or column.key for column in results.plan.columns}
    return [
        text(
            "{judge}, {column} against {baseline}: {result}; {unknown} without a verdict."
            if each.unknown
            else "{judge}, {column} against {baseline}: {result}.",
            judge=each.judged_by,
            column=keys[each.column],
            baseline=keys[each.baseline],
            result=each.sentence,
            unknown=each.unknown,
        )
        for each in found
    ]


def _describe_columns(results: EvaluationResults) -> list[Text]:
    """Return what is worth knowing of the columns besides their scores."""
    lines = [line for column in results.facts.columns for line in _describe_column_report(column)]
    groups: dict[tuple[str, ...], list[str]] = {}
    for column in results.facts.columns:
        groups.setdefault(column.unmeasured, []).append(column.key)
    for metrics, keys in groups.items():
        if metrics:
            lines.append(
                text(
                    "{columns}: no log-likelihoods from the server, so these can't be measured: {metrics}.",
                    columns=", ".join(keys),
                    metrics=listed([summary.format_metric(metric) for metric in metrics]),
                )
            )
    return lines


def _describe_column_report(column: ColumnReport) -> list[Text]:
    """Return what is worth knowing of a column besides its scores."""
    lines = []
    if column.problem is not None:
        lines.append(text("{column}: {reason}", column=column.key, reason=column.problem.what))
    if column.failed:
        lines.append(
            counted(column.failed, "{column}: {n} item failed and counts as wrong.", "{column}: {n} items failed and count as wrong.", column=column.key)
        )  # fmt: skip
    return lines
