"""Files that other programs export: each is read as what it is, or refused by name; nothing is lost unsaid."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset.files.exports import catalog, chats, web_pages
from lora_studio.engine.dataset.rows.scan import iter_rows, open_store
from lora_studio.engine.dataset.rows.store import RowStore
from tests.helpers.runs.jobs import handle, make_job

pytestmark = pytest.mark.usefixtures("cache")

Content = str | bytes | dict[str, Any] | list[Any]


def write(folder: Path, name: str, content: Content) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str | bytes):
        content = json.dumps(content, ensure_ascii=False, indent=1)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def scan(path: Path) -> RowStore:
    return open_store(DataSource(path=str(path)), make_job())


def values(store: RowStore) -> list[dict[str, Any]]:
    rows = [store.read_raw(position).values for position in range(len(store))]
    return [row for row in rows if row is not None]


def faults(store: RowStore) -> list[str]:
    return [str(store.read_raw(position).fault or "") for position in range(len(store))]


def left_out(store: RowStore) -> dict[str, int]:
    """Return how many parts of each kind no row contains."""
    counts: dict[str, int] = {}
    for problem in store.facts.problems:
        if problem.code == "dataset.parts_left_out":
            pending = [problem.what]
            while pending:
                item = pending.pop()
                if isinstance(item, tuple | list):
                    pending += item
                elif isinstance(item, Text) and "count" in item.values:
                    counts[item.template] = item.values["count"]
                elif isinstance(item, Text):
                    pending += item.values.values()
    return counts


def turns(row: dict[str, Any]) -> list[str]:
    return [f"{turn['role']}: {turn['content']}" for turn in row["messages"]]


def inspect(path: Path, **how: Any) -> events.SourceFound:
    spec = DatasetSpec(sources=(DataSource(path=str(path), **how),))
    (source,) = handle(commands.InspectDataset(dataset=spec)).last(events.DatasetInspected).sources
    assert source.rows == source.used + sum(entry.count for entry in source.skipped)
    return source


def refusal(path: Path) -> Problem:
    with pytest.raises(ProblemError) as caught:
        scan(path)
    return caught.value.problems[0]


# --- chats ----------------------------------------------------------------------------------------


def discord(number: int, name: str, text: str, minute: int, **more: Any) -> dict[str, Any]:
    author = {
        "id": f"9{name}",
        "name": name.lower(),
        "nickname": name,
        "isBot": more.pop("bot", False),
    }
    return {
        "id": str(number), "type": "Default", "timestamp": f"2024-05-01T10:{minute:02}:00.5+02:00",
        "content": text, "author": author, "attachments": [], "embeds": [], "stickers": [], **more,
    }  # fmt: skip


DISCORD = {
    "guild": {"id": "1", "name": "Ogród"},
    "channel": {"id": "2", "type": "GuildTextChat", "name": "pytania"},
    "messages": [
        discord(1, "Ola", "Kiedy sadzić?", 0),
        discord(2, "Jan", "W maju.", 1),
        discord(3, "Ola", "", 2, attachments=[{"fileName": "a.png"}, {"fileName": "b.pdf"}]),
        discord(4, "Hello", "Witaj!", 3, bot=True),
        discord(5, "Ewa", "", 4, type="GuildMemberJoin"),
        discord(6, "Ewa", "", 5, stickers=[{"name": "x"}]),
        discord(7, "Ewa", "", 6),
    ],
}


def telegram(number: int, name: str, text: Any, hour: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "type": "message", "date": "2024-01-01T00:00:00", "date_unixtime": str(1_700_000_000 + hour * 3600 + number),
        "from": name, "from_id": "user4" if name == "Олег" else "user5", "text": text, **more,
    }  # fmt: skip


TELEGRAM: list[dict[str, Any]] = [
    {
        "id": 1,
        "type": "service",
        "actor": "Олег",
        "actor_id": "user4",
        "action": "phone_call",
        "text": "",
    },
    telegram(2, "Олег", "Ты где?", 0),
    telegram(
        3, "Маша", ["Дома, ", {"type": "bold", "text": "конечно"}, "."], 0, reply_to_message_id=2
    ),
    telegram(4, "Маша", "", 0, media_type="voice_message", file="voice.ogg"),
    telegram(5, "Олег", "", 0, photo="p.jpg"),
    telegram(6, "Олег", "", 0, media_type="sticker", file="s.webp"),
    telegram(7, "Олег", "чужое", 0, forwarded_from="Кто-то"),
    telegram(8, "Олег", "", 0, poll={"question": "?"}),
    telegram(9, "Олег", "Пора спать", 9),
    telegram(10, "Маша", "Пора", 9),
    telegram(11, "Олег", "Кстати, дома тепло?", 10, reply_to_message_id=3),
]
TELEGRAM_TURNS = [
    ["Олег: Ты где?", "Маша: Дома, конечно.", "Олег: Кстати, дома тепло?"],
    ["Олег: Пора спать", "Маша: Пора"],
]
TELEGRAM_LEFT_OUT = {
    chats.SERVICE: 1, chats.VOICE: 1, chats.PHOTOS: 1, chats.STICKERS: 1, chats.FORWARDED: 1, chats.POLLS: 1,
}  # fmt: skip


def misread(text: str) -> str:
    return text.encode().decode("latin-1")


MESSENGER = {
    "participants": [{"name": misread("Zoë")}, {"name": "Jürgen".replace("ü", "u")}],
    "messages": [
        {"sender_name": "Jurgen", "timestamp_ms": 1700000060000, "content": misread("Schön 😀")},
        {"sender_name": misread("Zoë"), "timestamp_ms": 1700000000000, "content": misread("Grüße")},
        {
            "sender_name": misread("Zoë"),
            "timestamp_ms": 1699999990000,
            "photos": [{"uri": "x"}, {"uri": "y"}],
        },
        {
            "sender_name": misread("Zoë"),
            "timestamp_ms": 1699999980000,
            "is_unsent": True,
            "content": "x",
        },
        {"sender_name": misread("Zoë"), "timestamp_ms": 1699999970000, "call_duration": 3},
    ],
    "title": "Jurgen",
}
SKYPE = {
    "userId": "8:live:ana",
    "conversations": [
        {
            "id": "8:rui",
            "displayName": "Rui",
            "MessageList": [
                {"id": "3", "originalarrivaltime": "2020-01-01T10:02:00.1Z", "messagetype": "Event/Call", "from": "8:rui", "content": ""},
                {"id": "2", "originalarrivaltime": "2020-01-01T10:01:00.1Z", "messagetype": "Text", "from": "8:live:ana", "content": "Olá <3"},
                {"id": "1", "originalarrivaltime": "2020-01-01T10:00:00.1Z", "messagetype": "RichText", "from": "8:rui", "content": "Oi &amp; <b>bom dia</b>"},
            ],
        }
    ],
}  # fmt: skip
GOOGLE_CHAT = {
    "messages": [
        {"creator": {"name": "Léa", "email": "l@x"}, "created_date": "Monday, January 1, 2024 at 12:00:00\u202fPM UTC", "text": "Ça va ?", "topic_id": "a"},
        {"creator": {"name": "Luc", "email": "c@x"}, "created_date": "Monday, January 1, 2024 at 11:00:00\u202fPM UTC", "text": "Oui.", "topic_id": "b"},
        {"creator": {"name": "Luc", "email": "c@x"}, "created_date": "Wednesday, January 3, 2024 at 11:00:00\u202fAM UTC", "text": "Et toi ?", "topic_id": "c"},
        {"creator": {"name": "Léa", "email": "l@x"}, "created_date": "Wednesday, January 3, 2024 at 11:05:00\u202fAM UTC", "text": "Bien.", "topic_id": "d"},
    ]
}  # fmt: skip
WHATSAPP_DE = (
    "15.03.24, 14:20 - Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.\n"
    "15.03.24, 14:23 - Jörg: Kommst du: ja oder nein?\n15.03.24, 14:24 - Ute: Ja!\nUm drei.\n"
    "15.03.24, 14:25 - Jörg: <Medien ausgeschlossen>\n15.03.24, 14:26 - Jörg: IMG-1.jpg (Datei angehängt)\n"
    "15.03.24, 14:26 - Ute: Diese Nachricht wurde gelöscht.\n16.03.24, 18:26 - Jörg: Bist du da?\n"
)
WHATSAPP_IOS = (
    "\u200e[3/25/24, 11:23:11\u202fPM] Mei: \u200eMessages and calls are end-to-end encrypted.\r\n"
    "[3/25/24, 11:23:12\u202fPM] Mei: 你好\r\n\u200e[3/25/24, 11:24:12\u202fPM] Bo: \u200eimage omitted\r\n"
    "[3/26/24, 12:25:12\u202fAM] Bo: 早\r\n"
)
DISCORD_TABLE = (
    "AuthorID,Author,Date,Content,Attachments,Reactions\n"
    '1,kai,2024-05-01T10:00:00.0000000+00:00,"Moin, du",,\n2,ina#1234,2024-05-01T10:01:00.0000000+00:00,Moin,,\n'
    "1,kai,2024-05-01T10:02:00.0000000+00:00,,https://cdn/x.png,\n2,ina#1234,short\n"
)
X_MESSAGES = "window.YTD.direct_messages.part0 = " + json.dumps(
    [{"dmConversation": {"conversationId": "7-8", "messages": [
        {"messageCreate": {"senderId": "8", "text": "b", "createdAt": "2024-01-01T10:01:00.000Z"}},
        {"messageCreate": {"senderId": "7", "text": "a", "createdAt": "2024-01-01T10:00:00.000Z"}},
    ]}}]
)  # fmt: skip
#: File -> name, content, conversations, and what is left out.
CHATS: dict[str, tuple[str, Content, list[list[str]], dict[str, int]]] = {
    "Discord": (
        "c.json", DISCORD, [["Ola: Kiedy sadzić?", "Jan: W maju."]],
        {chats.PHOTOS: 1, chats.FILES: 1, chats.BOTS: 1, chats.SERVICE: 1, chats.STICKERS: 1, chats.EMPTY: 1},
    ),
    "Discord as a table": (
        "c.csv", DISCORD_TABLE, [["kai: Moin, du", "ina: Moin"]],
        {chats.PHOTOS: 1, "lines that can't be read ({count})": 1},
    ),
    "Telegram": (
        "result.json", {"name": "Маша", "type": "personal_chat", "id": 4, "messages": TELEGRAM},
        TELEGRAM_TURNS, TELEGRAM_LEFT_OUT,
    ),
    "all of Telegram": (
        "result.json",
        {"about": "x", "personal_information": {"user_id": 4}, "contacts": {"list": [{"first_name": "x"}]},
         "chats": {"list": [{"name": "Маша", "type": "personal_chat", "id": 4, "messages": TELEGRAM}]}},
        TELEGRAM_TURNS, TELEGRAM_LEFT_OUT,
    ),
    "Messenger": (
        "message_1.json", MESSENGER, [["Zoë: Grüße", "Jurgen: Schön 😀"]],
        {chats.PHOTOS: 2, chats.DELETED: 1, chats.SERVICE: 1},
    ),
    "Skype": ("messages.json", SKYPE, [["rui: Oi & bom dia", "ana: Olá <3"]], {chats.SERVICE: 1}),
    "Google Chat": (
        "messages.json", GOOGLE_CHAT, [["Léa: Ça va ?", "Luc: Oui."], ["Luc: Et toi ?", "Léa: Bien."]], {},
    ),
    "WhatsApp": (
        "chat.txt", WHATSAPP_DE,
        [["Jörg: Kommst du: ja oder nein?", "Ute: Ja!\nUm drei."], ["Jörg: Bist du da?"]],
        {chats.SERVICE: 1, chats.FILES: 1, chats.PHOTOS: 1, chats.DELETED: 1},
    ),
    "WhatsApp on an iPhone": (
        "_chat.txt", WHATSAPP_IOS, [["Mei: 你好", "Bo: 早"]], {chats.SERVICE: 1, chats.PHOTOS: 1},
    ),
    "messages on X": ("direct-messages.js", X_MESSAGES, [["7: a", "8: b"]], {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHATS)
def test_chat_becomes_conversations_and_the_rest_is_counted(tmp_path: Path, kind: str) -> None:
    name, content, expected, rest = CHATS[kind]
    store = scan(write(tmp_path, name, content))
    assert [turns(row) for row in values(store)] == expected
    assert left_out(store) == rest
    assert "dataset.chat_log" in {problem.code for problem in store.facts.problems}


@pytest.mark.parametrize("kind", CHATS)
def test_one_person_of_a_chat_answers_and_can_be_chosen(tmp_path: Path, kind: str) -> None:
    name, content, _, _ = CHATS[kind]
    file = write(tmp_path, name, content)
    source = inspect(file)
    assert (source.format, source.task) == ("messages", "sft")
    assert source.used > 0
    assert source.mapping["speaker"] in source.people
    other = next(one for one in source.people if one != source.mapping["speaker"])
    assert inspect(file, mapping={"speaker": other}).mapping["speaker"] == other


def test_owner_of_a_complete_export_answers(tmp_path: Path) -> None:
    _, content, _, _ = CHATS["all of Telegram"]
    assert inspect(write(tmp_path, "result.json", content)).mapping["speaker"] == "Олег"


def slack_files() -> dict[str, Any]:
    return {
        "users.json": [
            {"id": "U1", "name": "aya", "profile": {"display_name": "Aya", "real_name": "Aya K"}},
            {"id": "U2", "name": "tom", "profile": {"display_name": "", "real_name": "Tom"}},
        ],
        "channels.json": [{"id": "C1", "name": "test"}],
        "test/2024-05-01.json": [
            {"type": "message", "subtype": "channel_join", "user": "U1", "text": "x", "ts": "1714550000.1"},
            {"type": "message", "user": "U1", "text": "<@U2> &lt;how&gt;? <https://a.b|docs> <#C9|ops>", "ts": "1714550400.2", "thread_ts": "1714550400.2"},
            {"type": "message", "user": "U1", "text": "Another topic", "ts": "1714550500.2"},
        ],
        "test/2024-05-02.json": [
            {"type": "message", "user": "U2", "text": "Like this.", "ts": "1714636900.2", "thread_ts": "1714550400.2"},
            {"type": "message", "subtype": "bot_message", "bot_id": "B1", "text": "Reminder", "ts": "1714636901.0"},
            {"type": "message", "user": "U2", "text": "", "ts": "1714636902.0", "files": [{"name": "a.mp4"}]},
        ],
        "ops/2024-05-01.json": [{"type": "message", "user": "U2", "text": "Alone", "ts": "1714550000.1"}],
    }  # fmt: skip


SLACK_TURNS = [
    ["Tom: Alone"],
    ["Aya: @Tom <how>? docs #ops", "Tom: Like this."],
    ["Aya: Another topic"],
]


@pytest.mark.parametrize("is_packed", [True, False])
def test_slack_channel_is_read_over_its_days_with_names(tmp_path: Path, is_packed: bool) -> None:
    path = tmp_path / "slack"
    if is_packed:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in slack_files().items():
                archive.writestr(name, json.dumps(content))
    else:
        for name, content in slack_files().items():
            write(path, name, content)
    store = scan(path)
    assert sorted(turns(row) for row in values(store)) == sorted(SLACK_TURNS)
    assert left_out(store) == {chats.SERVICE: 1, chats.BOTS: 1, chats.VIDEOS: 1}
    assert {row["chat name"] for row in values(store)} == {"test", "ops"}
    assert len(store.facts.files) == 2


def test_change_of_any_day_of_slack_is_noticed(tmp_path: Path) -> None:
    for name, content in slack_files().items():
        write(tmp_path / "s", name, content)
    first = scan(tmp_path / "s")
    changed = slack_files()["test/2024-05-02.json"][:1]
    write(tmp_path / "s", "test/2024-05-02.json", changed)
    second = scan(tmp_path / "s")
    assert first.key != second.key
    assert left_out(second) == {chats.SERVICE: 1}


def test_damaged_day_of_slack_costs_that_day(tmp_path: Path) -> None:
    for name, content in slack_files().items():
        write(tmp_path / "s", name, content)
    write(tmp_path / "s", "test/2024-05-02.json", "[{")
    store = scan(tmp_path / "s")
    assert ["Aya: Another topic"] in [turns(row) for row in values(store)]
    assert left_out(store)["damaged files ({count})"] == 1


def test_day_of_slack_alone_has_the_names_in_its_messages(tmp_path: Path) -> None:
    day = [
        {"type": "message", "user": "U1", "text": "Hej", "ts": "1.0", "user_profile": {"display_name": "Bo"}},
        {"type": "message", "user": "U2", "text": "Hallå", "ts": "2.0"},
    ]  # fmt: skip
    store = scan(write(tmp_path, "2024-05-01.json", day))
    assert [turns(row) for row in values(store)] == [["Bo: Hej", "U2: Hallå"]]


def make_chat(*messages: tuple[str, int, str]) -> dict[str, Any]:
    rows = [
        {"sender_name": name, "timestamp_ms": minute * 60_000 + 1, "content": text}
        for name, minute, text in messages
    ]
    return {"participants": [{"name": "a"}], "messages": rows[::-1], "title": "t"}


def test_pause_ends_a_conversation_unless_it_is_unanswered(tmp_path: Path) -> None:
    hour = 60
    chat = make_chat(
        ("a", 0, "1"), ("b", 20 * hour, "2"), ("a", 22 * hour, "3"), ("b", 26 * hour, "4"), ("a", 60 * hour, "5")
    )  # fmt: skip
    store = scan(write(tmp_path, "m.json", chat))
    assert [turns(row) for row in values(store)] == [["a: 1", "b: 2", "a: 3"], ["b: 4"], ["a: 5"]]


def test_long_conversation_continues_with_its_last_turn(
    tmp_path: Path,
) -> None:
    chat = make_chat(*[("ab"[number % 2], number, f"{number:04} " * 100) for number in range(40)])
    rows = [turns(row) for row in values(scan(write(tmp_path, "m.json", chat)))]
    assert len(rows) > 2
    for before, after in itertools.pairwise(rows):
        assert before[-1] == after[0]
    every = [turn for row in rows[:1] for turn in row] + [
        turn for row in rows[1:] for turn in row[1:]
    ]
    assert len(every) == len(set(every)) == 40


def test_people_with_the_same_name_are_distinguished(tmp_path: Path) -> None:
    chat = {**DISCORD, "messages": [discord(1, "Ola", "1", 0), {**discord(2, "Ola", "2", 1), "author": {"id": "5", "name": "Ola"}}]}  # fmt: skip
    (row,) = values(scan(write(tmp_path, "c.json", chat)))
    assert row["people"] == ["Ola", "Ola (2)"]


def test_bot_that_alone_answers_stays(tmp_path: Path) -> None:
    chat = {**DISCORD, "messages": [discord(1, "Ola", "?", 0), discord(2, "Bot", "!", 1, bot=True)]}
    store = scan(write(tmp_path, "c.json", chat))
    assert [turns(row) for row in values(store)] == [["Ola: ?", "Bot: !"]]


def test_chat_of_one_person_is_text(tmp_path: Path) -> None:
    chat = make_chat(("a", 0, "Одно"), ("a", 1, "Второе"), ("a", 9999, "Третье"))
    source = inspect(write(tmp_path, "m.json", chat))
    assert (source.format, source.task, source.used) == ("text", "text", 2)


def test_messages_without_a_time_stay_in_order(tmp_path: Path) -> None:
    chat = make_chat(("a", 1, "1"), ("b", 2, "2"))
    for item in chat["messages"]:
        del item["timestamp_ms"]
    store = scan(write(tmp_path, "m.json", chat))
    assert [turns(row) for row in values(store)] == [["b: 2", "a: 1"]]


def test_lines_of_a_chat_are_texts_to_classify(tmp_path: Path) -> None:
    source = DataSource(path=str(write(tmp_path, "chat.txt", WHATSAPP_DE)))
    rows = [row.values for _, block in iter_rows(source, make_job()) for row in block]
    assert rows == [{"text": WHATSAPP_DE}]


# --- labels ---------------------------------------------------------------------------------------


def label_studio(data: dict[str, Any], *labels: str, cancelled: bool = False) -> dict[str, Any]:
    annotations = [
        {
            "was_cancelled": cancelled,
            "result": [{"type": "choices", "value": {"choices": label.split("|")}}],
        }
        for label in labels
    ]
    return {"id": 1, "annotations": annotations, "data": data, "predictions": []}


def written(answer: str) -> dict[str, Any]:
    result = [{"type": "textarea", "from_name": "a", "value": {"text": [answer]}}]
    return {"id": 1, "annotations": [{"result": result}], "data": {"frage": "Hauptstadt?", "nr": 7}}


def task(**more: Any) -> dict[str, Any]:
    return {"_input_hash": 1, "_task_hash": 2, "_view_id": "x", **more}


OPTIONS = [{"id": "GUT", "text": "Gut"}, {"id": 2, "text": "Schlecht"}]
#: Kind -> name, rows of the file, rows that are read, and how many can't be used.
LABELS: dict[str, tuple[str, list[dict[str, Any]], list[dict[str, Any]], int]] = {
    "Label Studio": (
        "p.json",
        [label_studio({"titre": "Très bien"}, "oui"), label_studio({"titre": "Nul"}, "non", "non", "oui"),
         label_studio({"titre": "Bof"}, "oui", cancelled=True), label_studio({"titre": "Vide"}),
         label_studio({"titre": "Deux"}, "oui", "non"), label_studio({"titre": "Plus"}, "oui|non")],
        [{"text": "Très bien", "label": "oui"}, {"text": "Nul", "label": "non"}], 4,
    ),
    "Label Studio with several columns": (
        "p.json", [label_studio({"title": "T", "body": "B"}, "x")], [{"title": "T", "body": "B", "label": "x"}], 0,
    ),
    "answers in Label Studio": (
        "p.json", [written("Rom"), written("Wien")],
        [{"question": "Hauptstadt?", "answer": "Rom", "nr": 7}, {"question": "Hauptstadt?", "answer": "Wien", "nr": 7}], 0,
    ),
    "Label Studio, small": (
        "p.json",
        [{"review": "おいしい", "id": 1, "気分": "良い", "annotator": 1, "annotation_id": 1, "lead_time": 1.5},
         {"review": "まずい", "id": 2, "気分": {"choices": ["悪い", "遅い"]}, "annotator": 1, "annotation_id": 2, "lead_time": 1}],
        [{"text": "おいしい", "label": "良い"}], 1,
    ),
    "Prodigy": (
        "p.jsonl",
        [task(text="Jetzt kaufen", label="SPAM", answer="accept"), task(text="Hallo", label="SPAM", answer="reject"),
         task(text="?", label="SPAM", answer="ignore")],
        [{"text": "Jetzt kaufen", "label": "SPAM"}], 2,
    ),
    "choices in Prodigy": (
        "p.jsonl",
        [task(text="a", options=OPTIONS, accept=["GUT"], answer="accept"), task(text="b", options=OPTIONS, accept=[2], answer="accept"),
         task(text="c", options=OPTIONS, accept=[], answer="accept"), task(text="d", options=OPTIONS, accept=["GUT", 2], answer="accept")],
        [{"text": "a", "label": "GUT"}, {"text": "b", "label": "Schlecht"}], 2,
    ),
    "answers in Prodigy": (
        "p.jsonl", [task(text="2+2?", field_id="user_input", user_input="4", answer="accept")],
        [{"question": "2+2?", "answer": "4"}], 0,
    ),
    "doccano": (
        "p.jsonl", [{"id": 1, "text": "bene", "label": ["sì"]}, {"id": 2, "text": "male", "label": ["no"]}],
        [{"id": 1, "text": "bene", "label": "sì"}, {"id": 2, "text": "male", "label": "no"}], 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_annotated_texts_become_rows_and_others_are_counted(tmp_path: Path, kind: str) -> None:
    name, rows, expected, unusable = LABELS[kind]
    content = "\n".join(map(json.dumps, rows)) if name.endswith("l") else rows
    store = scan(write(tmp_path, name, content))
    assert values(store) == expected
    assert sum(map(bool, faults(store))) == unusable


@pytest.mark.parametrize(
    ("kind", "row_format"),
    [("Label Studio", "labeled_text"), ("Label Studio, small", "labeled_text"), ("Prodigy", "labeled_text"),
     ("choices in Prodigy", "labeled_text"), ("doccano", "labeled_text"), ("answers in Label Studio", "question_answer"),
     ("answers in Prodigy", "question_answer")],
)  # fmt: skip
def test_annotated_texts_have_their_task(tmp_path: Path, kind: str, row_format: str) -> None:
    name, rows, expected, _ = LABELS[kind]
    content = "\n".join(map(json.dumps, rows)) if name.endswith("l") else rows
    source = inspect(write(tmp_path, name, content))
    assert (source.format, source.used) == (row_format, len(expected))


SPAN = {"start": 0, "end": 2, "text": "Bo", "labels": ["PER"]}
REFUSED: dict[str, tuple[str, Content]] = {
    "parts in Label Studio": (
        "p.json", [{"id": 1, "data": {"text": "Bo"}, "annotations": [{"result": [{"type": "labels", "value": SPAN}]}]}],
    ),
    "parts in Label Studio, small": (
        "p.json", [{"text": "Bo", "id": 1, "label": [SPAN], "annotator": 1, "annotation_id": 1, "lead_time": 1}],
    ),
    "parts in Prodigy": (
        "p.jsonl", json.dumps(task(text="Bo", spans=[{"start": 0, "end": 2, "label": "PER"}], answer="accept")),
    ),
    "parts in doccano": ("p.jsonl", json.dumps({"id": 1, "text": "Bo", "label": [[0, 2, "PER"]]})),
    "own messages of Discord": ("m.json", [{"ID": 1, "Timestamp": "x", "Contents": "y", "Attachments": ""}]),
    "own messages of Discord as a table": ("m.csv", "ID,Timestamp,Contents,Attachments\n1,2,hi there,\n"),
    "an e-mail": ("m.eml", "Received: x\nFrom: a@b.c\nTo: d@e.f\nSubject: S\nDate: x\n\nHello\n"),
    "a mailbox": ("m.mbox", "From a@b.c Mon Jan  1 10:00:00 2024\nFrom: a@b.c\n\nHello\n"),
    "likes on X": ("like.js", 'window.YTD.like.part0 = [{"like": {"fullText": "x"}}]'),
    "contacts": ("c.vcf", "BEGIN:VCARD\nFN:X\nEND:VCARD\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_other_export_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    problem = refusal(write(tmp_path, *REFUSED[kind]))
    assert problem.code == "dataset.export"
    assert problem.what.values["export"]
    assert str(problem.remedy)


# --- pages ----------------------------------------------------------------------------------------

PAIRS = [("¿Qué es?", "Una tienda."), ("¿Dónde está?", "En Lima.\n\nY en Cusco.")]
FAQS = {
    "headings": "<h1>Ayuda</h1><p>Hola.</p><h2>¿Qué es?</h2><p>Una <b>tienda</b>.</p>"
    "<h2>¿Dónde está?</h2><p>En Lima.</p><p>Y en Cusco.</p><h2>Contacto</h2><p>Llame.</p>",
    "nested headings": "<div><div><h3>¿Qué es?</h3></div><div>Una tienda.</div></div><div><div><h3>¿Dónde está?</h3>"
    "</div><div><p>En Lima.</p><p>Y en Cusco.</p></div></div>",
    "definitions": "<dl><dt>¿Qué es?</dt><dd>Una tienda.</dd><dt>¿Dónde está?</dt><dd>En Lima.</dd><dd>Y en Cusco.</dd></dl>",
    "details": "<details><summary>¿Qué es?</summary>Una <i>tienda</i>.</details><details><summary><b>¿Dónde está?"
    "</b></summary><p>En Lima.</p><p>Y en Cusco.</p></details>",
    "declared": '<script type="application/ld+json">{"@graph": [{"@type": "FAQPage", "mainEntity": [{"@type": "Question", '
    '"name": "¿Qué es?", "acceptedAnswer": {"@type": "Answer", "text": "Una tienda."}}, {"@type": "Question", "name": '
    '"¿Dónde está?", "acceptedAnswer": {"text": "<p>En Lima.</p><p>Y en Cusco.</p>"}}]}]}</script>',
}


@pytest.mark.parametrize("kind", FAQS)
def test_questions_of_a_page_become_rows(tmp_path: Path, kind: str) -> None:
    page = f"<!DOCTYPE html><html><head><title>x</title></head><body>{FAQS[kind]}</body></html>"
    store = scan(write(tmp_path, "faq.html", page))
    assert values(store) == [{"question": question, "answer": answer} for question, answer in PAIRS]
    expected = {web_pages.OTHER_PARAGRAPHS: 2} if kind == "headings" else {}
    assert left_out(store) == expected
    assert inspect(tmp_path / "faq.html").format == "question_answer"


def test_headings_of_a_page_about_questions_need_no_marks(
    tmp_path: Path,
) -> None:
    body = "<h2>Bestellen</h2><p>Online.</p><h2>Bezahlen</h2><p>Per Karte.</p>"
    page = f"<html><title>Häufige Fragen</title><body>{body}</body></html>"
    assert len(values(scan(write(tmp_path, "faq.html", page)))) == 2
    other = page.replace("Häufige Fragen", "Reise")
    (row,) = values(scan(write(tmp_path, "trip.html", other)))
    assert row == {"text": "Bestellen\n\nOnline.\n\nBezahlen\n\nPer Karte."}


def test_page_is_text_without_its_tags(tmp_path: Path) -> None:
    page = (
        "<html><head><title>x</title><style>p {}</style></head><body><script>x()</script><h1>Plan &amp; Ziel</h1>\n"
        "<p>Erst\n das,<br>dann&nbsp;jenes.</p><ol><li>eins</li><li><p>zwei</p></li></ol><pre>if x:\n  y()</pre>"
        "<p>Mit <code>x</code>.</p><table><tr><td>a</td><td>b</td></tr></table></body></html>"
    )
    (row,) = values(scan(write(tmp_path, "page.htm", page)))
    assert row["text"] == (
        "Plan & Ziel\n\nErst das,\ndann jenes.\n\n1. eins\n2. zwei\n\n```\nif x:\n  y()\n```\n\nMit `x`.\n\na | b"
    )


GEMINI_ITEMS = [
    {"header": "Gemini Apps", "title": "Prompted What is ice?", "time": "t", "products": ["Gemini Apps"],
     "safeHtmlItem": [{"html": "<p>Frozen <strong>water</strong>.</p><ul><li>cold</li></ul>"}]},
    {"header": "Gemini Apps", "title": "Used an assistant feature", "time": "t", "products": ["Gemini Apps"]},
    {"header": "Gemini Apps", "title": "Prompted unanswered", "time": "t", "products": ["Gemini Apps"]},
]  # fmt: skip


def test_prompts_of_gemini_are_read_with_their_answers(tmp_path: Path) -> None:
    store = scan(write(tmp_path, "MyActivity.json", GEMINI_ITEMS))
    assert values(store) == [
        {"prompt": "What is ice?", "response": "Frozen water.\n\n- cold", "time": "t"}
    ]
    assert sum(map(bool, faults(store))) == 2
    assert inspect(tmp_path / "MyActivity.json").format == "prompt_completion"


def test_word_before_prompts_is_found_in_any_language(tmp_path: Path) -> None:
    items = [
        {**GEMINI_ITEMS[0], "title": f"Prompt wpisany: {prompt}"}
        for prompt in ("Co to lód?", "Kto?", "Gdzie?")
    ]
    rows = values(scan(write(tmp_path, "a.json", items)))
    assert [row["prompt"] for row in rows] == ["Co to lód?", "Kto?", "Gdzie?"]


def test_page_of_gemini_is_read_with_its_answers(tmp_path: Path) -> None:
    def entry(content: str) -> str:
        cell = '<div class="content-cell mdl-cell mdl-cell--6-col mdl-typography--body-1">'
        return f'<div class="outer-cell mdl-cell"><div class="mdl-grid">{cell}{content}</div></div></div>'

    asked = "Prompted&nbsp;Why?<br>And how?<br>Jan 5, 2025, 12:00:00&#8239;PM UTC<br><p>So.</p><p>Thus.</p>"
    page = f"<html><body>{entry(asked)}{entry('Used Gemini Apps<br>Jan 5, 2025, 12:00:00 PM UTC<br>')}</body></html>"
    store = scan(write(tmp_path, "MyActivity.html", page))
    assert values(store) == [{"prompt": "Why?\nAnd how?", "response": "So.\n\nThus."}]
    assert sum(map(bool, faults(store))) == 1


TEXTS: dict[str, tuple[str, Content, list[str], dict[str, int]]] = {
    "Mastodon": (
        "outbox.json",
        {"orderedItems": [{"type": "Create", "actor": "x", "object": {"content": "<p>Hej <a href='x'>@du</a></p>"}},
                          {"type": "Announce", "actor": "x", "object": "https://y"}]},
        ["Hej @du"], {web_pages.BOOSTS: 1},
    ),
    "X": (
        "tweets.js",
        'window.YTD.tweets.part0 = [{"tweet": {"full_text": "Salz &amp; Pfeffer"}}, {"tweet": {"full_text": "RT @a: b"}}]',
        ["Salz & Pfeffer"], {web_pages.BOOSTS: 1},
    ),
    "SRT": (
        "f.srt", "1\n00:00:01,000 --> 00:00:02,000\n<i>Guten Tag</i>\n\n2\n00:00:03,000 --> 00:00:04,500\n- Wer?\n- Ich.\n",
        ["Guten Tag\n- Wer?\n- Ich."], {web_pages.TIMES: 2},
    ),
    "WebVTT": (
        "f.vtt", "WEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:left\n<v Bo>Hola\n\n00:02.000 --> 00:03.000\nAdiós\n",
        ["Hola\nAdiós"], {web_pages.TIMES: 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_export_of_texts_is_read_without_its_marks(tmp_path: Path, kind: str) -> None:
    name, content, expected, rest = TEXTS[kind]
    store = scan(write(tmp_path, name, content))
    assert [row["text"] for row in values(store)] == expected
    assert left_out(store) == rest


# --- flash cards ----------------------------------------------------------------------------------

ANKI = (
    "#separator:tab\n#html:true\n#guid column:1\n#notetype column:2\n#deck column:3\n#tags column:6\n"
    "a\tBasic\tGeo\tStolica <b>Peru</b>?\tLima<br>[sound:a.mp3]<img src='x'>\tcapitals\n"
    'b\tBasic\tGeo\t"Mów ""hej""\n# tu"\tcześć\t\n'
    "c\tCloze\tGeo\t{{c1::Paryż}} leży we {{c2::Francji::kraj}}.\t\t\nd\tBasic\tGeo\tBez odpowiedzi\t\t\n"
)
CARDS = [
    {"question": "Stolica Peru?", "answer": "Lima", "deck": "Geo", "tags": "capitals"},
    {"question": 'Mów "hej"\n# tu', "answer": "cześć", "deck": "Geo"},
    {"question": "[…] leży we Francji.", "answer": "Paryż", "deck": "Geo"},
    {"question": "Paryż leży we [kraj].", "answer": "Francji", "deck": "Geo"},
]


def test_notes_of_anki_become_questions_and_answers(tmp_path: Path) -> None:
    store = scan(write(tmp_path, "notes.txt", ANKI))
    assert values(store) == CARDS
    assert sum(map(bool, faults(store))) == 1
    assert left_out(store) == {catalog.MEDIA: 2, catalog.MARKUP: 2}
    assert inspect(tmp_path / "notes.txt").mapping == {"question": "question", "answer": "answer"}


def collection(
    *notes: str, sql: str = "CREATE TABLE notes (id integer primary key, tags text, flds text)"
) -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(sql)
        for fields in notes:
            connection.execute("INSERT INTO notes (tags, flds) VALUES (' t ', ?)", (fields,))
        connection.commit()
        return connection.serialize()


def pack_zstd(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return bytes(buffer.getvalue().to_pybytes())


def package(folder: Path, **members: bytes) -> Path:
    file = folder / "deck.apkg"
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return file


@pytest.mark.parametrize(
    ("name", "pack"), [("anki21", bytes), ("anki21b", pack_zstd), ("anki2", bytes)]
)
def test_package_of_anki_is_read_from_its_newest_collection(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    members = {"collection_anki2": collection("update\x1fAnki"), "media": b"{}"}
    members[f"collection_{name}"] = pack(collection("<div>Quid?</div><img src='x'>\x1fHoc."))
    store = scan(package(tmp_path, **members, **{"0": b"\xff\xd8\xff"}))
    assert values(store) == [{"question": "Quid?", "answer": "Hoc.", "tags": "t"}]
    assert left_out(store) == {catalog.MEDIA: 1, catalog.MARKUP: 1}
    assert "dataset.files_left_out" in {problem.code for problem in store.facts.problems}


@pytest.mark.parametrize(
    "data",
    [
        collection(sql="CREATE VIEW notes AS WITH RECURSIVE a(tags) AS (SELECT 1 UNION ALL SELECT tags + 1 FROM a) "
                       "SELECT tags, tags AS flds FROM a"),
        collection(sql="CREATE TABLE other (x)"),
        collection("a\x1fb")[:3000],
        b"SQLite format 3\0" + bytes(5000),
    ],
)  # fmt: skip
def test_hostile_or_damaged_collection_is_refused(tmp_path: Path, data: bytes) -> None:
    problem = refusal(package(tmp_path, collection_anki21=data))
    assert problem.code == "dataset.damaged_export"


# --- limits and damage ----------------------------------------------------------------------------


def test_truncated_export_is_refused_with_its_name(tmp_path: Path) -> None:
    content = json.dumps(DISCORD)
    problem = refusal(write(tmp_path, "c.json", content[:-20]))
    assert problem.code == "dataset.damaged_export"
    assert str(problem.what.values["export"]) == "Discord chat"


def test_export_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPORT_BYTES", 1000)
    assert refusal(write(tmp_path, "c.json", DISCORD)).code == "dataset.export_too_large"
    monkeypatch.undo()
    monkeypatch.setattr(limits, "EXPORT_VALUES", 10)
    assert refusal(write(tmp_path, "c.json", DISCORD)).code == "dataset.export_too_large"


def test_page_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 50)
    page = f"<html><body>{FAQS['details']}</body></html>"
    assert refusal(write(tmp_path, "p.html", page)).code == "dataset.export_too_large"


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, [[1]], {"a": None}, True])
def test_value_of_any_type_raises_no_other_error(tmp_path: Path, value: Any) -> None:
    """Every value of a message, of a task and of an activity may be of any type."""
    documents: list[tuple[Any, list[dict[str, Any]]]] = [
        (content, find(content))
        for _, content, _, _ in CHATS.values()
        if not isinstance(content, str)
        for find in [
            lambda each: each.get("messages") or each.get("conversations") or each["chats"]["list"]
        ]
    ]
    documents += [(rows, rows) for name, rows, _, _ in LABELS.values() if name == "p.json"]
    documents.append((GEMINI_ITEMS, GEMINI_ITEMS))
    for number, (document, items) in enumerate(documents):
        for key in items[0]:
            kept = items[0][key]
            items[0][key] = value
            file = write(tmp_path, f"{number}.json", document)
            items[0][key] = kept
            with contextlib.suppress(ProblemError):
                scan(file)


def test_package_with_a_bomb_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("collection.anki21", collection("a\x1fb") + bytes(limits.EXPORT_BYTES))
    file = write(tmp_path, "deck.apkg", buffer.getvalue())
    assert refusal(file).code in ("dataset.expands", "dataset.export_too_large")


def test_counts_of_a_folder_are_the_sum_of_its_files(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "inbox", f"{number}/message_1.json", MESSENGER)
    store = scan(tmp_path / "inbox")
    assert left_out(store) == {chats.PHOTOS: 6, chats.DELETED: 3, chats.SERVICE: 3}
    codes = Counter(problem.code for problem in store.facts.problems)
    assert codes["dataset.chat_log"] == 1
