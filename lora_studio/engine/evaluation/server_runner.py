"""Columns that a server runs: models in Ollama, and on OpenAI-compatible servers."""

from __future__ import annotations

import contextvars
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from lora_studio.core.chat import OllamaChatModel, Sampling, to_ollama_options
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.evaluation.model_hashes import combine
from lora_studio.engine.evaluation.runners import AnswerRequest, cut_at_stops
from lora_studio.engine.export.ollama import server
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError, PausedError
from lora_studio.engine.servers import openai_client
from lora_studio.engine.servers.openai_client import Reply

#: Requests at a time: servers answer several together.
_PARALLEL = 4

#: Failed requests in a row after which the server counts as gone.
_MOST_FAILURES = 5

#: Problems of requests without any answer, unlike those that the server refuses.
_UNANSWERED = ("evaluation.server_unreachable", "ollama.not_running", "ollama.interrupted")

Ask = Callable[[Sequence[Message], Sampling], Reply]


@dataclass
class ServerRunner:
    """A model on a server; see `ModelRunner`. `connections` are closed with it."""

    ask: Ask
    model_hash: str
    device: str
    job: JobContext
    connections: ExitStack = field(default_factory=ExitStack)

    def render(self, item: EvaluationItem) -> str:
        """Return the messages as JSON: the server renders them itself."""
        if item.is_text:
            return ""
        plain = [{"role": turn.role, "content": turn.content} for turn in _to_messages(item)]
        return json.dumps(plain, ensure_ascii=False)

    def generate(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Yield answers as they arrive, at the end those that failed, as replies with their problem.

        Requests that weren't answered at all are asked once more at the end. Raises ProblemError if the server
        is gone: several requests in a row fail, or it doesn't answer again what it answered before.
        Failures then say nothing about the model, so none is yielded.
        """
        failed: list[tuple[int, Reply]] = []
        in_a_row, answered = 0, None
        for index, reply in self._ask_all(requests, sampling):
            problem = reply.problem
            if problem is None:
                in_a_row, answered = 0, index
                yield index, reply
                continue
            failed.append((index, reply))
            in_a_row += 1
            if in_a_row >= _MOST_FAILURES:
                raise ProblemError(problem)
        unanswered = [index for index, reply in failed if _is_unanswered(reply)]
        yield from self._ask_again(requests, unanswered, answered, sampling)
        yield from ((index, reply) for index, reply in failed if not _is_unanswered(reply))

    def _ask_again(
        self,
        requests: Sequence[AnswerRequest],
        unanswered: Sequence[int],
        answered: int | None,
        sampling: Sampling,
    ) -> Iterator[tuple[int, Reply]]:
        """Yield the replies to the second attempt; raises ProblemError if the server is gone.

        Threads report in any order, so the order of replies doesn't tell whether the server ended or only
        failed at these requests. Whether it still answers the request `answered` does.
        """
        again = list(self._ask_all([requests[index] for index in unanswered], sampling))
        lost = next((reply.problem for _, reply in again if _is_unanswered(reply)), None)
        if lost is not None:
            known = [] if answered is None else [requests[answered]]
            if all(_is_unanswered(reply) for _, reply in self._ask_all(known, sampling)):
                raise ProblemError(lost)
        yield from ((unanswered[position], reply) for position, reply in again)

    def score(self, requests: Sequence[AnswerRequest]) -> Iterator[tuple[int, Logprobs]]:
        """Yield nothing: servers don't report log-likelihoods of given texts."""
        return iter(())

    def close(self) -> None:
        """Close the connections."""
        self.connections.close()

    def _ask_all(
        self, requests: Sequence[AnswerRequest], sampling: Sampling
    ) -> Iterator[tuple[int, Reply]]:
        """Ask in threads, which end with the iteration; yields in the order of arrival.

        The next request is only sent when an earlier reply was recorded, so a kill loses at most as many
        replies as there are threads, however slow the disk is. A pause first yields the replies that are there.
        """
        following = iter(enumerate(requests))
        threads = min(_PARALLEL, len(requests))
        todo: queue.SimpleQueue[tuple[int, AnswerRequest] | None] = queue.SimpleQueue()
        replies: queue.SimpleQueue[tuple[int, Reply | BaseException]] = queue.SimpleQueue()

        def work() -> None:
            while (taken := todo.get()) is not None:
                replies.put((taken[0], self._try(taken[1], sampling)))

        for _ in range(threads):
            todo.put(next(following))
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(work,), name="server", daemon=True).start()
        try:
            done = 0
            while done < len(requests):
                try:
                    index, reply = replies.get(timeout=0.2)
                except queue.Empty:
                    self.job.check()
                    continue
                if isinstance(reply, BaseException):
                    raise reply
                done += 1
                yield index, reply
                try:
                    self.job.check()
                except (CancelledError, PausedError):
                    continue  # raised above, after the replies that have arrived
                todo.put(next(following, None))
        finally:
            for _ in range(threads):
                todo.put(None)

    def _try(self, request: AnswerRequest, sampling: Sampling) -> Reply | BaseException:
        """Return the reply to a request, or what ends the whole column."""
        began = time.perf_counter()
        try:
            reply = self.ask(_to_messages(request.item), sampling)
        except ProblemError as error:
            reply = Reply(problem=error.problems[0])
        except BaseException as error:
            return error
        answer, was_cut = cut_at_stops(reply.text, request.item.stops)
        ending = "end" if was_cut else reply.ending
        return replace(reply, text=answer, ending=ending, seconds=time.perf_counter() - began)


def _is_unanswered(reply: Reply) -> bool:
    return reply.problem is not None and reply.problem.code in _UNANSWERED


def _to_messages(item: EvaluationItem) -> Sequence[Message]:
    """Return the messages of an item; a plain prompt is a message of the user."""
    if item.raw_prompt is not None:
        return (Message(role="user", content=item.raw_prompt),)
    return item.messages


#: Problems of Ollama whose remedy is about an export, with what helps an evaluation.
_REMEDIES = {
    "ollama.not_running": text(
        "Install Ollama from {url} and start it (`ollama serve`), or correct the address. Then evaluate again: answers of unchanged models are reused.",
        url="https://ollama.com/download",
    ),
    "ollama.interrupted": text("Check that the server is running (`ollama serve`) and has enough memory. Then evaluate again: answers of unchanged models are reused."),
    "ollama.no_model": text("Export to Ollama first, or choose another model."),
}  # fmt: skip


@contextmanager
def _suggest_evaluation_remedies() -> Iterator[None]:
    """Replace remedies that are about an export; the location isn't a field of the export then."""
    try:
        yield
    except ProblemError as error:
        raise ProblemError([_adapt(problem) for problem in error.problems]) from error


def _adapt(problem: Problem) -> Problem:
    remedy = _REMEDIES.get(problem.code)
    if remedy is None:
        return problem
    return problem.model_copy(update={"remedy": remedy, "where": Where()})


def create_ollama_runner(chat_model: OllamaChatModel, job: JobContext) -> ServerRunner:
    """Return the runner of a model in Ollama; raises ProblemError if the server doesn't have it."""
    with _suggest_evaluation_remedies():
        listed = server.run_cancellable(job, lambda: server.inspect_server(chat_model.host))
    names = (chat_model.name, f"{chat_model.name}:latest")
    digest = next((each.digest for each in listed.details if each.name in names), None)
    if digest is None:
        raise fail(
            "evaluation.not_in_ollama",
            "The Ollama server at {host} has no model named {model}.",
            "Export to Ollama first, or choose one of these: {known}."
            if listed.models
            else "Export to Ollama first, or choose another model.",
            host=listed.host,
            model=chat_model.name,
            known=", ".join(listed.models),
        )

    def ask(messages: Sequence[Message], sampling: Sampling) -> Reply:
        options = to_ollama_options(sampling)
        if sampling.temperature == 0:
            options["top_k"] = 1
        with _suggest_evaluation_remedies():
            reply = server.chat(chat_model.host, chat_model.name, messages, options, job)
        ending = "end" if reply.finished else "length"
        return Reply(reply.text, reply.tokens, reply.prompt, ending=ending)  # type: ignore[arg-type]  # one of the two

    connections = ExitStack()
    connections.enter_context(server.unload_afterwards(chat_model.host, chat_model.name))
    model_hash = combine("ollama", digest, listed.version)
    return ServerRunner(ask, model_hash, "Ollama", job, connections)


def create_server_runner(model: ServerModel, job: JobContext) -> ServerRunner:
    """Return the runner of a model on an OpenAI-compatible server; raises ProblemError.

    Its answers aren't reused later: the server could have loaded another model under the same name.
    """
    connections = ExitStack()
    client = connections.enter_context(openai_client.connect(model))

    def ask(messages: Sequence[Message], sampling: Sampling) -> Reply:
        if job.flags.cancel.is_set():
            raise CancelledError
        return client.ask(messages, sampling)

    return ServerRunner(ask, "", model.address, job, connections)
