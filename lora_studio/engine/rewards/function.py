"""The reward that a Python function of the user's computes, in a process with limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_studio.core.messages import Text, text
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.engine.rewards.failures import FailureList
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.line_process import LineProcess

_PROGRAM = Path(__file__).with_name("function_program.py")

#: Seconds for the start of Python and of what the file imports, in addition to the limit of an answer.
_START_SECONDS = 60.0

#: Answers in a row over the time limit after which the others of the step aren't tried.
_MOST_TIMEOUTS = 3


class _StartError(Exception):
    """The function can't be called at all; its argument is the reason."""


@dataclass
class FunctionReward:
    """Calls a function for each answer; see `Reward`.

    The process starts with the first answer, and again after an answer that it didn't survive.
    """

    name: str
    spec: RewardSpec
    source: str
    job: JobContext
    failures: FailureList = field(default_factory=FailureList)
    _process: LineProcess | None = None

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the value of each answer, None where the function raises, hangs, or ends its process."""
        values: list[float | None] = []
        timeouts = 0
        for index, answer in enumerate(answers):
            self.job.check()
            if timeouts >= _MOST_TIMEOUTS:
                values.append(self.failures.add_failure(index, self._describe_timeout()))
                continue
            try:
                values.append(self._call(index, answer))
                timeouts = 0
            except TimeoutError:
                self.close()
                timeouts += 1
                values.append(self.failures.add_failure(index, self._describe_timeout()))
            except _StartError as error:
                for each in range(index, len(answers)):
                    values.append(self.failures.add_failure(each, error.args[0]))
                break
        return values

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _call(self, index: int, answer: RatedAnswer) -> float | None:
        process = self._process or self._start()
        try:
            reply = process.ask(_encode(answer), self.spec.seconds, self.job.check)
        except EOFError:
            self.close()
            return self.failures.add_failure(index, self._describe_end())
        if (value := reply.get("value")) is not None:
            return float(value)
        return self.failures.add_failure(index, _describe_error(reply))

    def _start(self) -> LineProcess:
        """Return a process that has loaded the function; raises _StartError and TimeoutError."""
        self._process = process = LineProcess(_PROGRAM)
        first = {
            "source": self.source,
            "file": self.spec.code_file,
            "function": self.spec.function,
            "memory": self.spec.memory_mb * 1_000_000,
        }
        try:
            reply = process.ask(first, _START_SECONDS + self.spec.seconds, self.job.check)
        except EOFError:
            self.close()
            raise _StartError(self._describe_end()) from None
        if "ready" not in reply:
            self.close()
            raise _StartError(_describe_error(reply))
        return process

    def _describe_timeout(self) -> Text:
        return text("The function took longer than {seconds} s.", seconds=self.spec.seconds)

    def _describe_end(self) -> Text:
        limit = self.spec.memory_mb
        return text("The function's process ended. Its memory limit is {limit} MB.", limit=limit)


def _encode(answer: RatedAnswer) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.content} for turn in answer.prompt]
    return {
        "prompt": turns,
        "answer": answer.answer,
        "reference": answer.reference,
        "columns": dict(answer.columns),
    }


def _describe_error(reply: dict[str, Any]) -> Text:
    return text("The function failed: {reason}.", reason=str(reply.get("error", "")))


def open_function(spec: RewardSpec, name: str, job: JobContext) -> FunctionReward:
    """Return the reward of the user's function; raises ProblemError unless its code is allowed."""
    return FunctionReward(name, spec, spec_module.read_trusted_source(Path(spec.code_file)), job)
