"""Run chat templates and TEMPLATEs, which are untrusted code, in a process with limits.

A template can loop forever or fill the memory without leaving Jinja's sandbox. The child has limits
on memory and on its own CPU time. It reads its input from a file and writes its result to another.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import jinja2
from pydantic import BaseModel, Field, TypeAdapter

from lora_studio.core import limits
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, fail
from lora_studio.core.protocol import events
from lora_studio.core.templates.chat_template import ChatTemplate, TemplateSource
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.ollama_template import DerivedTemplate, derive_from
from lora_studio.core.templates.server.rendering import render_as_server
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import find_program_disk_problem

#: A child's wall-clock limit as a multiple of its CPU limit, since it may have to share the processor.
_PATIENCE = 4
_TOO_LONG = getattr(signal, "SIGXCPU", None)


class _Derive(BaseModel):
    kind: Literal["derive"] = "derive"
    text: str
    special_tokens: dict[str, str]
    server_adds_bos: bool
    eos: tuple[str, ...]
    frozen_date: date | None


class _Render(BaseModel):
    kind: Literal["render"] = "render"
    template: str
    requests: tuple[RenderRequest, ...]
    today: date | None


class _Refusal(BaseModel):
    """A TEMPLATE that can't be parsed or rendered."""

    refusal: str


_PROMPTS = TypeAdapter[list[_Refusal | str]](list[_Refusal | str])
_Work = TypeAdapter[_Derive | _Render](Annotated[_Derive | _Render, Field(discriminator="kind")])


def derive(
    source: TemplateSource,
    job: JobContext,
    *,
    eos: tuple[str, ...] = (),
    frozen_date: date | None = None,
    seconds: float = limits.DERIVATION_SECONDS,
) -> events.TemplateDerived:
    """Return the TEMPLATE of a chat template; raises ProblemError when it exceeds a limit."""
    work = _Derive(
        text=source.text,
        special_tokens=source.special_tokens,
        server_adds_bos=source.server_adds_bos,
        eos=tuple(dict.fromkeys([*eos, *([source.eos] if source.eos else [])])),
        frozen_date=frozen_date,
    )
    derived = DerivedTemplate.model_validate_json(_run_in_child(work, seconds, job))
    difference = derived.first_difference
    return events.TemplateDerived(
        template=derived.template,
        stops=derived.stops,
        proven=derived.proven,
        conversations=derived.conversations,
        difference=difference and f"{difference.expected!r} became {difference.actual!r}",
        chat_template=source.text,
        derived=derived,
    )


def render(
    template: str,
    request: RenderRequest,
    today: date | None,
    job: JobContext,
    *,
    seconds: float = limits.RENDERING_SECONDS,
) -> events.TemplateRendered:
    """Return a rendered TEMPLATE; raises ProblemError when it is invalid or exceeds a limit."""
    (prompt,) = render_all(template, [request], today, job, seconds=seconds)
    if isinstance(prompt, Text):
        raise fail(
            "template.refused",
            "The TEMPLATE can't be rendered: {reason}.",
            "Correct it there. Ollama would reject it, too.",
            reason=prompt,
        )
    return events.TemplateRendered(text=prompt)


def render_all(
    template: str,
    requests: Sequence[RenderRequest],
    today: date | None,
    job: JobContext,
    *,
    seconds: float = limits.RENDERING_SECONDS,
) -> list[str | Text]:
    """Return the prompt of each request, or why the TEMPLATE can't render it; raises ProblemError."""
    work = _Render(template=template, requests=tuple(requests), today=today)
    answers = _PROMPTS.validate_json(_run_in_child(work, seconds, job))
    return [
        text("{error}", error=answer.refusal) if isinstance(answer, _Refusal) else answer
        for answer in answers
    ]


def _run_in_child(work: _Derive | _Render, seconds: float, job: JobContext) -> str:
    with tempfile.TemporaryDirectory(prefix="lora-studio-") as folder:
        request, answer = Path(folder, "work.json"), Path(folder, "answer.json")
        request.write_text(work.model_dump_json(), "utf-8")
        command = child_process.get_python_command(
            __name__, str(request), str(answer), str(seconds)
        )
        clock = _Clock(job, time.monotonic() + _PATIENCE * seconds)
        try:
            ended = child_process.run(command, clock, lambda _: None)
        except TimeoutError:
            seconds *= _PATIENCE
            raise _timeout_error(seconds) from None
        if ended.status == 0 and answer.is_file():
            return answer.read_text("utf-8")
        if _TOO_LONG is not None and ended.status == -_TOO_LONG:
            raise _timeout_error(seconds)
        if "MemoryError" in "\n".join(ended.lines) or ended.status < 0:
            raise fail(
                "template.limit",
                "The template was stopped: it used more than {limit:memory} of memory.",
                _LIMIT_REMEDY,
                limit=limits.TEMPLATE_MEMORY,
            )
        print(*ended.lines, sep="\n", file=sys.stderr)
        title = text("Processing the template")
        if problem := find_program_disk_problem(ended.lines, title, request, answer):
            raise ProblemError(problem)
        raise fail(
            "template.crashed",
            "Processing the template failed.",
            "Details are in the engine's log.",
        )


class _Clock(JobContext):
    """A job whose check also ends work that takes too long."""

    def __init__(self, job: JobContext, deadline: float) -> None:
        super().__init__(job.id, job.channel, job.flags)
        self._deadline = deadline

    def check(self) -> None:
        """Raise CancelledError or TimeoutError."""
        super().check()
        if time.monotonic() > self._deadline:
            raise TimeoutError


_LIMIT_REMEDY = "Most templates finish within a moment. Check the source of this one."


def _timeout_error(seconds: float) -> ProblemError:
    return fail(
        "template.limit",
        "The template was stopped: it ran for more than {seconds:duration}.",
        _LIMIT_REMEDY,
        seconds=seconds,
    )


# --------------------------------------------------------------------------------- in the child


def _limit_process(seconds: float) -> None:
    """Limit this process; on systems without such limits the parent's clock remains."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits.TEMPLATE_MEMORY, limits.TEMPLATE_MEMORY))
        allowed = int(seconds)
        # The first limit sends a signal; at the second one the system kills the process.
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 5))


def _run_work(work: _Derive | _Render) -> bytes:
    if isinstance(work, _Render):
        return _PROMPTS.dump_json([_render(work, request) for request in work.requests])
    return _derive(work).model_dump_json().encode()


def _render(work: _Render, request: RenderRequest) -> _Refusal | str:
    try:
        return render_as_server(work.template, request, today=work.today)
    except GoTemplateError as error:
        return _Refusal(refusal=str(error))


def _derive(work: _Derive) -> DerivedTemplate:
    try:
        template = ChatTemplate(work.text, work.special_tokens)
    except jinja2.TemplateError as error:
        return DerivedTemplate(
            reason=text("the chat template doesn't compile: {error}", error=str(error))
        )
    return derive_from(
        template,
        bos=work.special_tokens.get("bos_token", ""),
        server_adds_bos=work.server_adds_bos,
        eos=work.eos,
        frozen_date=work.frozen_date,
    )


def _main() -> None:
    request, answer, seconds = sys.argv[1:]
    # Deep templates recurse; a thread's stack can be larger than the main one's.
    threading.stack_size(64 << 20)
    _limit_process(float(seconds))
    Path(answer).write_bytes(_run_work(_Work.validate_json(Path(request).read_bytes())))


if __name__ == "__main__":
    _main()
