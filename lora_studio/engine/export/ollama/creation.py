"""Create a model on a server of known version, read it back, and prove its prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.tasks.samples import Message
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.server.prompt_path import (
    NO_TEMPLATE,
    CreationPlan,
    ServedModel,
    correct_path,
    list_chat_template_abilities,
    list_unparsed_parts,
    parse_version,
    plan_creation,
    predict_prompt_path,
)
from lora_studio.core.templates.server.prompt_proof import ProbeKind, PromptPath, PromptProof
from lora_studio.core.templates.server.terms import ServerNeed
from lora_studio.engine.export.gguf.architecture_support import outdated_ollama_error
from lora_studio.engine.export.ollama import (
    checks,
    derivation,
    prompt_judge,
    read_back,
    server,
    store,
)
from lora_studio.engine.export.ollama.client import UnknownArchitectureError
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.trained_prompts import render_answers

#: Longest answer of the test chat, in tokens.
_TRIAL_TOKENS = 48

_WHERE = Where(step="export", field="ollama_host")


class ModelJudge(Protocol):
    """Checks a Modelfile, or the model that a server has stored, against the trained model."""

    def __call__(
        self,
        run: RunFolder,
        project: Project,
        gguf: Path,
        derived: DerivedTemplate | None,
        stored: events.OllamaShown | None = None,
    ) -> None:
        """Raise ProblemError if `stored`, or the run's Modelfile without it, differs from the trained model."""
        ...


def create_on(
    ollama: events.OllamaFound,
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    judge: ModelJudge,
    job: JobContext,
) -> None:
    """Create a model, read it back, and prove its prompts; raises ProblemError if they differ."""
    spec, version = project.export, parse_version(ollama.version)
    facts = gguf_header.read(gguf)
    model = ServedModel(facts.architecture, str(facts.values.get("tokenizer.chat_template") or ""))
    plan = plan_creation(version, model, derived.template if derived.proven else "")
    if plan is None:
        raise _unverified_template_error(ollama.version)
    if plan.template:
        derived = _adapt_to_server(run, project, gguf, derived, ollama, job)
        plan = replace(plan, template=derived.template)
    recipe = _make_request(project, plan.template, derived.stops)
    if problem := checks.check_gemma4_name(recipe.name, model.architecture, facts.parameters):
        job.emit(events.Warned(problem=problem))
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    _check_answer_parts(ollama.version, recipe, model, plan, tokenizer, job)
    with name_needed_version(ollama.version, gguf):
        recipe, plan, stored = _create_and_read(
            ollama.version, spec.ollama_host, gguf, recipe, plan, model, derived, job
        )
        judge(run, project, gguf, derived, stored)
        judged = prompt_judge.JudgedModel(
            host=spec.ollama_host,
            name=recipe.name,
            version=ollama.version,
            tokenizer=tokenizer,
            reader=prompt_judge.GgufReader(gguf),
            system=recipe.system,
            prediction=plan.prediction,
            can_think="thinking" in stored.capabilities,
        )
        step_records.record_settings(run, project, "create_ollama")
        with server.unload_afterwards(spec.ollama_host, recipe.name):
            _prove(judged, run, ollama.host, job)


@contextmanager
def name_needed_version(version: str, gguf: Path) -> Iterator[None]:
    """Say which version supports the architecture that the server doesn't."""
    try:
        yield
    except UnknownArchitectureError as error:
        raise outdated_ollama_error(version, error.architecture, gguf, _WHERE) from error


def _make_request(project: Project, template: str, stops: tuple[str, ...]) -> server.CreateRequest:
    return server.CreateRequest(
        name=server.get_model_name(project),
        template=template,
        stops=stops,
        system=project.export.system_prompt,
        parameters=derivation.list_parameters(project.export),
    )


def _prove(
    judged: prompt_judge.JudgedModel, run: RunFolder, shown_host: str, job: JobContext
) -> None:
    """Prove the prompts of a created model, report the proof, and ask a first question."""
    job.emit(
        events.LogLine(
            text=text(
                "Ollama {version} makes prompts with {path}: {reason}.",
                version=judged.version,
                path=judged.prediction.path.description,
                reason=judged.prediction.reason,
            )
        )
    )
    proof = prompt_judge.judge_prompts(judged, job)
    _report(proof, judged.name, job)
    job.emit(
        events.OllamaCreated(
            host=shown_host,
            name=judged.name,
            version=judged.version,
            prompts_checked=proof.counted,
            proof=proof,
        )
    )
    if proof.counted:
        _ask_first_question(run, judged.host, judged.name, job)
    elif proof.unasked:
        job.emit(events.LogLine(text=_describe_untested_model(judged.name, proof.unasked)))


def _create_and_read(
    server_version: str,
    host: str,
    gguf: Path,
    recipe: server.CreateRequest,
    plan: CreationPlan,
    model: ServedModel,
    derived: DerivedTemplate,
    job: JobContext,
) -> tuple[server.CreateRequest, CreationPlan, events.OllamaShown]:
    """Create the model, again with our TEMPLATE if the server has added one of its own.

    Without a TEMPLATE, `create` adds a stock one if it knows a similar chat template, which can win
    over the chat template.
    """
    version = parse_version(server_version)
    digest = server.create(host, gguf, recipe, job)
    stored = store.show_model(host, recipe.name)
    if not recipe.template and stored.template not in ("", NO_TEMPLATE):
        sent = derived.template if derived.proven else stored.template
        plan = CreationPlan(sent, predict_prompt_path(version, replace(model, template=sent)))
        recipe = replace(recipe, template=sent)
        if derived.proven:
            server.create(host, gguf, recipe, job)
            stored = store.show_model(host, recipe.name)
    differences = read_back.find_differences(recipe, digest, stored, version, gguf, job)
    if differences:
        raise read_back.stored_differently_error(recipe.name, differences)
    prediction = correct_path(
        plan.prediction,
        version,
        replace(model, template=recipe.template),
        selects_jinja=bool(stored.chat_template),
    )
    plan = replace(plan, prediction=prediction)
    _check_capabilities(plan, model, stored, job)
    return recipe, plan, stored


def _check_answer_parts(
    version: str,
    recipe: server.CreateRequest,
    model: ServedModel,
    plan: CreationPlan,
    tokenizer: PreTrainedTokenizerBase,
    job: JobContext,
) -> None:
    """Warn if the server leaves trained reasoning or tool calls in the text of answers."""
    answers = render_answers(tokenizer)
    parts = {part: answer for part, answer in answers.items() if part is not None}
    served, path = replace(model, template=recipe.template), plan.prediction.path
    unparsed = list_unparsed_parts(parse_version(version), served, path, parts)
    if not unparsed:
        return
    problem = warning(
        "ollama.unparsed_answers",
        "Ollama {version} can't separate {parts} from the answers of {model}.",
        "They arrive in `content`, as the model writes them. Ollama 0.30 and later recognizes more forms; "
        "llama.cpp's llama-server recognizes the most.",
        where=_WHERE,
        version=version,
        model=recipe.name,
        parts=listed([part.description for part in unparsed]),
    )
    job.emit(events.Warned(problem=problem))


def _check_capabilities(
    plan: CreationPlan, model: ServedModel, stored: events.OllamaShown, job: JobContext
) -> None:
    """Warn if the server doesn't offer tools or thinking although the chat template has them."""
    if plan.prediction.path is not PromptPath.CHAT_TEMPLATE or not stored.capabilities:
        return
    missing = list_chat_template_abilities(model.chat_template) - {*stored.capabilities}
    if missing:
        problem = read_back.missing_capability_warning(stored.name, sorted(missing))
        job.emit(events.Warned(problem=problem))


def _report(proof: PromptProof, name: str, job: JobContext) -> None:
    """Report the proof; raises ProblemError if plain conversations have another prompt."""
    job.emit(events.LogLine(text=proof.verdict))
    if not proof.differences:
        return
    details = proof.differences[0].details
    if proof.path is PromptPath.RENDERER:
        job.emit(events.Warned(problem=_forced_prompt_warning(proof, name)))
    elif any(kind.is_text_only for kind in proof.different_kinds):
        raise fail(
            "ollama.other_prompt",
            "Ollama {version} builds another prompt than the one {model} was trained on: {details}.",
            "The model exists, but its answers can differ from the trained model's. Update "
            "Ollama and create it again. Check whether the server rewrites prompts.",
            where=_WHERE,
            version=proof.version,
            model=name,
            details=details,
        )
    elif proof.different_kinds != (ProbeKind.NEIGHBORS,):  # which clients hardly ever send
        job.emit(
            events.Warned(
                problem=warning(
                    "ollama.partly_proven",
                    "{verdict} For example, {details}.",
                    "Other conversations are not affected.",
                    where=_WHERE,
                    verdict=proof.verdict,
                    details=details,
                )
            )
        )


def _forced_prompt_warning(proof: PromptProof, name: str) -> Problem:
    return warning(
        "ollama.forced_prompt",
        "Ollama {version} uses a prompt of its own for {model}, which differs from the trained one: "
        "{details}.",
        "Run the GGUF file with llama.cpp's llama-server or LM Studio, which use the trained chat "
        "template. Ollama can't be told to.",
        where=_WHERE,
        version=proof.version,
        model=name,
        details=proof.differences[0].details,
    )


def _adapt_to_server(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    ollama: events.OllamaFound,
    job: JobContext,
) -> DerivedTemplate:
    """Return the TEMPLATE for this server version: an older one can't write the current date."""
    lacking = [need for need in derived.needs if parse_version(ollama.version) < need.release]
    if ServerNeed.RANGE in lacking:
        raise fail(
            "ollama.too_old",
            "Ollama {version} can't render this TEMPLATE. It needs {need}.",
            "Update Ollama and export again.",
            where=_WHERE,
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
        events.LogLine(
            text=text(
                "This chat template contains the current date, which Ollama {version} doesn't "
                "support. The TEMPLATE contains the fixed date {date} instead. Newer versions of "
                "Ollama insert the current date.",
                version=ollama.version,
                date=today.isoformat(),
            )
        )
    )
    frozen = derivation.derive(tokenizer, gguf, job, frozen_date=today).derived
    assert frozen is not None
    return frozen


def _outdated_server_warning(version: str, need: ServerNeed) -> Problem:
    return warning(
        "ollama.no_calls",
        "Conversations with tool calls will fail on Ollama {version}. They need {need}.",
        "Update Ollama, or use the model without tools. Nothing else is affected.",
        where=_WHERE,
        version=version,
        need=need.description,
    )


def _unverified_template_error(version: str) -> ProblemError:
    return fail(
        "ollama.not_proven",
        "Ollama {version} needs a verified TEMPLATE, and there is none for this chat template.",
        "Update Ollama: 0.30 and later use the chat template in the GGUF file. "
        "`lora-studio template derive` shows details.",
        where=_WHERE,
        version=version,
    )


def _describe_untested_model(name: str, reason: Text) -> Text:
    return text("{model} was created, but not tested: {reason}", model=name, reason=reason)


def _ask_first_question(run: RunFolder, host: str, name: str, job: JobContext) -> None:
    """Ask the new model a first question; report if the server can't run it."""
    rows = (sample.messages for sample in read_heldout(run) if sample.messages)
    question = next((turns[:1] for turns in rows if turns[0].role == "user"), None)
    turns = question or (Message(role="user", content="Hello! Who are you?"),)
    job.report_progress(text("testing the new model in Ollama"), 0, None)
    try:
        reply = server.chat(host, name, turns, {"num_predict": _TRIAL_TOKENS}, job)
    except ProblemError as error:
        job.emit(events.LogLine(text=_describe_untested_model(name, error.problems[0].what)))
        return
    job.emit(
        events.LogLine(
            text=text(
                "Asked “{question}”, {model} answered: {answer}",
                question=turns[0].content,
                model=name,
                answer=reply.text,
            )
        )
    )
