"""Saved data of the playground, next to the project file: conversations and blind votes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lora_studio.core import limits
from lora_studio.core.chat import AdapterChatModel, ChatModel, OllamaChatModel, Sampling
from lora_studio.core.formatting import CsvWriter
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.system.files import create_folder, describe_os_error, write_atomic
from lora_studio.core.system.foreign_files import read_bytes, read_json
from lora_studio.core.system.offline import is_local_address
from lora_studio.core.tasks.samples import Message

#: The most columns side by side.
COLUMNS = 3
_TITLE = 60
#: What identifies a conversation; it is part of the name of its file.
_ID = r"^[A-Za-z0-9_-]{1,64}$"
#: The end of the year 9999, in seconds since 1970.
_LATEST = 253_402_300_799


class _Stored(BaseModel):
    """Base of stored data: fields of a newer version are ignored."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")


class AnswerVersion(_Stored):
    """One answer in one column, and the chat model that gave it; `problem` says why there is none."""

    text: str = ""
    chat_model: ChatModel = Field(
        AdapterChatModel(), validation_alias=AliasChoices("chat_model", "speaker")
    )
    tokens: int = 0
    tokens_per_s: float | None = None
    ending: Literal["", "end", "length", "stopped"] = ""
    problem: Problem | None = None


class TurnAnswers(_Stored):
    """Every answer that a column has given to one turn; `shown` is the index of the current one."""

    takes: tuple[AnswerVersion, ...] = ()
    shown: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_shown(self) -> TurnAnswers:
        if self.shown >= max(1, len(self.takes)):
            raise ValueError("`shown` is not the index of an answer")
        return self

    @property
    def current(self) -> AnswerVersion | None:
        """The answer that is shown and that the conversation continues from."""
        return self.takes[self.shown] if self.takes else None

    def add(self, take: AnswerVersion) -> TurnAnswers:
        """Return the turn with one more answer, which becomes the current one."""
        return TurnAnswers(takes=(*self.takes, take), shown=len(self.takes))


class Turn(_Stored):
    """A question and each column's answers."""

    user: str
    answers: tuple[TurnAnswers, ...] = ()

    def get_answers(self, column: int) -> TurnAnswers:
        """Return a column's answers; none if the column was added after the turn."""
        return self.answers[column] if column < len(self.answers) else TurnAnswers()

    def put(self, column: int, answers: TurnAnswers) -> Turn:
        """Return the turn with a column's answers replaced."""
        padded = [self.get_answers(each) for each in range(max(column + 1, len(self.answers)))]
        padded[column] = answers
        return self.model_copy(update={"answers": tuple(padded)})


class Conversation(_Stored):
    """One conversation in some columns. Times are in seconds since 1970 (UTC)."""

    schema_version: int = 1
    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12], pattern=_ID)
    created: float = Field(default_factory=time.time, ge=0, le=_LATEST)
    system: str = ""
    chat_models: tuple[ChatModel, ...] = Field(
        (AdapterChatModel(),),
        min_length=1,
        max_length=COLUMNS,
        validation_alias=AliasChoices("chat_models", "speakers"),
    )
    sampling: Sampling = Sampling()
    turns: tuple[Turn, ...] = Field((), max_length=limits.ROW_TURNS)
    draft: str = ""  # unsent text in the prompt box

    @property
    def title(self) -> str:
        """The beginning of the first question, on one line."""
        text = " ".join((self.turns[0].user if self.turns else self.draft).split())
        return text if len(text) <= _TITLE else text[: _TITLE - 1].rstrip() + "…"

    def build_messages(self, column: int, turn: int) -> tuple[Message, ...]:
        """Return the messages up to and including a turn, with the answers of a column."""
        messages = [Message(role="system", content=self.system)] if self.system.strip() else []
        for each in self.turns[:turn]:
            messages.append(Message(role="user", content=each.user))
            if (take := each.get_answers(column).current) is not None and take.problem is None:
                messages.append(Message(role="assistant", content=take.text))
            else:
                messages.pop()  # a question without an answer would break the alternation of roles
        return (*messages, Message(role="user", content=self.turns[turn].user))

    def with_ollama_host(self, host: str) -> Conversation:
        """Return the conversation with its models in Ollama on another host, unless they are on this computer.

        The file may come from somebody else, whose host must not get the next question.
        """
        return self.model_copy(
            update={
                "chat_models": tuple(
                    each.model_copy(update={"host": host})
                    if isinstance(each, OllamaChatModel) and not is_local_address(each.host)
                    else each
                    for each in self.chat_models
                )
            }
        )

    def with_turn(self, index: int, turn: Turn) -> Conversation:
        """Return the conversation with another turn at an index."""
        turns = list(self.turns)
        turns[index] = turn
        return self.model_copy(update={"turns": tuple(turns)})

    def branch(self, turn: int) -> Conversation:
        """Return a new conversation with everything before a turn."""
        return self.model_copy(
            update={
                "id": uuid.uuid4().hex[:12],
                "created": time.time(),
                "turns": self.turns[:turn],
                "draft": "",
            }
        )


class Vote(_Stored):
    """One blind comparison: each chat model's answer, and the winner; None for a tie.

    `chat_models` are () in votes of earlier versions, which have only their `names`.
    """

    time: float = Field(default_factory=time.time, ge=0, le=_LATEST)
    prompt: str
    names: tuple[str, ...]
    answers: tuple[str, ...]
    winner: int | None = None
    chat_models: tuple[ChatModel, ...] = Field(
        (), validation_alias=AliasChoices("chat_models", "speakers")
    )

    @model_validator(mode="after")
    def _check_columns(self) -> Vote:
        winner = 0 if self.winner is None else self.winner
        if len(self.names) != len(self.answers) or not 0 <= winner < len(self.names):
            raise ValueError("names, answers and winner don't match")
        if self.chat_models and len(self.chat_models) != len(self.names):
            raise ValueError("names and chat models don't match")
        return self


class VoteTally(_Stored):
    """A chat model's comparisons and wins; a tie counts as half a win for each side."""

    name: str
    votes: int = 0
    wins: int = 0
    ties: int = 0

    @property
    def rate(self) -> float:
        """Share of comparisons won, from 0 to 1."""
        return (self.wins + self.ties / 2) / self.votes if self.votes else 0.0


class Playground:
    """The folder `playground` next to a project file; files are written atomically."""

    def __init__(self, project: Path) -> None:
        """Set the project's folder; nothing is created until something is saved."""
        self.folder = project / "playground"

    @property
    def votes_file(self) -> Path:
        """Every vote, in order."""
        return self.folder / "votes.json"

    def load_conversations(self) -> list[Conversation]:
        """Return all conversations, the last changed first; unreadable files are skipped."""
        dated = []
        for file in self.folder.glob("conversation-*.json"):
            try:
                changed = file.stat().st_mtime_ns
                dated.append((changed, Conversation.model_validate_json(read_bytes(file))))
            except (OSError, ValidationError):
                continue
        return [each for _, each in sorted(dated, key=lambda pair: -pair[0])]

    def get_file(self, conversation: Conversation) -> Path:
        """Return the path of a conversation."""
        return self.folder / f"conversation-{conversation.id}.json"

    def save(self, conversation: Conversation) -> None:
        """Write a conversation; raises ProblemError."""
        file = self.get_file(conversation)
        self._write(file, conversation.model_dump_json(indent=1) + "\n")
        with contextlib.suppress(OSError):
            others = self.folder.glob("conversation-*.json")
            newest = max((other.stat().st_mtime_ns for other in others if other != file), default=0)
            if file.stat().st_mtime_ns <= newest:  # the clock was set back
                os.utime(file, ns=(newest + 1_000_000, newest + 1_000_000))

    @classmethod
    def of_run(cls, run: Path) -> Playground:
        """Return the playground of the project that a run belongs to."""
        return cls(run.resolve().parent.parent)  # a job's path may lead through a descriptor

    def load_votes(self) -> list[Vote]:
        """Return every vote so far; raises ProblemError if the file can't be read, so that no vote
        is overwritten."""
        try:
            content = read_json(self.votes_file, limits.LARGE_FILE)
            return [Vote.model_validate(each) for each in content["votes"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise fail(
                "playground.votes_unreadable",
                "Couldn't read the votes of this project: {reason}.",
                "Move the file to another folder to start counting again.",
                reason=describe_os_error(error),
                where=Where(file=str(self.votes_file)),
            ) from error

    def find_votes(self) -> list[Vote]:
        """Return every vote so far, [] if the file can't be read: the Playground reports that."""
        try:
            return self.load_votes()
        except ProblemError:
            return []

    def vote(self, vote: Vote) -> None:
        """Add a vote; raises ProblemError."""
        votes = [*self.load_votes(), vote]
        content = {"schema_version": 1, "votes": [each.model_dump(mode="json") for each in votes]}
        self._write(self.votes_file, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def _write(self, file: Path, content: str) -> None:
        try:
            create_folder(file.parent)
            write_atomic(file, content)
        except OSError as error:
            raise fail(
                "playground.not_saved",
                "Couldn't save the playground: {reason}.",
                "Check that the project's folder is writable and has free space.",
                reason=describe_os_error(error),
                where=Where(file=str(file)),
            ) from error


def count_votes(votes: Sequence[Vote]) -> list[VoteTally]:
    """Return counts by name, the highest win rate first."""
    tallies: dict[str, VoteTally] = {}
    for vote in votes:
        for index, name in enumerate(vote.names):
            now = tallies.setdefault(name, VoteTally(name=name))
            tallies[name] = now.model_copy(
                update={
                    "votes": now.votes + 1,
                    "wins": now.wins + (vote.winner == index),
                    "ties": now.ties + (vote.winner is None),
                }
            )
    return sorted(tallies.values(), key=lambda each: (-each.rate, -each.votes, each.name))


def to_csv(votes: Sequence[Vote]) -> str:
    """Return one line per vote: time, prompt, winner, then names and answers in pairs."""
    out = io.StringIO()
    writer = CsvWriter(out)
    heads = [f"{what}_{n}" for n in range(1, COLUMNS + 1) for what in ("name", "answer")]
    writer.writerow(["time", "prompt", "winner", *heads])
    for vote in votes:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(vote.time))
        winner = "tie" if vote.winner is None else vote.names[vote.winner]
        pairs = zip(vote.names, vote.answers, strict=True)
        writer.writerow([stamp, vote.prompt, winner, *(part for pair in pairs for part in pair)])
    return out.getvalue()
