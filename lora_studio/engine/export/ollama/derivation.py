"""Derive the TEMPLATE of a run's chat template, check its token IDs, and write the Modelfile."""

from __future__ import annotations

from datetime import date
from pathlib import Path, PurePosixPath

from transformers import PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling, to_ollama_options
from lora_studio.core.export import ExportSpec
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.templates.chat_template import TemplateSource
from lora_studio.core.templates.modelfile import build_modelfile
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.engine.export.ollama import checks, jinja_check, template_sandbox
from lora_studio.engine.generation import turn_boundaries
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="export")


def write_modelfile(
    run: RunFolder, project: Project, gguf: Path, job: JobContext
) -> DerivedTemplate | None:
    """Derive the TEMPLATE from the chat template that was trained with and write the Modelfile.

    Without a TEMPLATE that is proven equal to the chat template, no Modelfile is written, with a
    warning. Returns None, with a warning, if the GGUF file gives other token IDs than training: no
    server can then build the trained prompts. Raises ProblemError if the file contains another chat
    template.
    """
    run.modelfile.unlink(missing_ok=True)
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    checks.require_trained_chat_template(tokenizer, gguf)
    job.report_progress(text("deriving the Ollama template"), 0, None)
    event = derive(tokenizer, gguf, job)
    job.emit(event)
    assert event.derived is not None
    derived = event.derived
    _report(derived, job)
    if problem := checks.compare_ids(run, tokenizer, gguf, derived, job):
        job.warn(problem)
        return None
    for problem in jinja_check.check_chat_template(project, tokenizer, gguf, job):
        job.warn(problem)
    if not derived.proven:
        return derived
    if problem := checks.find_differing_rows(run, tokenizer, gguf, derived):
        job.warn(problem)
    content = build_modelfile(
        f"./{PurePosixPath(run.gguf.name, gguf.name)}",
        derived,
        project.export.system_prompt or None,
        list_parameters(project.export),
    )
    projector = run.get_projector_file(project.name)
    if projector.is_file():  # Ollama takes every FROM, and recognizes the projector by its header
        first, _, others = content.partition("\n")
        second = f"FROM ./{PurePosixPath(run.gguf.name, projector.name)}"
        content = "\n".join((first, second, others))
    write_atomic(run.modelfile, content)
    return derived


def _report(derived: DerivedTemplate, job: JobContext) -> None:
    for note in derived.notes:
        job.log(text("Ollama TEMPLATE: {note}.", note=note))
    for limit in derived.limits:
        job.log(text("The TEMPLATE differs from the chat template for {limit}.", limit=limit))
    for need in derived.needs:
        job.log(text("The TEMPLATE needs {need}.", need=need.description))
    if not derived.proven:
        job.warn(_not_proven_problem(derived))


def derive(
    tokenizer: PreTrainedTokenizerBase, gguf: Path, job: JobContext, frozen_date: date | None = None
) -> events.TemplateDerived:
    """Return the TEMPLATE of a tokenizer's chat template; its stop strings even if there is none."""
    special = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}  # fmt: skip
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    ends = [*tokenizer.convert_ids_to_tokens(list(end.ids)), *([end.text] if end.text else [])]
    source = TemplateSource(tokenizer.get_chat_template(), special, llama_cpp.should_add_bos(gguf))
    event = template_sandbox.derive(source, job, eos=tuple(ends), frozen_date=frozen_date)
    if event.derived is None or event.derived.stops:
        return event
    derived = event.derived.model_copy(update={"stops": tuple(ends)})
    return event.model_copy(update={"derived": derived, "stops": derived.stops})


def list_parameters(spec: ExportSpec) -> dict[str, float | int]:
    """Return every sampling parameter, off if the project has no setting for it, since defaults differ.

    The penalty was 1.1 before 0.30, and 0.33.3 reads defaults from the GGUF file.
    """
    sampling = to_ollama_options(Sampling(temperature=spec.temperature, top_p=spec.top_p))
    others = {"typical_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    of_a_request = {"num_predict", "seed"}
    chosen = {name: value for name, value in sampling.items() if name not in of_a_request}
    return chosen | others | {"num_ctx": spec.num_ctx}


def _not_proven_problem(derived: DerivedTemplate) -> Problem:
    remedy = text(
        "No Modelfile was written. The GGUF file is complete and contains the chat template, which "
        "Ollama 0.30 and later, LM Studio, and llama.cpp use."
    )
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
