"""Turn a GGUF file into an Ollama model: TEMPLATE and stop strings, Modelfile, the model itself."""

from __future__ import annotations

from datetime import date
from pathlib import Path, PurePosixPath

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import Message
from lora_studio.core.export import ExportSpec, is_ollama_name_taken
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.system.files import write_atomic
from lora_studio.core.templates.features import ServerNeed
from lora_studio.core.templates.modelfile import build_modelfile
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.source import TemplateSource
from lora_studio.engine import generation
from lora_studio.engine.export.ollama import (
    checks,
    server,
    store,
    template_sandbox,
)
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext

#: Longest answer of the test chat, in tokens.
_TRIAL_TOKENS = 48

_WHERE = Where(step="export")


def write_modelfile(
    run: RunFolder, project: Project, gguf: Path, job: JobContext
) -> DerivedTemplate | None:
    """Derive the TEMPLATE from the chat template that was trained with and write the Modelfile.

    Returns None, with a warning, when no TEMPLATE could be proven equal to the chat template, as
    text and as token ids.
    """
    run.modelfile.unlink(missing_ok=True)
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    job.report_progress(text("deriving the Ollama template"), 0, None)
    event = _derive(tokenizer, gguf, job)
    job.emit(event)
    assert event.derived is not None
    derived = event.derived
    for note in derived.notes:
        job.emit(events.Log(text=text("Ollama TEMPLATE: {note}.", note=note)))
    for limit in derived.limits:
        job.emit(
            events.Log(
                text=text("The TEMPLATE differs from the chat template for {limit}.", limit=limit)
            )
        )
    for need in derived.needs:
        job.emit(events.Log(text=text("The TEMPLATE needs {need}.", need=need.description)))
    if not derived.proven:
        job.emit(events.Warned(problem=_not_proven_problem(derived)))
        return None
    if problem := checks.compare_ids(run, tokenizer, gguf, derived, job):
        job.emit(events.Warned(problem=problem))
        return None
    content = build_modelfile(
        f"./{PurePosixPath(run.gguf.name, gguf.name)}",
        derived,
        project.export.system_prompt or None,
        _get_parameters(project.export),
    )
    write_atomic(run.modelfile, content)
    return derived


# ------------------------------------------------------------------------------------- creating


def create(
    run: RunFolder, project: Project, gguf: Path, derived: DerivedTemplate, job: JobContext
) -> None:
    """Create the model and test it; emits a warning if no server answers."""
    try:
        found_server = server.inspect_server(project.export.ollama_host)
    except ProblemError as error:
        if error.problems[0].code not in ("ollama.not_running", "ollama.not_ollama"):
            raise
        for problem in error.problems:
            job.emit(events.Warned(problem=problem.model_copy(update={"severity": "warning"})))
        return
    _create_on(found_server, run, project, gguf, derived, job)


def create_of_run(command: commands.CreateOllama, job: JobContext) -> None:
    """Create the model of a run that was exported before; raises ProblemError."""
    run = RunFolder(Path(command.run))
    project = _apply_command(run.load_project(), command)
    spec = project.export
    quantization = command.quantization or spec.quantizations[0]
    gguf = run.get_gguf_file(project.name, quantization)
    if not gguf.is_file():
        raise _missing_file_error(run, quantization)
    checksums.require_intact(run, run.gguf, [gguf.name], job.check)
    checks.require_passing_selftest(run, quantization, anyway=command.anyway)
    found_server = server.inspect_server(spec.ollama_host)
    name = server.get_model_name(project)
    if not command.force and is_ollama_name_taken(name, found_server.models):
        raise store.name_exists_error(name, found_server.host)
    derived = write_modelfile(run, project, gguf, job)
    if derived is None:
        raise fail(
            "ollama.not_proven",
            "No Ollama model is created without a verified TEMPLATE.",
            "See the warning above. `lora-studio template derive` shows details.",
            where=_WHERE,
        )
    _create_on(found_server, run, project, gguf, derived, job)


def _apply_command(project: Project, command: commands.CreateOllama) -> Project:
    """Return the project with the command's model name and server; raises ProblemError."""
    changes = {"ollama_name": command.name, "ollama_host": command.host}
    if command.name:
        store.check_name(command.name)
    # Not validated: a password, which no project may hold, is fine in a command.
    changed = {key: value for key, value in changes.items() if value}
    return project.model_copy(update={"export": project.export.model_copy(update=changed)})


def _create_on(
    ollama: events.OllamaFound,
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    job: JobContext,
) -> None:
    """Create the model, verify what was stored, count tokens and ask a first question."""
    spec = project.export
    derived = _adapt_to_server(run, project, gguf, derived, ollama, job)
    recipe = server.CreateRequest(
        name=server.get_model_name(project),
        template=derived.template,
        stops=derived.stops,
        system=spec.system_prompt,
        parameters=_get_parameters(spec),
    )
    digest = server.create(spec.ollama_host, gguf, recipe, job)
    stored = store.show_model(spec.ollama_host, recipe.name)
    if differences := store.find_differences(recipe, digest, stored):
        raise store.stored_differently_error(recipe.name, differences)
    counted = checks.count_prompts(run, project, gguf, derived, recipe, job)
    job.emit(
        events.OllamaCreated(
            host=ollama.host, name=recipe.name, version=ollama.version, prompts_checked=counted
        )
    )
    if counted:
        _ask_first_question(run, spec.ollama_host, recipe.name, job)


def _adapt_to_server(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    ollama: events.OllamaFound,
    job: JobContext,
) -> DerivedTemplate:
    """Return the TEMPLATE for this server version: an older one can't write the current date."""
    lacking = [need for need in derived.needs if _release(ollama.version) < need.release]
    if ServerNeed.RANGE in lacking:
        raise fail(
            "ollama.too_old",
            "Ollama {version} can't render this TEMPLATE. It needs {need}.",
            "Update Ollama and export again.",
            where=Where(step="export", field="ollama_host"),
            version=ollama.version,
            need=ServerNeed.RANGE.description,
        )
    for need in lacking:
        if need is not ServerNeed.DATE:
            job.emit(events.Warned(problem=_outdated_server_warning(ollama.version, need)))
    if ServerNeed.DATE not in lacking:
        return derived
    today = date.today()
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    job.emit(
        events.Log(
            text=text(
                "This chat template contains the current date, which Ollama {version} doesn't "
                "support. The TEMPLATE contains the fixed date {date} instead. Newer versions of "
                "Ollama insert the current date.",
                version=ollama.version,
                date=today.isoformat(),
            )
        )
    )
    frozen = _derive(tokenizer, gguf, job, frozen_date=today).derived
    assert frozen is not None
    return frozen


def _outdated_server_warning(version: str, need: ServerNeed) -> Problem:
    return warning(
        "ollama.no_calls",
        "Conversations with tool calls will fail on Ollama {version}. They need {need}.",
        "Update Ollama, or use the model without tools. Nothing else is affected.",
        where=Where(step="export", field="ollama_host"),
        version=version,
        need=need.description,
    )


def _release(version: str) -> tuple[int, ...]:
    """Return a version as numbers; one that isn't numeric counts as new."""
    parts = version.lstrip("v").split("-")[0].split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else (10**9,)


def not_created_warning(quantization: str) -> Problem:
    """Return the warning that a model was not created because its self-test failed."""
    return warning(
        "export.not_created",
        "The {quantization} file failed the self-test, so no Ollama model was created.",
        "Choose a quantization with more bits and export again. The files and the Modelfile are "
        "complete; if only precision was lost, you can still create the model from them.",
        where=Where(step="export", field="quantizations"),
        quantization=quantization,
    )


def _missing_file_error(run: RunFolder, quantization: str) -> ProblemError:
    existing = sorted(file.name for file in run.gguf.glob("*.gguf"))
    return fail(
        "ollama.no_file",
        "The run has no {quantization} file.",
        "Choose one of its files: {names}."
        if existing
        else "Export it first (`lora-studio export RUN`).",
        where=Where(file=str(run.gguf)),
        quantization=quantization,
        names=", ".join(existing),
    )


def _derive(
    tokenizer: PreTrainedTokenizerBase, gguf: Path, job: JobContext, frozen_date: date | None = None
) -> events.TemplateDerived:
    special = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}  # fmt: skip
    end = generation.create_turn_end_criteria(tokenizer)
    ends = [*tokenizer.convert_ids_to_tokens(list(end.ids)), *([end.text] if end.text else [])]
    source = TemplateSource(tokenizer.get_chat_template(), special, llama_cpp.should_add_bos(gguf))
    return template_sandbox.derive(source, job, eos=tuple(ends), frozen_date=frozen_date)


def _get_parameters(spec: ExportSpec) -> dict[str, float | int]:
    return {"temperature": spec.temperature, "top_p": spec.top_p, "num_ctx": spec.num_ctx}


def _not_proven_problem(derived: DerivedTemplate) -> Problem:
    no_files = (
        "No Modelfile and no Ollama model were created, because answers could be wrong. The GGUF file "
        "is complete and contains the chat template."
    )
    remedy = text(no_files)
    if derived.alternative is not None:
        remedy = text(
            "{consequence} The closest verified TEMPLATE is the one {alternative}.",
            consequence=remedy,
            alternative=derived.alternative.what,
        )
    return warning(
        "export.template_not_proven",
        "The chat template couldn't be converted to a verified Ollama TEMPLATE: {reason}.",
        remedy,
        where=_WHERE,
        reason=derived.reason,
    )


def _ask_first_question(run: RunFolder, host: str, name: str, job: JobContext) -> None:
    """Ask the new model a first question; warn if the server can't run it."""
    rows = (sample.messages for sample in read_heldout(run) if sample.messages)
    question = next((turns[:1] for turns in rows if turns[0].role == "user"), None)
    turns = question or (Message(role="user", content="Hello! Who are you?"),)
    job.report_progress(text("testing the new model in Ollama"), 0, None)
    try:
        reply = server.chat(host, name, turns, {"num_predict": _TRIAL_TOKENS}, job)
    except ProblemError as error:
        job.emit(events.Log(text=checks.describe_untested_model(name, error.problems[0].what)))
        return
    job.emit(
        events.Log(
            text=text(
                "Asked “{question}”, {model} answered: {answer}",
                question=turns[0].content,
                model=name,
                answer=reply.text,
            )
        )
    )
