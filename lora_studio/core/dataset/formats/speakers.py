"""Conversations between people: one of them is the speaker that the model becomes, the others are the user.

- Messages of the speaker are the answers. Those before anybody else has written answer nothing and are
  left out.
- Neighboring messages of others become one turn. Each begins with its writer's name where several
  others write.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.turns import parse_speaker
from lora_studio.core.dataset.formats.values import normalize_name, parse_literal
from lora_studio.core.messages import counted, text
from lora_studio.core.problems import Problem
from lora_studio.core.tasks.samples import (
    UnusableKind,
    UnusableRow,
    dataset_error,
    dataset_warning,
    quote_names,
)

Rows = Sequence[Mapping[str, Any]]

#: Columns of exported chats: everybody who writes in the conversation, and who has exported it.
PEOPLE, EXPORTED_BY = "people", "exported by"

_WHO = ("role", "from", "speaker", "author", "sender", "user", "name")
_WHAT = ("content", "value", "text", "message", "utterance")
#: People who are named in messages.
_NAMED = 8


def read_as_speaker(value: Any, speaker: str) -> Any:
    """Return a conversation as turns with roles, the speaker's as answers; raises UnusableRow.

    A conversation between roles instead of people is unchanged.
    """
    turns = list(_iter_turns(value))
    names = {name for name, _ in turns}
    if speaker not in names and all(map(parse_speaker, names)):
        return value
    names -= {speaker}
    is_group = len([name for name in names if parse_speaker(name) != "system"]) > 1
    merged: list[dict[str, str]] = []
    for name, content in turns:
        if parse_speaker(name) == "system" and name != speaker:
            merged.append({"role": "system", "content": content})
            continue
        role = "assistant" if name == speaker else "user"
        if is_group and role == "user":
            content = f"{name}: {content}"
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += f"\n{content}"
        elif role == "user" or any(turn["role"] == "user" for turn in merged):
            merged.append({"role": role, "content": content})
    if not any(turn["role"] == "assistant" for turn in merged):
        raise UnusableRow(
            "the conversation has no answer by “{name}”", UnusableKind.NO_ANSWER, name=speaker
        )
    return merged


def list_people(rows: Rows) -> tuple[str, ...]:
    """Return everybody in the conversations of exported chats, who answers in most of them first."""
    answered: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for row in rows:
        people = row.get(PEOPLE)
        if not isinstance(people, list):
            continue
        answers.update({name: 0 for name in people if isinstance(name, str)})
        names = [
            name for name, _ in itertools.islice(_iter_loosely(row), 1, None) if name in people
        ]
        answered.update(set(names))
        answers.update(names)
    return tuple(sorted(answers, key=lambda name: (-answered[name], -answers[name], name)))


def choose_speaker(rows: Rows, people: Sequence[str]) -> str:
    """Return whose messages are the answers unless the user chooses: who has exported the chats, if known."""
    owners = Counter(row[EXPORTED_BY] for row in rows if isinstance(row.get(EXPORTED_BY), str))
    known = [
        name for name in sorted(owners, key=lambda name: (-owners[name], name)) if name in people
    ]
    chosen: str = [*known, *people][0]
    return chosen


def check_speaker(speaker: str, people: Sequence[str]) -> Problem | None:
    """Return the problem of a speaker who isn't in any conversation."""
    if not speaker or not people or speaker in people:
        return None
    return dataset_error(
        "unknown_speaker",
        "“{name}” writes in none of the conversations.",
        text("Map “speaker” to one of these names: {people}.", people=_name_people(people)),
        name=speaker,
    )


def warn_about_speaker(rows: Rows, column: str, speaker: str) -> Iterator[Problem]:
    """Yield warnings that say whom the model learns to answer as, and what isn't used for that."""
    people = list_people(rows)
    others = [name for name in people if name != speaker]
    yield dataset_warning(
        "speaker",
        "The conversations are between several people. The model learns to answer as “{speaker}”. The "
        "others are {people}."
        if others
        else "The model learns to answer as “{speaker}”, the only person in the conversations.",
        "To train the answers of another person, map “speaker” to that name.",
        speaker=speaker,
        people=_name_people(others),
    )
    openers = sum(next(_iter_loosely(row, column), ("", ""))[0] == speaker for row in rows)
    if openers:
        yield dataset_warning(
            "openers",
            counted(
                openers,
                "In {n} conversation of {rows} checked, “{speaker}” writes first. What “{speaker}” writes "
                "before somebody else does isn't used.",
                "In {n} conversations of {rows} checked, “{speaker}” writes first. What “{speaker}” writes "
                "before somebody else does isn't used.",
                rows=len(rows),
                speaker=speaker,
            ),
            "You don't have to do anything: these messages answer nothing.",
        )


def _name_people(people: Sequence[str]) -> Any:
    names = quote_names(people[:_NAMED])
    more = len(people) - _NAMED
    return text("{names} and {more} more", names=names, more=more) if more > 0 else names


def _iter_loosely(row: Mapping[str, Any], column: str = "messages") -> Iterator[tuple[str, str]]:
    """Yield the turns of a row, none where it has no conversation."""
    try:
        yield from _iter_turns(row.get(column))
    except UnusableRow:
        return


def _iter_turns(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each turn; raises UnusableRow."""
    turns = parse_literal(value)
    if not isinstance(turns, list) or not turns:
        raise UnusableRow("the row contains no list of messages")
    for turn in turns:
        fields = (
            {normalize_name(str(key)): item for key, item in turn.items()}
            if isinstance(turn, dict)
            else {}
        )
        name = next((fields[key] for key in _WHO if isinstance(fields.get(key), str)), None)
        content = next((fields[key] for key in _WHAT if isinstance(fields.get(key), str)), None)
        if name is None or content is None:
            raise UnusableRow("a turn has no speaker or no text")
        yield name, content
