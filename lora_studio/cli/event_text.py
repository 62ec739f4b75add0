"""Describe events in plain English, one function per type of event."""

from __future__ import annotations

import textwrap
from functools import singledispatch

from lora_studio.core import serving
from lora_studio.core.messages import NO_TEXT, Template, Text, counted, fill, text
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation_text import describe_predictions, describe_row_counts
from lora_studio.core.protocol.training import COMPONENTS, MemoryEstimate
from lora_studio.setup import events as setup_events

#: Kind of an event -> its description, filled with the fields of the event.
_TEMPLATES: dict[str, Template] = {
    "cancelled": "Canceled.",
    "model_loaded": "Model loaded: {parameters:count} parameters on {device} in {precision}, {memory_bytes:memory}.",
    "merged": "Merged model: {folder} ({bytes:size}, {dtype}).",
    "gguf_written": "{quantization}: {file} ({bytes:size}).",
    "ollama_found": "Ollama {version} is running at {host}.",
    "engine_ready": "Engine {name} is ready after {seconds:duration}: {folder} ({bytes:size}).",
    "wheelhouse_ready": "{folder} contains {files} files ({bytes:size}).",
}


@singledispatch
def describe(event: object) -> Text:
    """Return the description of an event; "" for events that a progress bar shows."""
    return fill(_TEMPLATES.get(getattr(event, "kind", ""), ""), vars(event))


@describe.register
def _describe_message(event: events.LogLine | events.Recovered) -> Text:
    return event.text


@describe.register
def _describe_done(event: events.Done) -> Text:
    if event.stopped:
        return text("Stopped. The adapter was saved.")
    if event.paused:
        return text(
            "Paused. To continue, run `lora-studio resume RUN`, or `lora-studio evaluate RUN --resume` for an evaluation."
        )
    return NO_TEXT


# --- training -------------------------------------------------------------------------------------


@describe.register
def _describe_parameters_counted(event: events.ParametersCounted) -> Text:
    template = "{trainable:count} of {total:count} parameters are trainable ({share:percent}); adapter weights: {adapter_bytes:size}."
    return fill(template, vars(event) | {"share": event.percent / 100})


describe.register(describe_row_counts)


@describe.register
def _describe_memory_estimated(event: events.MemoryEstimated) -> Text:
    return describe_estimate(event.estimate)


def describe_estimate(estimate: MemoryEstimate) -> Text:
    """Return the memory of a training run, its three largest parts, and its time, in one line."""
    largest = sorted(estimate.parts.items(), key=lambda part: -part[1])[:3]
    parts = tuple(
        text("{name} {size:memory}", name=COMPONENTS[name].lower(), size=size)
        for name, size in largest
    )
    memory = text("Memory: about {total:memory} ({parts}, …)", total=estimate.total, parts=parts)
    if estimate.available is not None:
        template = (
            "{memory}; fits, {available:memory} free"
            if estimate.fits
            else "{memory}; DOESN'T FIT, {available:memory} free"
        )
        memory = text(template, memory=memory, available=estimate.available)
    if estimate.seconds is not None:
        return text("{memory}. Time: {time:remaining}.", memory=memory, time=estimate.seconds)
    return text("{memory}.", memory=memory)


@describe.register
def _describe_evaluated(event: events.Evaluated) -> Text:
    if (reward := event.metrics.get("reward")) is not None:
        return text(
            "Evaluation after step {step}: mean reward {reward:loss}.",
            step=event.step,
            reward=reward,
        )
    if predictions := describe_predictions(event):
        return predictions
    if event.has_rewards:
        return text("Evaluation after step {step}: no completion has a reward.", step=event.step)
    return text("Evaluation after step {step}: loss {loss:loss}.", step=event.step, loss=event.loss)


@describe.register
def _describe_answers_rated(event: events.AnswersRated) -> Text:
    return text(
        "Step {step}: best answer ({best:small}): {best_text}; worst answer ({worst:small}): {worst_text}",
        step=event.step,
        best=event.best.reward,
        best_text=_shorten(event.best.text),
        worst=event.worst.reward,
        worst_text=_shorten(event.worst.text),
    )


@describe.register
def _describe_sampled(event: events.Sampled) -> Text:
    prompt, answer = _shorten(event.prompt), _shorten(event.text)
    if event.source == "base":
        return text("Base model, “{prompt}”: {answer}", prompt=prompt, answer=answer)
    return text("Step {step}, “{prompt}”: {answer}", step=event.step, prompt=prompt, answer=answer)


@describe.register
def _describe_ended_early(event: events.EndedEarly) -> Text:
    return counted(
        event.evaluations,
        "Stopped early after step {step}: the {figure} didn't improve in {n} evaluation.",
        "Stopped early after step {step}: the {figure} didn't improve in {n} evaluations.",
        step=event.step,
        figure={"loss": "eval loss", "score": "answer score", "reward": "mean reward"}[
            event.best_by
        ],
    )


@describe.register
def _describe_adapter_saved(event: events.AdapterSaved) -> Text:
    best: Text | None = None
    if event.best_reward is not None:
        best = text("the highest mean reward, {reward:loss}", reward=event.best_reward)
    elif event.best_score is not None:
        best = text("the highest answer score, {score:percent}", score=event.best_score)
    elif event.best_loss is not None:
        best = text("the lowest eval loss, {loss:loss}", loss=event.best_loss)
    if best is None:
        return text("Adapter saved: {folder} ({size:size}).", folder=event.folder, size=event.bytes)
    return text(
        "Adapter saved: {folder} ({size:size}), from step {step} with {best}.",
        folder=event.folder,
        size=event.bytes,
        step=event.step,
        best=best,
    )


# --- merging and export ---------------------------------------------------------------------------


@describe.register
def _describe_shard_written(event: events.ShardWritten) -> Text:
    written = "reused from a previous attempt" if event.reused else "written"
    template = "{file} {written} ({number} of {of}, {bytes:size})."
    return fill(template, vars(event) | {"written": written})


@describe.register
def _describe_adapter_combined(event: events.AdapterCombined) -> Text:
    return counted(
        event.layers,
        "Combined adapter ({method}): {folder}, rank {rank}, {n} layer, {bytes:size}.",
        "Combined adapter ({method}): {folder}, rank {rank}, {n} layers, {bytes:size}.",
        **vars(event),
    )


@describe.register
def _describe_template_derived(event: events.TemplateDerived) -> Text:
    if event.proven:
        return counted(
            event.conversations,
            "TEMPLATE for Ollama before 0.30 verified by rendering {n} conversation.",
            "TEMPLATE for Ollama before 0.30 verified by rendering {n} conversations.",
        )
    return text(
        "The Ollama template couldn't be verified: {difference}", difference=event.difference
    )


@describe.register
def _describe_self_tested(event: events.SelfTested) -> Text:
    return text(
        {
            "passed": "Self-test of {stage} passed: {result}.",
            "lossy": "Self-test of {stage} LOSSY: {result}.",
            "failed": "Self-test of {stage} FAILED: {result}.",
        }[event.verdict],
        stage=event.stage,
        result=_describe_self_test_result(event),
    )


def _describe_self_test_result(event: events.SelfTested) -> Text:
    """Return the agreement of a stage and its limits, or why it has none."""
    if event.similarity is not None:
        return _describe_similarity(event, event.similarity)
    if event.passed and event.top1 is None:
        return event.compared
    if event.top1 is None or event.kl is None:
        return text(
            "{faults}. Most likely cause: {cause}" if event.cause else "{faults}",
            faults=event.faults,
            cause=event.cause,
        )
    agreement = text(
        "same top token at {top1:percent} of {positions} positions, KL {kl:.4f}",
        top1=event.top1,
        positions=event.positions,
        kl=event.kl,
    )
    limits = (event.top1_limit, event.kl_limit)
    if event.verdict != "failed" and event.top1_passing is not None:
        limits = (event.top1_passing, event.kl_passing)
    if limits[0] is None or limits[1] is None:
        return text("{agreement} ({basis})", agreement=agreement, basis=event.basis)
    return text(
        "{agreement} (at least {top1_limit:percent}, at most {kl_limit:.3g})",
        agreement=agreement,
        top1_limit=limits[0],
        kl_limit=limits[1],
    )


def _describe_similarity(event: events.SelfTested, least: float) -> Text:
    """Return how well a stage's vectors agree, and what else is wrong."""
    if event.passed:
        return text(
            "vectors agree: cosine {least:.4f} (≥ {limit:.2f}), on average {mean:.4f}",
            least=least,
            limit=event.similarity_limit or 0.0,
            mean=event.similarity_mean or least,
        )
    return text(
        "{faults}. Most likely cause: {cause}" if event.cause else "{faults}",
        faults=event.faults,
        cause=event.cause,
    )


@describe.register
def _describe_pushed(event: events.Pushed) -> Text:
    return counted(
        event.files,
        "Uploaded {what} ({n} file, {bytes:size}): {url}",
        "Uploaded {what} ({n} files, {bytes:size}): {url}",
        **vars(event),
    )


@describe.register
def _describe_ollama_created(event: events.OllamaCreated) -> Text:
    if event.vectors is not None:
        return text(
            "Created the Ollama model {name}. Get a vector with:\n\n{curl}",
            name=event.name,
            curl=serving.format_ollama_embed_curl(event.host, event.name),
        )
    return text("Created the Ollama model. Run it with: ollama run {name}", name=event.name)


@describe.register
def _describe_server_ready(event: events.ServerReady) -> Text:
    adapters = tuple(
        text(
            "{name:run} (lora {id:d}, scale {scale:g})",
            name=each.name,
            id=each.id,
            scale=each.scale,
        )
        for each in event.adapters
    )
    served = (
        text("the base model with the adapters {adapters}", adapters=adapters)
        if adapters
        else text("{file}", file=event.file)
    )
    return text(
        "Serving {served} at the OpenAI-compatible address {address} with the API key {key}. Stop with Ctrl+C.\n\n"
        "{curl}\n\n{python}",
        served=served,
        key=event.key,
        address=serving.get_api_address(event),
        curl=serving.format_curl(event),
        python=serving.format_python(event),
    )


# --- setup of the engine --------------------------------------------------------------------------


@describe.register
def _describe_machine_found(event: setup_events.MachineFound) -> Text:
    return event.accelerator.describe()


@describe.register
def _describe_setup_planned(event: setup_events.SetupPlanned) -> Text:
    plan = counted(
        event.packages,
        "Engine for {variant} with PyTorch from {torch} and Python {python}: {n} package, "
        "{reused} already installed. Download {download:size}; uses {needed:size} of disk space, "
        "{free:size} free in {folder}.",
        "Engine for {variant} with PyTorch from {torch} and Python {python}: {n} packages, "
        "{reused} already installed. Download {download:size}; uses {needed:size} of disk space, "
        "{free:size} free in {folder}.",
        **vars(event),
    )
    if event.needed > event.free:
        return text("{plan} There is not enough free space.", plan=plan)
    return plan


def _shorten(content: str) -> str:
    """Return the beginning of a text, on one line."""
    return textwrap.shorten(content, 100, placeholder=" …")
