"""What becomes of a GGUF file in Ollama: TEMPLATE and stops, Modelfile, the model itself."""

from __future__ import annotations

from datetime import date
from pathlib import Path, PurePosixPath

import jinja2
from transformers import PreTrainedTokenizerBase

from lora_studio.core import events
from lora_studio.core.chat_template import ChatTemplate
from lora_studio.core.dataset import Message
from lora_studio.core.export import ExportSpec
from lora_studio.core.files import write_atomic
from lora_studio.core.ollama_template import DerivedTemplate, derive
from lora_studio.core.problems import Problem, ProblemError, Where
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.core.template_modelfile import modelfile
from lora_studio.engine import chat, llama, model
from lora_studio.engine.channel import Job
from lora_studio.engine.export import ollama

#: Longest answer of the test chat, in tokens.
_TRIAL_TOKENS = 48

#: Release from which a TEMPLATE may call currentDate; 0.9.3 refuses it.
_KNOWS_DATES = (0, 11)


def describe(run: RunFolder, project: Project, gguf: Path, job: Job) -> DerivedTemplate | None:
    """Derives the TEMPLATE from the merged model's chat template and writes the Modelfile.

    Returns None, with a warning, when no TEMPLATE could be proven equal to the chat template.
    """
    run.modelfile.unlink(missing_ok=True)
    tokenizer = model.load_tokenizer(run.merged, trust=project.model.trust_remote_code)
    job.progress("deriving the Ollama template", 0, None)
    derived = _derive(tokenizer, gguf)
    difference = derived.first_difference
    job.emit(
        events.TemplateDerived(
            template=derived.template,
            stops=derived.stops,
            proven=derived.proven,
            conversations=derived.conversations,
            difference=difference and f"{difference.expected!r} became {difference.actual!r}",
        )
    )
    for limit in derived.limits:
        job.emit(events.Log(text=f"Where TEMPLATE and chat template differ: {limit}."))
    for need in derived.needs:
        job.emit(events.Log(text=f"The TEMPLATE needs {need}."))
    if not derived.proven:
        job.emit(events.Warned(problem=_not_proven(derived)))
        return None
    text = modelfile(
        f"./{PurePosixPath(run.gguf.name, gguf.name)}",
        derived,
        project.export.system_prompt or None,
        _parameters(project.export),
    )
    write_atomic(run.modelfile, text)
    return derived


def create(
    run: RunFolder, project: Project, gguf: Path, derived: DerivedTemplate, job: Job
) -> None:
    """Creates the model and tries it out; a warning, no failure, where no server answers."""
    spec = project.export
    try:
        found = ollama.find(spec.ollama_host)
    except ProblemError as error:
        if error.problems[0].code not in ("ollama.not_running", "ollama.not_ollama"):
            raise
        for problem in error.problems:
            job.emit(events.Warned(problem=problem.model_copy(update={"severity": "warning"})))
        return
    derived = _for_server(run, project, gguf, derived, found, job)
    recipe = ollama.Recipe(
        name=ollama.model_name(project),
        template=derived.template,
        stops=derived.stops,
        system=spec.system_prompt,
        parameters=_parameters(spec),
    )
    ollama.create(found, spec.ollama_host, gguf, recipe, job)
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
    if "currentDate" not in derived.template or _release(found.version) >= _KNOWS_DATES:
        return derived
    today = date.today()
    tokenizer = model.load_tokenizer(run.merged, trust=project.model.trust_remote_code)
    job.emit(
        events.Log(
            text=f"Ollama {found.version} cannot write the current date, which this chat template "
            f"does: {today:%d %B %Y} stands in its place. A newer Ollama writes the day it is."
        )
    )
    return _derive(tokenizer, gguf, frozen_date=today)


def _release(version: str) -> tuple[int, ...]:
    """A version as numbers; one that is not made of numbers counts as new."""
    parts = version.lstrip("v").split("-")[0].split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else (10**9,)


def withheld(quantization: str) -> Problem:
    """The warning that a model which failed its self-test was not created in Ollama."""
    return Problem(
        code="export.not_created",
        what=f"The {quantization} file failed the self-test, so it was not created in Ollama.",
        remedy="Choose a quantisation with more bits and export again. The files and the Modelfile "
        "are there all the same.",
        where=Where(step="export", field="quantizations"),
        severity="warning",
    )


def _derive(
    tokenizer: PreTrainedTokenizerBase, gguf: Path, frozen_date: date | None = None
) -> DerivedTemplate:
    special = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}  # fmt: skip
    try:
        template = ChatTemplate(tokenizer.get_chat_template(), special)
    except jinja2.TemplateError as error:
        return DerivedTemplate(reason=f"the chat template does not compile: {error}.")
    end = chat.turn_end(tokenizer)
    ends = [*tokenizer.convert_ids_to_tokens(list(end.ids)), *([end.text] if end.text else [])]
    return derive(
        template.render,
        bos=tokenizer.bos_token or "",
        server_adds_bos=llama.adds_bos(gguf),
        eos=ends,
        frozen_date=frozen_date,
    )


def _parameters(spec: ExportSpec) -> dict[str, float | int]:
    return {"temperature": spec.temperature, "top_p": spec.top_p, "num_ctx": spec.num_ctx}


def _not_proven(derived: DerivedTemplate) -> Problem:
    reason = derived.reason.rstrip(".") or "the renderings differ"
    return Problem(
        code="export.template_not_proven",
        what=f"The chat template could not be turned into a proven Ollama TEMPLATE: {reason}.",
        remedy="No Modelfile and no Ollama model were made, since its answers could be wrong. The "
        "GGUF file carries the chat template itself and is complete.",
        where=Where(step="export"),
        severity="warning",
    )


def _try_out(run: RunFolder, host: str, name: str, job: Job) -> None:
    """Asks the new model a first question; a server that cannot run it says why."""
    held_out = (sample.messages for sample in run.heldout() if sample.messages)
    asked = next((turns[:1] for turns in held_out if turns[0].role == "user"), None)
    turns = asked or (Message(role="user", content="Hello! Who are you?"),)
    job.progress("asking the new model in Ollama", 0, None)
    try:
        reply = ollama.chat(host, name, turns, {"num_predict": _TRIAL_TOKENS}, job)
    except ProblemError as error:
        job.emit(events.Log(text=f"{name} exists, but was not tried out: {error.problems[0].what}"))
        return
    job.emit(events.Log(text=f"{name} was asked “{turns[0].content}” and answered: {reply.text}"))
