"""Everything that reads or changes a run, as functions of its folder, and what must hold afterwards.

`VERBS` are the commands of the worker, the functions of the window, and the command line. `find_faults`
compares a damaged run before and after a verb: a named problem or a correct result, and no file lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.chat import ChatQuestion
from lora_studio.core.curves import metrics
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import (
    chat_models,
    cluster,
    facts,
    grid_search,
    index,
    names,
    queue,
    table,
)
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.tasks.samples import Message
from tests.helpers.runs import jobs
from tests.helpers.runs.damaged_runs import Damage

_TURNS = ((Message(role="user", content="What is 2 and 2?"),),)


@dataclass
class Outcome:
    """How a verb ended: `is_done`, or with problems; `crash` is a traceback that a user would see."""

    is_done: bool = False
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    output: str = ""
    crash: str = ""

    @property
    def codes(self) -> list[str]:
        """The codes of its problems and warnings."""
        return [problem.code for problem in (*self.problems, *self.warnings)]


Verb = Callable[[RunFolder], Outcome]


def _handle(command: commands.Job | commands.Question) -> Outcome:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        channel = jobs.handle(command)
    failed = [event.problem for event in channel.of(events.Failed)]
    failed += [event.problem for event in channel.of(events.AnswerRefused)]
    failed_tests = [event.stage for event in channel.of(events.SelfTested) if not event.passed]
    return Outcome(
        is_done=bool(channel.of(events.Done)) and not failed and not failed_tests,
        problems=failed,
        warnings=[event.problem for event in channel.of(events.Warned)],
        output=errors.getvalue(),
    )


def _call(function: Callable[[RunFolder], object]) -> Verb:
    def call(run: RunFolder) -> Outcome:
        try:
            output = function(run)
        except ProblemError as error:
            return Outcome(problems=list(error.problems))
        except Exception:
            return Outcome(crash=traceback.format_exc())
        return Outcome(is_done=True, output=str(output))

    return call


def _command_line(*arguments: str, on_project: bool = False) -> Verb:
    def call(run: RunFolder) -> Outcome:
        path = run.path.parent.parent if on_project else run.path
        result = CliRunner().invoke(app, [*arguments, str(path)], env={"COLUMNS": "200"})
        crash = ""
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            crash = "".join(traceback.format_exception(result.exception))
        return Outcome(is_done=result.exit_code == 0, output=result.output, crash=crash)

    return call


def _ask(run: RunFolder, title: str) -> Outcome:
    try:
        model = run.load_project().model
    except ProblemError as error:
        return Outcome(problems=list(error.problems))
    options = [
        option for option in chat_models.list_run_chat_models(run) if title in str(option.title)
    ]
    if not options:
        return Outcome(is_done=False)
    question = ChatQuestion(
        column=0, chat_model=options[0].chat_model, messages=_TURNS[0], sampling={"max_tokens": 2}
    )
    return _handle(commands.AskChat(model=model, asked=(question,)))


def _generate(source: commands.TextSource) -> Verb:
    return lambda run: _handle(
        commands.Generate(run=str(run.path), sources=(source,), conversations=_TURNS, max_tokens=2)
    )


def _continue_training(run: RunFolder) -> str:
    copy = grid_search.continue_training(run)
    try:
        return str(copy.load_project().lora.start_from)
    finally:
        shutil.rmtree(copy.path)


def _repeat(run: RunFolder) -> str:
    copy = grid_search.repeat_run(run)
    try:
        return str(copy.load_project())
    finally:
        shutil.rmtree(copy.path)


def _annotate(run: RunFolder) -> None:
    about = run.read_about()
    run.write_about(RunAnnotations(title=about.title, tags=about.tags, notes=about.notes))


def _export_to_cluster(run: RunFolder) -> None:
    out = run.path.parent.parent / "cluster"
    try:
        cluster.export_run(run, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _list_adapters(run: RunFolder) -> Outcome:
    try:
        model = run.load_project().model
    except ProblemError:
        model = None
    return _handle(commands.ListAdapters(folders=(str(run.path.parent),), model=model))


#: Verbs that take seconds: they load a model or write one.
HEAVY: dict[str, Verb] = {
    "resume": lambda run: _handle(commands.Train(run=str(run.path), resume=True)),
    "merge": lambda run: _handle(commands.Merge(run=str(run.path))),
    "export": lambda run: _handle(commands.Export(run=str(run.path))),
    "selftest": lambda run: _handle(commands.SelfTest(run=str(run.path))),
    "answer tuned": _generate("tuned"),
    "answer merged": _generate("merged"),
    "answer gguf": _generate("gguf"),
    "chat adapter": lambda run: _ask(run, "Adapter"),
    "chat checkpoint": lambda run: _ask(run, "Checkpoint, step 8"),
    "chat merged": lambda run: _ask(run, "Merged"),
    "chat gguf": lambda run: _ask(run, ".gguf"),
}

#: Verbs that only read small files.
LIGHT: dict[str, Verb] = {
    "plan merge": lambda run: _call(
        lambda _: _raise_failure(
            commands.PlanMerge(run=str(run.path), merging=run.load_project().merging)
        )
    )(run),
    "card adapter": lambda run: _handle(
        commands.PreviewCard(run=str(run.path), repository="pim/x", what="adapter")
    ),
    "card gguf": lambda run: _handle(
        commands.PreviewCard(run=str(run.path), repository="pim/x", what="gguf")
    ),
    "show adapter": lambda run: _handle(commands.ShowAdapter(folder=str(run.adapter), model=None)),
    "list adapters": _list_adapters,
    "list": _call(lambda run: table.to_csv(index.read_summaries(run.path.parent))),
    "list cached": _call(lambda run: index.RunIndex(run.path.parent).load()),
    "metrics": _call(lambda run: metrics.read_metrics(run).to_csv()),
    "settings": _call(grid_search.list_settings),
    "facts": _call(facts.measure_sizes),
    "chat_models": _call(chat_models.list_run_chat_models),
    "name": _call(names.read_run_name),
    "state": _call(lambda run: run.read_state()),
    "repeat": _call(_repeat),
    "continue": _call(_continue_training),
    "annotate": _call(_annotate),
    "cluster": _call(_export_to_cluster),
    "queue": _call(lambda run: queue.load(run.path.parent)),
    "heldout": _call(lambda run: read_heldout(run)),
    "cli runs": _command_line("runs", on_project=True),
    "cli runs json": _command_line("runs", "--json", on_project=True),
    "cli metrics": _command_line("metrics"),
    "cli watch": _command_line("watch"),
    "cli pause": _command_line("pause"),
}

VERBS: dict[str, Verb] = HEAVY | LIGHT


def _raise_failure(command: commands.Question) -> None:
    outcome = _handle(command)
    if outcome.problems:
        raise ProblemError(outcome.problems)


# --- what must hold -------------------------------------------------------------------------------

Snapshot = dict[str, str]

#: Files that a verb may write, as prefixes; everything else must stay as it was.
_WRITTEN: dict[str, tuple[str, ...]] = {
    "resume": (
        "adapter/", "checkpoints/", "best/", "data/", "train.py", "rewards.py", "samples.json",
        "heldout.jsonl", "requirements.lock.txt", "start-adapter/", "initial-adapter/",
        "trackers/",
    ),
    "merge": ("merged/", "selftest.json"),
    "export": ("gguf/", "Modelfile", "selftest.json"),
    "selftest": ("selftest.json",),
    "annotate": ("about.json",),
}  # fmt: skip
_ALWAYS = ("events.jsonl", "manifest.json", "run.lock", "tmp", "log.txt", ".", "commands.jsonl")

#: Files whose bytes are the same however often it is written, and what writes them.
_DERIVED: dict[str, tuple[str, ...]] = {
    "resume": ("adapter/adapter_model.safetensors", "data/", "heldout.jsonl"),
    "merge": ("merged/model.safetensors",),
    "export": ("gguf/",),
}

#: What a verb hands on: it must be what was trained, or the verb must not succeed.
_DELIVERED: dict[str, tuple[str, ...]] = {
    "export": ("merged/", "gguf/"),
    "selftest": ("adapter/", "merged/", "gguf/"),
    "answer tuned": ("adapter/",),
    "answer merged": ("merged/",),
    "answer gguf": ("gguf/",),
    "chat adapter": ("adapter/",),
    "chat checkpoint": ("checkpoints/step-00000008/adapter",),
    "chat merged": ("merged/",),
    "chat gguf": ("gguf/",),
    "continue": ("adapter/",),
}


#: Warnings that name what a verb that succeeds doesn't deliver or test, and the file if they don't name it.
_NAMED = {
    "resume": {"training.best_damaged": "adapter/adapter_model.safetensors"},
    "selftest": {"selftest.file_missing": "", "selftest.merged_missing": ""},
}


def list_delivering(file: str) -> list[str]:
    """Return the heavy verbs that hand on a file or folder of a run, by its path."""
    return [verb for verb in HEAVY if f"{file}/".startswith(_DELIVERED.get(verb, "/"))]


def take_snapshot(run: RunFolder) -> Snapshot:
    """Return a hash of every file in a run; a link has its target's name."""
    snapshot, first = {}, len(str(run.path)) + 1
    for parent, folders, files in os.walk(run.path):
        for path in (os.path.join(parent, name) for name in (*folders, *files)):  # noqa: PTH118 - a third of the time
            facts = os.lstat(path)
            if stat.S_ISLNK(facts.st_mode):
                snapshot[path[first:]] = f"link to {Path(path).readlink()}"
            elif stat.S_ISREG(facts.st_mode):
                snapshot[path[first:]] = _compute_digest(path, facts)
    return snapshot


#: Hashes of files by what changes with their content. Each case takes several snapshots of the same files.
_digests: dict[tuple[int, ...], str] = {}

#: Nanoseconds after which a further change gives a file another time: many ticks of the system's clock.
_SETTLED = 100_000_000


def _compute_digest(file: str, facts: os.stat_result) -> str:
    """Return the hash of a file, which is read again only if its inode, size, or times have changed."""
    key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    if (known := _digests.get(key)) is not None:
        return known
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if time.time_ns() - facts.st_ctime_ns > _SETTLED:
        _digests[key] = digest
    return digest


def find_faults(
    whole: Snapshot, damaged: Snapshot, run: RunFolder, damage: Damage, verb: str, outcome: Outcome
) -> list[str]:
    """Return what went wrong with a verb on a damaged run.

    `whole` is the snapshot before the damage, `damaged` the one after it and before the verb.
    """
    after = take_snapshot(run)
    faults = []
    if outcome.crash:
        faults.append(f"a traceback: {outcome.crash.splitlines()[-1]}")
    if "Traceback" in outcome.output and verb.startswith("cli"):
        faults.append("a traceback in the terminal")
    faults += [
        f"unexpected: {problem.what}"
        for problem in (*outcome.problems, *outcome.warnings)
        if problem.code == "engine.unexpected"
    ]
    faults += _find_losses(damaged, after, verb)
    if outcome.is_done:
        faults += _find_wrong_results(run, whole, after, damage, verb, outcome)
    return faults


def _find_losses(damaged: Snapshot, after: Snapshot, verb: str) -> Iterable[str]:
    allowed = _WRITTEN.get(verb, ())
    for name, digest in damaged.items():
        if after.get(name) != digest and not name.startswith((*_ALWAYS, *allowed)):
            yield f"{name} was {'changed' if name in after else 'deleted'}"


def _find_wrong_results(
    run: RunFolder, whole: Snapshot, after: Snapshot, damage: Damage, verb: str, outcome: Outcome
) -> Iterable[str]:
    if damage.kind == "link" and verb not in _WRITTEN:
        return  # it leads to what was there before
    excused = tuple(_iter_excused(run, damage, verb, outcome))
    for name, digest in whole.items():
        is_made = name.startswith(_DERIVED.get(verb, ()))
        is_used = name.startswith(_DELIVERED.get(verb, ()))
        is_wrong = (is_made or is_used) and after.get(name) != digest
        if is_wrong and not f"{name}/".startswith(excused):
            yield f"{name} differs, but {verb} succeeded"


def _iter_excused(run: RunFolder, damage: Damage, verb: str, outcome: Outcome) -> Iterable[str]:
    """Yield the files and folders that may differ after a verb, each with a slash at its end."""
    for problem in outcome.warnings:
        file = _NAMED.get(verb, {}).get(problem.code)
        if file is not None:
            named = file or Path(str(problem.where.file)).relative_to(run.path).as_posix()
            yield f"{named}/"
    if damage == Damage("merged", "delete") and verb == "export":
        yield from ("merged/", "gguf/")  # files are written from base and adapter
