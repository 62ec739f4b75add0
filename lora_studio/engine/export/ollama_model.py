"""What becomes of a GGUF file in Ollama: TEMPLATE and stops, Modelfile, the model itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core import commands, events
from lora_studio.core.dataset import Message
from lora_studio.core.export import ExportSpec
from lora_studio.core.files import write_atomic
from lora_studio.core.go_template import GoTemplate
from lora_studio.core.ollama_template import DerivedTemplate
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.core.template_data import template_data
from lora_studio.core.template_modelfile import modelfile
from lora_studio.core.template_plan import RANGE_NEED
from lora_studio.core.template_proof import conversations
from lora_studio.core.template_source import TemplateSource
from lora_studio.engine import chat, llama, model
from lora_studio.engine.channel import Job
from lora_studio.engine.export import ollama, ollama_store, template_limits

#: Longest answer of the test chat, in tokens.
_TRIAL_TOKENS = 48

#: Conversations whose token ids are compared, and those that the server counts tokens of.
_COMPARED, _COUNTED = 24, 3

#: Releases from which a TEMPLATE may call currentDate (0.9.3 refuses it), and range over a number.
_KNOWS_DATES, _KNOWS_RANGES = (0, 11), (0, 6)

_WHERE = Where(step="export")


def describe(run: RunFolder, project: Project, gguf: Path, job: Job) -> DerivedTemplate | None:
    """Derives the TEMPLATE from the merged model's chat template and writes the Modelfile.

    Returns None, with a warning, when no TEMPLATE could be proven equal to the chat template, as
    text and as token ids.
    """
    run.modelfile.unlink(missing_ok=True)
    tokenizer = model.load_tokenizer(run.merged, trust=project.model.trust_remote_code)
    job.progress("deriving the Ollama template", 0, None)
    event = _derive(tokenizer, gguf, job)
    job.emit(event)
    assert event.derived is not None
    derived = event.derived
    for note in derived.notes:
        job.emit(events.Log(text=f"{note[:1].upper()}{note[1:]}."))
    for limit in derived.limits:
        job.emit(events.Log(text=f"Where TEMPLATE and chat template differ: {limit}."))
    for need in derived.needs:
        job.emit(events.Log(text=f"The TEMPLATE needs {need}."))
    if not derived.proven:
        job.emit(events.Warned(problem=_not_proven(derived)))
        return None
    if problem := _compare_ids(tokenizer, gguf, derived, job):
        job.emit(events.Warned(problem=problem))
        return None
    text = modelfile(
        f"./{PurePosixPath(run.gguf.name, gguf.name)}",
        derived,
        project.export.system_prompt or None,
        _parameters(project.export),
    )
    write_atomic(run.modelfile, text)
    return derived


# ------------------------------------------------------------------------------------- creating


def create(
    run: RunFolder, project: Project, gguf: Path, derived: DerivedTemplate, job: Job
) -> None:
    """Creates the model and tries it out; a warning, no failure, where no server answers."""
    try:
        found = ollama.find(project.export.ollama_host)
    except ProblemError as error:
        if error.problems[0].code not in ("ollama.not_running", "ollama.not_ollama"):
            raise
        for problem in error.problems:
            job.emit(events.Warned(problem=problem.model_copy(update={"severity": "warning"})))
        return
    _create_on(found, run, project, gguf, derived, job)


def create_of_run(command: commands.CreateOllama, job: Job) -> None:
    """Creates the model of a run that was exported before; raises ProblemError."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    changes = {"ollama_name": command.name, "ollama_host": command.host}
    spec = project.export.model_validate(
        project.export.model_dump() | {key: value for key, value in changes.items() if value}
    )
    project = project.model_copy(update={"export": spec})
    quantization = command.quantization or spec.quantizations[0]
    gguf = run.gguf_file(project.name, quantization)
    if not gguf.is_file():
        raise _no_file(run, quantization)
    _heed_selftest(run, quantization, anyway=command.anyway)
    found = ollama.find(spec.ollama_host)
    name = ollama.model_name(project)
    if not command.force and ollama_store.full_name(name) in found.models:
        raise ollama_store.taken(name, found.host)
    derived = describe(run, project, gguf, job)
    if derived is None:
        raise fail(
            "ollama.not_proven",
            "Without a proven TEMPLATE no model is created in Ollama.",
            "The warning above says what hinders; `lora-studio template derive` shows more.",
            where=_WHERE,
        )
    _create_on(found, run, project, gguf, derived, job)


def _create_on(
    found: events.OllamaFound,
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    job: Job,
) -> None:
    """Creates the model, reads back what was stored, counts tokens, asks a first question."""
    spec = project.export
    derived = _for_server(run, project, gguf, derived, found, job)
    recipe = ollama.Recipe(
        name=ollama.model_name(project),
        template=derived.template,
        stops=derived.stops,
        system=spec.system_prompt,
        parameters=_parameters(spec),
    )
    digest = ollama.create(spec.ollama_host, gguf, recipe, job)
    stored = ollama_store.show(spec.ollama_host, recipe.name)
    if wrong := ollama_store.differences(recipe, digest, stored):
        raise ProblemError(ollama_store.not_as_sent(recipe.name, wrong))
    counted = _count_prompts(run, project, gguf, recipe, job)
    job.emit(
        events.OllamaCreated(
            host=found.host, name=recipe.name, version=found.version, prompts_checked=counted
        )
    )
    if counted:
        _try_out(run, spec.ollama_host, recipe.name, job)


def _for_server(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    found: events.OllamaFound,
    job: Job,
) -> DerivedTemplate:
    """The TEMPLATE as this server takes it: an older one cannot write the current date."""
    release = _release(found.version)
    if RANGE_NEED in derived.needs and release < _KNOWS_RANGES:
        raise fail(
            "ollama.too_old",
            f"Ollama {found.version} cannot render this TEMPLATE: it needs {RANGE_NEED}.",
            "Update Ollama and export again.",
            where=Where(step="export", field="ollama_host"),
        )
    if "currentDate" not in derived.template or release >= _KNOWS_DATES:
        return derived
    today = date.today()
    tokenizer = model.load_tokenizer(run.merged, trust=project.model.trust_remote_code)
    job.emit(
        events.Log(
            text=f"Ollama {found.version} cannot write the current date, which this chat template "
            f"does: {today:%d %B %Y} stands in its place. A newer Ollama writes the day it is."
        )
    )
    frozen = _derive(tokenizer, gguf, job, frozen_date=today).derived
    assert frozen is not None
    return frozen


def _release(version: str) -> tuple[int, ...]:
    """A version as numbers; one that is not made of numbers counts as new."""
    parts = version.lstrip("v").split("-")[0].split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else (10**9,)


# --------------------------------------------------------------------------------------- checks


def _heed_selftest(run: RunFolder, quantization: str, *, anyway: bool) -> None:
    """Raises ProblemError when the self-test of the run speaks against a file.

    What its few bits lose can be accepted, a fault before or beside them cannot.
    """
    try:
        stages: list[dict[str, Any]] = json.loads(run.selftest_file.read_text("utf-8"))["stages"]
    except (OSError, ValueError, KeyError):
        return  # not tested, by the user's choice
    failed = {stage["stage"]: stage for stage in stages if not stage["passed"]}
    faulty = [name for name in ("merged", "converted") if name in failed]
    if quantization in failed and not failed[quantization]["tokens_equal"]:
        faulty.append(quantization)
    if faulty:
        raise fail(
            "ollama.failed_selftest",
            f"The self-test found a fault in {', '.join(faulty)}, so no model is created.",
            "Merge and export again; the run's selftest.json says what was found.",
            where=_WHERE,
        )
    if quantization in failed and not anyway:
        raise fail(
            "ollama.lossy",
            f"{quantization} loses so much that the self-test failed; nothing else is wrong.",
            "Choose a quantisation with more bits, or create it all the same (--anyway on the "
            "command line).",
            where=Where(step="export", field="quantizations"),
        )


def withheld(quantization: str) -> Problem:
    """The warning that a model which failed its self-test was not created in Ollama."""
    return Problem(
        code="export.not_created",
        what=f"The {quantization} file failed the self-test, so it was not created in Ollama.",
        remedy="Choose a quantisation with more bits and export again. The files and the Modelfile "
        "are there all the same; where only bits were lost, you can create it from them.",
        where=Where(step="export", field="quantizations"),
        severity="warning",
    )


def _compare_ids(
    tokenizer: PreTrainedTokenizerBase, gguf: Path, derived: DerivedTemplate, job: Job
) -> Problem | None:
    """The problem when Ollama would read other tokens than the tokenizer gives, None else.

    One side is the chat template through the tokenizer; the other the TEMPLATE through llama.cpp,
    which adds BOS by its own rule.
    """
    today = date.today()
    talks = _talks(derived, _COMPARED)
    template = GoTemplate(derived.template)
    prompts = [template.render(template_data(talk), today=today) for talk in talks]
    ours = [_ids(tokenizer, talk) for talk in talks]
    theirs = llama.prompt_ids(gguf, prompts)
    for talk, one, two in zip(talks, ours, theirs, strict=True):
        if one != two:
            return _other_tokens(talk, one, two)
    job.emit(events.Log(text=f"TEMPLATE and chat template give the same tokens in {len(talks)} "
                        "conversations."))  # fmt: skip
    return None


def _talks(derived: DerivedTemplate, count: int) -> list[list[dict[str, Any]]]:
    """Conversations without unusual features, which every chat template takes."""
    talks = (
        talk
        for talk in conversations()
        if derived.system != "refused" or talk[0]["role"] != "system"
    )
    usual = (talk for talk in talks if all(a["role"] != b["role"] for a, b in pairwise(talk)))  # fmt: skip
    return [talk for talk, _ in zip(usual, range(count), strict=False)]


def _ids(tokenizer: PreTrainedTokenizerBase, talk: Sequence[dict[str, Any]]) -> list[int]:
    text = tokenizer.apply_chat_template(list(talk), tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def _other_tokens(talk: Sequence[dict[str, Any]], one: list[int], two: list[int]) -> Problem:
    place = next(
        (n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
        min(len(one), len(two)),
    )
    return Problem(
        code="export.other_tokens",
        what=f"Ollama would read other tokens than the model was trained on: at token {place} of a "
        f"conversation of {len(talk)} messages, {two[place : place + 3]} instead of "
        f"{one[place : place + 3]}.",
        remedy="No Modelfile and no Ollama model were made. The tokenizer in the GGUF file differs "
        "from the model's own; a newer llama.cpp may convert it better.",
        where=_WHERE,
        severity="warning",
    )


def _count_prompts(
    run: RunFolder, project: Project, gguf: Path, recipe: ollama.Recipe, job: Job
) -> int:
    """Asks the server how many tokens prompts have; raises ProblemError when ours differ.

    0 where the server cannot run the model.
    """
    tokenizer = model.load_tokenizer(run.merged, trust=project.model.trust_remote_code)
    job.progress("comparing token counts with Ollama", 0, None)
    short = (talk for talk in conversations() if len(talk) < 5 and talk[0]["role"] != "system")
    talks = [talk for talk, _ in zip(short, range(_COUNTED), strict=False)]
    for counted, talk in enumerate(talks):
        turns = tuple(Message(role=turn["role"], content=turn["content"]) for turn in talk)
        try:
            reply = ollama.chat(
                project.export.ollama_host, recipe.name, turns, {"num_predict": 1}, job
            )
        except ProblemError as error:
            reason = error.problems[0].what
            job.emit(events.Log(text=f"{recipe.name} exists, but was not tried out: {reason}"))
            return counted
        system = [{"role": "system", "content": recipe.system}] if recipe.system else []
        ours = len(_ids(tokenizer, [*system, *talk]))
        if reply.prompt and reply.prompt != ours:
            raise fail(
                "ollama.other_prompt",
                f"Ollama reads {reply.prompt} tokens where the model was trained on {ours}.",
                "The model exists, but its answers can differ from the trained model's. Update "
                "Ollama and create it again; look whether its server rewrites prompts.",
                where=_WHERE,
            )
    return len(talks)


def _no_file(run: RunFolder, quantization: str) -> ProblemError:
    there = ", ".join(sorted(file.name for file in run.gguf.glob("*.gguf")))
    return fail(
        "ollama.no_file",
        f"The run has no {quantization} file.",
        f"It has {there}." if there else "Export it first (`lora-studio export RUN`).",
        where=Where(file=str(run.gguf)),
    )


def _derive(
    tokenizer: PreTrainedTokenizerBase, gguf: Path, job: Job, frozen_date: date | None = None
) -> events.TemplateDerived:
    special = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}  # fmt: skip
    end = chat.turn_end(tokenizer)
    ends = [*tokenizer.convert_ids_to_tokens(list(end.ids)), *([end.text] if end.text else [])]
    source = TemplateSource(tokenizer.get_chat_template(), special, llama.adds_bos(gguf))
    return template_limits.derive(source, job, eos=tuple(ends), frozen_date=frozen_date)


def _parameters(spec: ExportSpec) -> dict[str, float | int]:
    return {"temperature": spec.temperature, "top_p": spec.top_p, "num_ctx": spec.num_ctx}


def _not_proven(derived: DerivedTemplate) -> Problem:
    reason = derived.reason.rstrip(".") or "the renderings differ"
    other = ""
    if derived.alternative is not None:
        other = f" Nearest to it that is proven: {derived.alternative.what}."
    return Problem(
        code="export.template_not_proven",
        what=f"The chat template could not be turned into a proven Ollama TEMPLATE: {reason}.",
        remedy="No Modelfile and no Ollama model were made, since its answers could be wrong. The "
        f"GGUF file carries the chat template itself and is complete.{other}",
        where=_WHERE,
        severity="warning",
    )


def _try_out(run: RunFolder, host: str, name: str, job: Job) -> None:
    """Asks the new model a first question; a server that cannot run it says why."""
    rows = (sample.messages for sample in run.heldout() if sample.messages)
    asked = next((turns[:1] for turns in rows if turns[0].role == "user"), None)
    turns = asked or (Message(role="user", content="Hello! Who are you?"),)
    job.progress("asking the new model in Ollama", 0, None)
    try:
        reply = ollama.chat(host, name, turns, {"num_predict": _TRIAL_TOKENS}, job)
    except ProblemError as error:
        job.emit(events.Log(text=f"{name} exists, but was not tried out: {error.problems[0].what}"))
        return
    job.emit(events.Log(text=f"{name} was asked “{turns[0].content}” and answered: {reply.text}"))
