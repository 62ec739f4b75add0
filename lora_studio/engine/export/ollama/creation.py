"""Create a model on a server of known version, read it back, and prove its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from lora_studio.core.export import is_ollama_name_taken
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.export import VectorProof
from lora_studio.core.runs import checksums, heldout, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.system.files import write_atomic
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
from lora_studio.engine.export.ollama import checks, derivation, prompt_judge, server
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    UnknownArchitectureError,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import BATCH, EmbeddingLlama
from lora_studio.engine.tokens.trained_prompts import render_answers

#: Longest answer of the test chat, in tokens.
_TRIAL_TOKENS = 48

_WHERE = Where(step="export", field="ollama_host")


#: The version of Ollama that recognizes a projector among several files.
_READS_PROJECTORS = (0, 30, 4)


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
        raise fail(
            "ollama.not_proven",
            "Ollama {version} needs a verified TEMPLATE, and there is none for this chat template.",
            "Update Ollama: 0.30 and later use the chat template in the GGUF file. "
            "`lora-studio template derive` shows details.",
            where=_WHERE,
            version=ollama.version,
        )
    if plan.template:
        derived = _adapt_to_server(run, project, gguf, derived, ollama, job)
        plan = replace(plan, template=derived.template)
    recipe = server.CreateRequest(
        name=server.get_model_name(project),
        template=plan.template,
        stops=derived.stops,
        system=project.export.system_prompt,
        parameters=derivation.list_parameters(project.export),
        projector=_choose_projector(run, project, ollama.version, job),
    )
    if problem := checks.check_gemma4_name(recipe.name, model.architecture, facts.parameters):
        job.warn(problem)
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


def _prove(
    judged: prompt_judge.JudgedModel, run: RunFolder, shown_host: str, job: JobContext
) -> None:
    """Prove the prompts of a created model, report the proof, and ask a first question."""
    job.log(
        text(
            "Ollama {version} makes prompts with {path}: {reason}.",
            version=judged.version,
            path=judged.prediction.path.description,
            reason=judged.prediction.reason,
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
        job.log(_describe_untested_model(judged.name, proof.unasked))


def _choose_projector(
    run: RunFolder, project: Project, version: str, job: JobContext
) -> Path | None:
    """Return the file with the encoders of images and audio, if there is one; warns if Ollama is too old for it."""
    file = run.get_projector_file(project.name)
    if not file.is_file():
        return None
    checksums.require_intact(run, run.gguf, [file.name], job.check)
    if parse_version(version) >= _READS_PROJECTORS:
        return file
    job.warn(
        warning(
            "ollama.no_projector",
            "The model in Ollama reads text only: Ollama {version} doesn't accept a separate file for images and audio.",
            "Update Ollama to 0.30.4 or later, then create the model again.",
            where=_WHERE,
            version=version,
        )
    )
    return None


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
    stored = server.show_model(host, recipe.name)
    if not recipe.template and stored.template not in ("", NO_TEMPLATE):
        sent = derived.template if derived.proven else stored.template
        plan = CreationPlan(sent, predict_prompt_path(version, replace(model, template=sent)))
        recipe = replace(recipe, template=sent)
        if derived.proven:
            server.create(host, gguf, recipe, job)
            stored = server.show_model(host, recipe.name)
    differences = prompt_judge.find_differences(recipe, digest, stored, version, gguf, job)
    if differences:
        raise prompt_judge.stored_differently_error(recipe.name, differences)
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
    job.warn(problem)


def _check_capabilities(
    plan: CreationPlan, model: ServedModel, stored: events.OllamaShown, job: JobContext
) -> None:
    """Warn if the server doesn't offer tools or thinking although the chat template has them."""
    if plan.prediction.path is not PromptPath.CHAT_TEMPLATE or not stored.capabilities:
        return
    missing = list_chat_template_abilities(model.chat_template) - {*stored.capabilities}
    if missing:
        problem = prompt_judge.missing_capability_warning(stored.name, sorted(missing))
        job.warn(problem)


def _report(proof: PromptProof, name: str, job: JobContext) -> None:
    """Report the proof; raises ProblemError if plain conversations have another prompt."""
    job.log(proof.verdict)
    if not proof.differences:
        return
    details = proof.differences[0].details
    if proof.path is PromptPath.RENDERER:
        job.warn(
            warning(
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
        )
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
        job.warn(
            warning(
                "ollama.partly_proven",
                "{verdict} For example, {details}.",
                "Other conversations are not affected.",
                where=_WHERE,
                verdict=proof.verdict,
                details=details,
            )
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
            job.warn(
                warning(
                    "ollama.no_calls",
                    "Conversations with tool calls will fail on Ollama {version}. They need {need}.",
                    "Update Ollama, or use the model without tools. Nothing else is affected.",
                    where=_WHERE,
                    version=ollama.version,
                    need=need.description,
                )
            )
    if ServerNeed.DATE not in lacking:
        return derived
    today = date.today()
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    job.log(
        text(
            "This chat template contains the current date, which Ollama {version} doesn't "
            "support. The TEMPLATE contains the fixed date {date} instead. Newer versions of "
            "Ollama insert the current date.",
            version=ollama.version,
            date=today.isoformat(),
        )
    )
    frozen = derivation.derive(tokenizer, gguf, job, frozen_date=today).derived
    assert frozen is not None
    return frozen


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
        job.log(_describe_untested_model(name, error.problems[0].what))
        return
    job.log(
        text(
            "Asked “{question}”, {model} answered: {answer}",
            question=turns[0].content,
            model=name,
            answer=reply.text,
        )
    )


def write_embedding_modelfile(run: RunFolder, project: Project, gguf: Path) -> None:
    """Write the Modelfile of an embedding model."""
    lines = [f"FROM ./{PurePosixPath(run.gguf.name, gguf.name)}"]
    lines += [f"PARAMETER {name} {value}" for name, value in _list_parameters(project).items()]
    write_atomic(run.modelfile, "\n".join([*lines, ""]))


def _list_parameters(project: Project) -> dict[str, float | int]:
    """Return the parameters of a model that doesn't sample."""
    return {"num_ctx": project.export.num_ctx}


def leave_out_adapter(project: Project, job: JobContext) -> Project:
    """Return the project without a GGUF file of the adapter alone, with a warning if it was chosen."""
    if project.export.adapter_gguf:
        problem = warning(
            "export.embedding_adapter",
            "The adapter of an embedding model isn't written as a GGUF file of its own.",
            "Use the GGUF file of the whole model.",
            where=Where(step="export", field="adapter_gguf"),
        )
        job.warn(problem)
    return project.model_copy(
        update={"export": project.export.model_copy(update={"adapter_gguf": False})}
    )


def create_embedding_model(
    ollama: events.OllamaFound,
    run: RunFolder,
    project: Project,
    gguf: Path,
    judge: ModelJudge,
    job: JobContext,
) -> None:
    """Create a model, read it back, and compare its vectors; raises ProblemError if they differ."""
    recipe = server.CreateRequest(
        name=server.get_model_name(project),
        template="",
        stops=(),
        parameters=_list_parameters(project),
    )
    host, version = project.export.ollama_host, parse_version(ollama.version)
    with name_needed_version(ollama.version, gguf):
        digest = server.create(host, gguf, recipe, job)
        stored = server.show_model(host, recipe.name)
        differences = prompt_judge.find_essential_differences(
            recipe, digest, stored, version, gguf, job
        )
        if differences:
            raise prompt_judge.stored_differently_error(recipe.name, differences)
        judge(run, project, gguf, None, stored)
        step_records.record_settings(run, project, "create_ollama")
        with server.unload_afterwards(host, recipe.name):
            proof = compare_vectors(host, recipe.name, run, project, gguf, job)
    job.log(proof.verdict)
    if proof.is_different:
        raise fail(
            "ollama.other_vectors",
            "Ollama {version} gives other vectors for {model} than its GGUF file: their cosine similarity is as low as "
            "{least:.4f} (minimum {limit:.2f}).",
            "The model exists, but its vectors differ from those that were trained. Update Ollama and create it again, "
            "or run the GGUF file with llama.cpp's llama-server.",
            where=_WHERE,
            version=ollama.version,
            model=recipe.name,
            least=proof.least,
            limit=LIMIT,
        )
    job.emit(
        events.OllamaCreated(
            host=ollama.host, name=recipe.name, version=ollama.version, vectors=proof
        )
    )


#: The most texts that are compared.
_TEXTS = 16
#: The least cosine similarity of the vectors of one file, computed in other precisions and on other devices.
LIMIT = 0.99
#: Texts for a run without held-out rows.
_PLAIN = ("Where is the nearest train station?", "The train station is next to the city park.")


@dataclass(frozen=True)
class _Expected:
    """A text and its normalized vector, [size] float32."""

    text: str
    vector: np.ndarray


def compare_vectors(
    host: str, name: str, run: RunFolder, project: Project, gguf: Path, job: JobContext
) -> VectorProof:
    """Return how well a server's vectors agree with the file's; raises ProblemError for an old server."""
    longest = min(project.dataset.max_length, project.export.num_ctx, BATCH)
    expected = _compute_expected(run, gguf, longest, job)
    cosines: list[float] = []
    for number, each in enumerate(expected):
        job.report_progress(text("comparing vectors with Ollama"), number, len(expected), "texts")
        try:
            vector = _ask_for_vector(host, name, each.text, job)
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            return VectorProof(unasked=error.problems[0].what)
        cosines.append(_compute_cosine(each.vector, vector))
    if not cosines:
        return VectorProof(unasked=text("All held-out texts are longer than the context length."))
    return VectorProof(
        compared=len(cosines), least=min(cosines), mean=float(np.mean(cosines)), limit=LIMIT
    )


def _compute_expected(run: RunFolder, gguf: Path, longest: int, job: JobContext) -> list[_Expected]:
    """Return the vectors of held-out texts of at most `longest` tokens; raises ProblemError."""
    expected: list[_Expected] = []
    with EmbeddingLlama(gguf, cancelled=job.flags.cancel.is_set) as llama:
        for each in heldout.read_texts(run) or _PLAIN:
            ids = llama.tokenize(each, add_special=True)
            if len(expected) < _TEXTS and len(ids) <= longest:
                job.check()
                vector = llama.embed(ids)
                assert vector is not None  # the converter writes the pooling
                expected.append(_Expected(each, vector))
    return expected


def _ask_for_vector(host: str, name: str, content: str, job: JobContext) -> np.ndarray:
    """Return a text's vector on the server, [size] float32, empty without any; raises ProblemError."""
    server = create_client(host)

    def ask() -> Sequence[float]:
        with server.create_client(PATIENT) as client:
            answer = client.embed(name, content, truncate=False)
        return next(iter(answer.embeddings), ())

    with translate_ollama_errors(server):
        return np.asarray(ollama_server.run_cancellable(job, ask), np.float32)


def _compute_cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the cosine similarity of a normalized vector to another, -1 if that isn't comparable."""
    length = float(np.linalg.norm(actual))
    if actual.shape != expected.shape or not np.isfinite(length) or length == 0:
        return -1.0
    return float(expected @ actual) / length


#: Problems that end the creation of a model but not the export of its files.
_NO_REASON_TO_FAIL = ("ollama.not_running", "ollama.not_ollama", "ollama.not_proven")


def create(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate | None,
    judge: ModelJudge,
    job: JobContext,
) -> None:
    """Create the model and test it; emits a warning if no server answers or it is too old for it.

    `derived` is its TEMPLATE, None for an embedding model. `judge` is asked about what the server has stored.
    """
    try:
        ollama = server.inspect_server(project.export.ollama_host)
        if derived is None:
            create_embedding_model(ollama, run, project, gguf, judge, job)
        else:
            create_on(ollama, run, project, gguf, derived, judge, job)
    except ProblemError as error:
        if error.problems[0].code not in _NO_REASON_TO_FAIL:
            raise
        for problem in error.problems:
            job.warn(problem.model_copy(update={"severity": "warning"}))


def create_of_run(command: commands.CreateOllama, judge: ModelJudge, job: JobContext) -> None:
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
    ollama = server.inspect_server(spec.ollama_host)
    name = server.get_model_name(project)
    if not command.force and is_ollama_name_taken(name, ollama.models):
        raise server.name_exists_error(name, ollama.host)
    task = get_task(run.read_manifest())
    if task is not None and task.yields_vectors:
        write_embedding_modelfile(run, project, gguf)
        judge(run, project, gguf, None)
        create_embedding_model(ollama, run, project, gguf, judge, job)
        return
    derived = derivation.write_modelfile(run, project, gguf, job)
    if derived is None:
        raise fail(
            "ollama.other_tokens",
            "The GGUF file gives other tokens than the model's tokenizer, so no model was created.",
            "See the warning above.",
            where=Where(file=str(gguf)),
        )
    if derived.proven:
        judge(run, project, gguf, derived)
    create_on(ollama, run, project, gguf, derived, judge, job)


def _apply_command(project: Project, command: commands.CreateOllama) -> Project:
    """Return the project with the command's model name and server; raises ProblemError."""
    changes = {"ollama_name": command.name, "ollama_host": command.host}
    if command.name:
        server.check_name(command.name)
    # Not validated: a password, which no project may hold, is fine in a command.
    changed = {key: value for key, value in changes.items() if value}
    return project.model_copy(update={"export": project.export.model_copy(update=changed)})


def not_created_warning(stage: str) -> Problem:
    """Return the warning that a model was not created because a stage of its self-test failed."""
    if stage in ("merged", "converted"):
        return warning(
            "export.not_created",
            "The merged model failed the self-test, so no Ollama model was created."
            if stage == "merged"
            else "The GGUF file before quantization failed the self-test, so no Ollama model was created.",
            "Follow the advice of that test, then export again. The files and the Modelfile are complete.",
            where=Where(step="export"),
        )
    return warning(
        "export.not_created",
        "The {quantization} file failed the self-test, so no Ollama model was created.",
        "Choose a quantization with more bits and export again. The files and the Modelfile are "
        "complete; if only precision was lost, you can still create the model from them.",
        where=Where(step="export", field="quantizations"),
        quantization=stage,
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
