"""Which columns could fill which slots: by their values first, by their names second.

Names are compared ignoring case, blanks and punctuation. The names that common training datasets
use are listed in `column_names` in order of preference; no dataset is recognized by its own name.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lora_studio.core.dataset.formats.turns import (
    detect_style,
    is_answer_first,
    is_question_last,
    is_tree,
    is_turn,
    read_segments,
)
from lora_studio.core.dataset.formats.values import (
    is_blank,
    is_media_column,
    is_media_name,
    is_missing,
    is_pair,
    is_ranked_list,
    is_writable,
    normalize_name,
    parse_label,
    parse_literal,
    parse_number,
    to_text,
)
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Problem
from lora_studio.core.tasks.samples import dataset_error, quote_names

Kind = Literal[
    "text", "number", "flag", "turns", "turn", "texts", "numbers", "flags", "object", "list", "media"
]  # fmt: skip

_LONG_VECTOR = 8
#: The most distinct values that a label column may have, and the placeholder for a longer value.
_FEW_WORDS = 12
_MANY_LETTERS = "-" * 24

#: How deep objects are profiled, and the most fields that they may have.
_MOST_DEPTH, _MOST_FIELDS = 3, 40

_LETTER = re.compile(r"[^\W\d_]")


#: Facts about values: the kinds of values that may have each, and its test.
_TRAITS: dict[str, tuple[tuple[Kind, ...], Callable[[Any], bool]]] = {
    "truth": (("text", "number", "flag"), lambda value: parse_label(value) is not None),  # a good or bad label
    "worded": (("text",), lambda value: bool(_LETTER.search(value))),
    "phrased": (("text",), lambda value: " " in value.strip()),
    "paired": (("texts",), is_pair),
    "ranked": (("list", "object"), is_ranked_list),
    "segmented": (("list",), lambda value: read_segments(value) is not None),
    "opened": (("turns",), is_answer_first),
    "asking": (("turns",), is_question_last),
    "openai": (("turns",), lambda value: detect_style(value) == "messages"),
    "branching": (("turns",), is_tree),
}  # fmt: skip
_TRAITS_OF = {
    kind: [(trait, has_trait) for trait, (of, has_trait) in _TRAITS.items() if kind in of]
    for kind in get_args(Kind)
}


@dataclass(frozen=True)
class DataColumn:
    """One column over some rows: `kinds` counts its values that are not missing, by kind.

    `traits` counts those with each of `_TRAITS`. `words` are all its values in lower case if they are few and
    short, as labels are; `distinct` is their number, of texts too. `low` and `high` are the limits of its
    numbers, which may be written as text, and `fractions` counts those that aren't whole. `fields` are those
    of its objects.
    """

    name: str
    kinds: Counter[Kind] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    words: frozenset[str] = frozenset()
    distinct: int = 0
    low: float = 0.0
    high: float = 0.0
    fractions: int = 0
    fields: tuple[DataColumn, ...] = ()

    @property
    def key(self) -> str:
        """Return the normalized name, for comparisons."""
        return normalize_name(self.name)

    @property
    def filled(self) -> int:
        """Return how many rows have a value here."""
        return self.kinds.total()

    @property
    def kind(self) -> Kind | None:
        """Return the kind of most values; None for a column without values."""
        return max(sorted(self.kinds), key=lambda kind: self.kinds[kind], default=None)

    @property
    def is_label(self) -> bool:
        """Return whether every value says good or bad."""
        return 0 < self.filled == self.traits["truth"]

    def is_mostly(self, trait: str) -> bool:
        """Return whether more than half of the values have one of the traits."""
        return 2 * self.traits[trait] > self.filled


Columns = Sequence[DataColumn]


@dataclass(frozen=True)
class FormatCandidate:
    """One reading of the columns.

    `weight` ranks readings of the same rows: a pair is more specific than its parts, a conversation
    more than a text. `sure` is the confidence from names and values alone, 0 to 1. `rivals` are
    columns that could be meant instead of the one chosen for `rivalled`. `describe` returns the warning about
    a mapping of a known shape.
    """

    format: RowFormat
    mapping: dict[str, str]
    weight: float
    sure: float
    rivalled: str = ""
    rivals: tuple[str, ...] = ()
    guessed: bool = False
    describe: Callable[[Mapping[str, str]], Problem | None] | None = None


def profile_columns(
    rows: Sequence[Mapping[str, Any]], names: Iterable[str] = (), *, depth: int = 0
) -> list[DataColumn]:
    """Return every column of some rows: first in the order of `names`, then sorted by name."""
    rest = sorted({name for row in rows for name in row} - set(names))
    order = [name for name in [*dict.fromkeys(names), *rest] if is_writable(name)]
    return [_build_column(name, rows, depth) for name in order]


def _build_column(name: str, rows: Sequence[Mapping[str, Any]], depth: int) -> DataColumn:
    kinds: Counter[Kind] = Counter()
    traits: Counter[str] = Counter()
    words: set[str] = set()
    objects: list[dict[str, Any]] = []
    texts: set[str] = set()
    numbers: list[float] = []
    key = normalize_name(name)
    for row in rows:
        value = row.get(name)
        if is_blank(value):
            continue
        kind = classify_value(value, key)
        kinds[kind] += 1
        traits.update(trait for trait, has_trait in _TRAITS_OF[kind] if has_trait(value))
        if depth < _MOST_DEPTH and isinstance(inner := _read_object(value), dict):
            objects.append(inner)
        if len(words) <= _FEW_WORDS:
            words.add(_to_word(value))
        if kind in ("text", "number"):
            texts.add(str(value))
            numbers += [] if (number := parse_number(value)) is None else [number]
    is_few = len(words) <= _FEW_WORDS and _MANY_LETTERS not in words
    return DataColumn(
        name,
        kinds,
        traits,
        words=frozenset(words) if is_few else frozenset(),
        distinct=len(texts),
        low=min(numbers, default=0.0),
        high=max(numbers, default=0.0),
        fractions=sum(not number.is_integer() for number in numbers),
        fields=_profile_fields(objects, depth),
    )


def _read_object(value: Any) -> Any:
    """Return an object that a text spells out, and any other value unchanged."""
    is_spelled = isinstance(value, str) and value.lstrip()[:1] == "{"
    return parse_literal(value) if is_spelled else value


def _profile_fields(objects: Sequence[dict[str, Any]], depth: int) -> tuple[DataColumn, ...]:
    """Return the fields of objects in the order in which they occur, () if they have too many."""
    names = dict.fromkeys(str(name) for one in objects for name in one)
    if len(names) > _MOST_FIELDS:
        return ()
    return tuple(profile_columns(objects, names, depth=depth + 1))


def _to_word(value: Any) -> str:
    """Return a short value as a lowercase word."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        return _MANY_LETTERS
    word = str(value).strip().casefold()
    return word if len(word) <= len(_MANY_LETTERS) else _MANY_LETTERS


def classify_value(value: Any, key: str = "") -> Kind:
    """Return the kind of a value that is not blank; `key` is the normalized name of its column."""
    if is_media_column(key, value):
        return "media"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        # Parse only what could be a list of turns.
        if value.lstrip()[:1] == "[" and "{" in value[:200] and detect_style(value):
            return "turns"
        return "text"
    if isinstance(value, dict):
        is_one = is_turn(value) and not is_tree(value)
        return "turn" if is_one else "turns" if detect_style(value) else "object"
    if isinstance(value, list | tuple):
        return _list_kind(value)
    return "object"


def _list_kind(value: Sequence[Any]) -> Kind:
    items = [item for item in value[:_LONG_VECTOR] if not is_missing(item)]
    if items and all(isinstance(item, bool) for item in items):
        return "flags"
    if items and all(isinstance(item, str) for item in items):
        return "texts"
    if items and all(isinstance(item, int | float) for item in items):
        return "numbers"
    return "turns" if detect_style(value) else "list"


def find_columns(columns: Columns, names: Sequence[str]) -> list[DataColumn]:
    """Return the columns that have one of these names and a value, in the order of the names."""
    ranks = {name: rank for rank, name in reversed(list(enumerate(names)))}
    matching = [column for column in columns if column.filled and column.key in ranks]
    return sorted(matching, key=lambda column: (ranks[column.key], column.name))


def find_column(columns: Columns, names: Sequence[str], *kinds: Kind) -> DataColumn | None:
    """Return the best column by name, of these kinds if any are given."""
    return next(
        (item for item in find_columns(columns, names) if not kinds or item.kind in kinds), None
    )


def find_optional_column(columns: Columns, names: Sequence[str], *kinds: Kind) -> DataColumn | None:
    """Return the best column for a slot that may stay empty.

    A column without a value in these rows counts too, since other rows may have one.
    """
    ranks = {name: rank for rank, name in reversed(list(enumerate(names)))}
    empty = [column for column in columns if not column.filled and column.key in ranks]
    return find_column(columns, names, *kinds) or min(
        empty, key=lambda column: (ranks[column.key], column.name), default=None
    )


def count_known_names(names: Iterable[str]) -> int:
    """Return how many of these column names are known names in training data."""
    return len({normalize_name(name) for name in names} & USUAL)


def find_conversations(columns: Columns) -> list[DataColumn]:
    """Return columns that hold whole conversations, those with a known name first."""
    outputs = {"completion", "response", "output"}
    others = {*CHOSEN, *REJECTED, *PROMPTS, *HISTORIES, *TOOLS, *outputs}
    if any(column.key in outputs and column.filled for column in columns):
        others |= {"input", "inputs"}
    by_kind = [
        column
        for column in columns
        if column.kind == "turns"
        and column.key != "instances"  # an input that belongs to the instruction in another column
        and (column.key not in others or column.is_mostly("branching"))
        and column.key not in CONVERSATIONS
    ]
    by_name = [
        column
        for column in find_columns(columns, CONVERSATIONS)
        if column.kind in ("turns", "texts", "text", "list", "object")
        # Bare texts under this name are the user's questions, turn by turn.
        and (column.key, column.kind) != ("turns", "texts")
    ]
    turns_first = sorted(by_name, key=lambda column: column.kind != "turns")
    return turns_first + sorted(by_kind, key=lambda column: column.name)


def find_contexts(columns: Columns) -> list[DataColumn]:
    """Return columns that could hold the context of a question, the likeliest first."""
    return _with_endings(columns, find_columns(columns, CONTEXTS), ("context",))


def find_questions(columns: Columns) -> list[DataColumn]:
    """Return columns that could hold the question, the likeliest first."""
    exact = find_columns(columns, (*INSTRUCTIONS, *QUESTIONS, *PROMPTS, *INPUTS))
    exact = [column for column in exact if not _is_kind_of_task(column)]
    return _with_endings(columns, exact, TO_QUESTION)


def find_prompt_slots(columns: Columns, besides: tuple[DataColumn, ...] = ()) -> dict[str, str]:
    """Return the slots of the prompt of an answer, with the input that belongs to an instruction."""
    questions = [item for item in find_questions(columns) if item not in besides]
    # A prompt column is the whole question, even if its parts have columns too.
    questions.sort(key=lambda item: item.key not in PROMPTS)
    if not questions:
        return {}
    mapping = {"prompt": questions[0].name}
    added = find_optional_column([item for item in columns if item not in besides], INPUTS, "text")
    if questions[0].key in INSTRUCTIONS and added and added != questions[0]:
        mapping["input"] = added.name
    return mapping


def _is_kind_of_task(column: DataColumn) -> bool:
    """Return whether a column names the type of task, such as `qa`, and not the task itself."""
    return column.key == "task" and not column.is_mostly("phrased")


def find_answers(columns: Columns) -> list[DataColumn]:
    """Return columns that could hold the answer, the likeliest first."""
    return _with_endings(columns, find_columns(columns, ANSWERS), TO_ANSWER)


def _with_endings(
    columns: Columns, exact: list[DataColumn], endings: Sequence[str]
) -> list[DataColumn]:
    rest = [
        column
        for column in columns
        if column not in exact
        and column.kind in ("text", "texts", "object", "turns")
        and column.key.endswith(tuple(endings))
        and not any(word in column.key for word in NEGATIVE + SECONDARY)
        and column.key not in CHOSEN + REJECTED
    ]
    return exact + sorted(rest, key=lambda column: -column.filled)


def is_classified(columns: Columns) -> bool:
    """Return whether texts have classes: numbers, or words in a column with a label name."""
    numbers = any(
        item.kind in ("number", "flag")
        or (item.key in LABELS and item.kind in ("numbers", "texts"))
        for item in find_columns(columns, CLASSES)
    )
    return numbers or any(item.kind == "text" for item in find_columns(columns, CLASSES[:7]))


def is_compared(columns: Columns) -> bool:
    """Return whether texts come with vectors or with texts to compare them with."""
    keys = {item.key for item in columns if item.filled}
    vectors = any(item.kind == "numbers" for item in find_columns(columns, VECTORS))
    return vectors or any({one, other} <= keys for one, other in COMPARED)


def is_single_turn(columns: Columns) -> bool:
    """Return whether each row is one turn: a role and its text."""
    who = find_column(columns, ("role", "from", "speaker"), "text")
    return (
        who is not None and find_column(columns, ("content", "value", "text"), "text") is not None
    )


def has_other_purpose(columns: Columns) -> bool:
    """Return whether texts have another purpose than training, such as classification."""
    return is_classified(columns) or is_compared(columns) or is_single_turn(columns)


def find_free_texts(columns: Columns) -> list[DataColumn]:
    """Return text columns whose names do not say that they only describe the row, in the file's
    order.
    """
    return [
        column
        for column in columns
        if column.kind == "text"
        and column.is_mostly("worded")  # numbers and dates of a table are not texts
        and column.key not in METADATA
        and not column.key.endswith("id")
        and not is_media_name(column.key)
    ]


def find_replies(columns: Columns) -> list[DataColumn]:
    """Return columns with the reply to a message, whose name says so: the text next to it is the message."""
    return [
        column
        for column in find_answers(columns)
        if column.kind == "text" and is_answer_name(column.key) and column.is_mostly("phrased")
    ]


def pick_message_and_reply(texts: Columns) -> list[DataColumn]:
    """Return a message and its reply if these texts also describe rows, for example by name and state.

    More than two texts remain if their values and names don't tell them apart.
    """
    if len(texts) > 2:  # names, dates, and channels have no blanks
        texts = [item for item in texts if item.is_mostly("phrased")]
    tests: tuple[Callable[[DataColumn], bool], ...] = (
        lambda item: not item.words or 2 * len(item.words) > item.filled,
        lambda item: not item.key.endswith(TO_DESCRIBE),
    )
    for is_told in tests:
        rest = [item for item in texts if is_told(item)]
        if len(texts) > 2 and len(rest) >= 2:
            texts = rest
    replies = [item for item in texts if is_answer_name(item.key)]
    if len(texts) > 2 and len(replies) == 1:
        messages = [item for item in texts if item not in replies and is_message_name(item.key)]
        texts = [messages[-1], *replies] if messages else texts
    if len(texts) == 2 and is_answer_name(texts[0].key) and not is_answer_name(texts[1].key):
        return [texts[1], texts[0]]
    return list(texts)


# Column names in common training datasets, in order of preference.
#
# Names are normalized: letters and digits only, lower case.

CONVERSATIONS = (
    "messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "dialogues",
    "turns", "chat", "chats", "contents", "thread", "msgs", "data",
)  # fmt: skip
INSTRUCTIONS = ("instruction", "instructions", "definition", "task", "指令", "anweisung")
PROMPTS = ("prompt", "prompts", "userprompt", "inputprompt", "prompttext", "questiontext")
INPUTS = ("input", "inputs", "inputtext", "输入", "eingabe", "context", "contexts")
QUESTIONS = (
    "question", "query", "problem", "questions", "questionstem", "inputspretokenized", "userinput",
    "usermessage", "user", "human", "customer", "patient", "ctx", "goal", "message1", "questiontitle", "textinput", "问题", "質問", "질문",
    "вопрос", "frage", "aufgabe", "pregunta", "tarea", "exercice", "задача", "题目", "pergunta", "domanda", "soru", "پرسش", "سؤال", "سوال", "प्रश्न",
)  # fmt: skip
ANSWERS = (
    "output", "response", "completion", "solution", "generatedsolution", "bestanswer", "answer",
    "correctanswer", "answers", "responses", "outputs", "completions", "targetspretokenized",
    "targets", "target", "assistant", "bot", "gpt", "chatgpt", "reply", "modelresponse",
    "modeloutput", "assistantresponse", "assistantmessage", "botmessage", "botresponse", "botreply", "aimessage",
    "airesponse", "agentmessage", "agentresponse", "agentreply", "generatedtext", "generation", "outputtext", "answertext", "responsetext", "canonicalsolution", "longanswer",
    "finalanswer", "expectedoutput", "expectedanswer", "groundtruth", "answersspans", "message2", "sql", "code", "chosen", "ideal",
    "回答", "答案", "输出", "答え", "답변", "ответ", "antwort", "lösung", "ausgabe", "respuesta", "réponse",
    "reponse", "resposta", "risposta", "cevap", "پاسخ", "جواب", "إجابة", "उत्तर",
)  # fmt: skip
SYSTEMS = (
    "system", "systemprompt", "systemmessage", "sys", "systeminstruction", "metainstruction", "系统",
)  # fmt: skip
HISTORIES = ("history", "histories", "chathistory", "previousturns")
TOOLS = ("tools", "functions", "tooldefinitions", "availabletools")
#: Several model answers to a prompt, and their ratings; higher is better.
SEVERAL = ("generations", "responses", "completions", "outputs", "answers", "candidates")
RATINGS = ("ratings", "rating", "scores", "score", "rewards", "reward")
#: Settings for how much a model should think, not the reasoning itself.
SWITCHES = frozenset(
    ("on", "off", "yes", "no", "true", "false", "none", "low", "medium", "high", "auto", "0", "1")
)
THINKING = (
    "thinking", "reasoning", "reasoningcontent", "complexcot", "cot", "chainofthought", "rationale",
    "thought", "thoughts",
)  # fmt: skip
CONTEXTS = (
    "context", "contexts", "passage", "paragraph", "support", "background", "story", "article",
    "document", "premise", "schema", "tableschema", "table",
)  # fmt: skip
#: Sentence beginnings that the choices complete, in data without a question.
STEMS = ("sentence", "premise", "stem", "context", "passage", "text")
CHOICES = ("choices", "options", "endings", "candidates", "mcoptions")
CHOICE_ANSWERS = (
    "answerkey", "answer", "label", "answeridx", "answerindex", "correct", "correctanswer", "gold",
    "target", "cop", "bestanswer", "correctoption", "correctchoice", "answerletter", "lösung", "richtigeantwort",
    "respuestacorrecta", "bonneréponse", "rispostacorretta", "正确答案", "答案",
)  # fmt: skip
TEXTS = (
    "text", "content", "document", "rawcontent", "body", "article", "story", "markdown", "passage",
    "abstract", "code", "sentence",
)  # fmt: skip
#: Numbers instead of texts, and texts that are compared with each other.
VECTORS = ("embedding", "embeddings", "vector", "vectors", "emb", "features")
COMPARED = (
    ("anchor", "positive"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("query", "pos"),
    ("query", "positive"), ("question1", "question2"), ("text1", "text2"),
)  # fmt: skip
#: A better and a worse answer, in pairs.
CHOSEN = (
    "fullchosen", "chosen", "chosenresponse", "chosenanswer", "chosenmessages", "better", "betterresponse",
    "preferred", "preferredresponse", "accepted", "acceptedresponse", "responsechosen",
    "answerchosen", "responsej", "win", "winner", "winningresponse", "good", "goodresponse",
    "preferredoutput", "chosenconversations", "chosenconversation",
)  # fmt: skip
REJECTED = (
    "fullrejected", "rejected", "rejectedresponse", "rejectedanswer", "rejectedmessages", "worse", "worseresponse",
    "nonpreferred", "dispreferredresponse", "rejectedoutput", "rejectedresponse", "responserejected",
    "answerrejected", "responsek", "lose", "loser", "losingresponse", "bad", "badresponse",
    "nonpreferredoutput", "rejectedconversations", "rejectedconversation", "dispreferred",
)  # fmt: skip
#: A query, the text that it should find, and a text that it should not, as sentence-transformers' triplets
#: and pairs name them.
SEARCH_QUERIES = ("anchor", "query", "queries", "question", "frage", "anfrage")
SEARCH_POSITIVES = (
    "positive", "pos", "positives", "positivepassage", "positivepassages", "positivedocument", "positivetext",
    "relevant",
)  # fmt: skip
SEARCH_NEGATIVES = (
    "negative", "neg", "negatives", "hardnegative", "hardnegatives", "negative1", "negativepassage",
    "negativepassages", "negativedocument", "negativetext",
)  # fmt: skip
LABELS = (
    "label", "ktotag", "labels", "kto", "thumbs", "thumbsup", "feedback", "desirable", "isgood",
    "isdesirable", "liked", "vote", "rating", "preference", "quality", "score",
)  # fmt: skip
CLASSES = (
    "label", "labels", "class", "classes", "sentiment", "emotion", "intent", "category", "stars",
    "labeltext", "coarselabel", "finelabel", "toxic", "toxicity", "isduplicate", "entailment",
    "nertags", "topic", "classindex", "labelname", "kategorie", "klasse", "stimmung", "absicht", "categorie", "catégorie",
    "classe", "étiquette", "categoría", "categoria", "clase", "etiqueta", "sentimiento", "sentimento", "категория", "метка",
    "класс", "тональность", "类别", "标签", "分类", "情感", "ラベル", "カテゴリ",
)  # fmt: skip
TO_ANSWER = (
    "answer",
    "answers",
    "response",
    "output",
    "completion",
    "reply",
    "solution",
    "antwort",
)
#: Endings of names that describe a row, such as `Customer name` and `Opened date`.
TO_DESCRIBE = (
    "name", "date", "time", "number", "status", "state", "type", "mail", "phone", "address", "category",
    "priority", "department", "channel", "country", "city", "tag", "tags", "url", "link", "title", "subject",
    "betreff", "datum", "nummer", "telefon", "adresse", "kategorie", "abteilung", "kanal",
)  # fmt: skip
TO_QUESTION = ("question", "prompt", "instruction", "query", "problem", "frage")
NEGATIVE = (
    "incorrect", "wrong", "reject", "negative", "false", "bad", "worse", "worst", "distractor",
    "dispreferred", "nonpreferred",
)  # fmt: skip
SECONDARY = (
    "original",
    "inputoutput",
    "system",
    "negative",
    "count",
    "length",
    "tokens",
    "score",
    "model",
    "type",
)
METADATA = (
    "id", "ids", "uuid", "idx", "index", "hash", "url", "link", "date", "time", "timestamp", "source",
    "lang", "language", "model", "type", "category", "topic", "title", "name", "license", "licence",
    "split", "meta", "metadata", "subset", "dataset", "domain", "tag", "tags", "difficulty", "level",
    "subject", "author", "version", "format", "path", "file", "filename", "key", "count", "length",
    "tokens", "score", "unnamed0", "rating", "status", "chatname",
)  # fmt: skip
#: Questions with exactly these names.
ASKED = frozenset((*INSTRUCTIONS, *PROMPTS, *QUESTIONS, *INPUTS))
USUAL = {
    *CONVERSATIONS, *INSTRUCTIONS, *PROMPTS, *INPUTS, *QUESTIONS, *ANSWERS, *SYSTEMS, *TEXTS, *CHOSEN,
    *REJECTED,
}  # fmt: skip

#: Words for an answer, or for who gives it, in names of columns.
_ANSWERING = re.compile(r"answer|antwort|repl(y|ies)|respon|agent|assistant|bot|out$")

#: Words for a message that is answered, or for who writes it.
_ASKING = re.compile(
    r"question|frage|customer|client|user|kund|message|msg|nachricht|wrote|schrieb|request|inquir|query|"
    r"issue|problem|input|body|prompt|text|incoming|in$"
)


def is_answer_name(name: str) -> bool:
    """Return whether a normalized name contains a word for an answer, or for who gives it."""
    return bool(_ANSWERING.search(name))


def is_message_name(name: str) -> bool:
    """Return whether a normalized name contains a word for a message, or for who writes it."""
    return bool(_ASKING.search(name))


# Which column or template fills each slot of a format, and its value for one row.
#
# A value that equals a column's name is that column, with its type. In any other value, the names in
# braces are columns, substituted in one pass into text: `{question}\n{context}`, where `\n` and
# `\t` may be written as escapes. Braces in the data are kept, as are braces of a template that
# enclose other braces. A dot selects a field of an object: `translation.en`. If a value is missing or
# empty, the blanks of the template that join it to the others are dropped. A slot mapped to "" stays
# empty. Choices in one column each are a template with the label before each of them. The slot `speaker` is
# the exception: its value is the name of a person, not of a column.

_PLACE = re.compile(r"\{([^{}]+)\}")
_MOST_NAMES = 30
#: The slot for the name of the person whose messages are the answers.
SPEAKER = "speaker"


def list_slots(row_format: RowFormat) -> tuple[str, ...]:
    """Return the slots of a format by name."""
    return tuple(slot.rstrip("*") for slot in FORMATS[row_format].slots)


def list_required_slots(row_format: RowFormat) -> tuple[str, ...]:
    """Return the slots that must be filled."""
    return tuple(slot.rstrip("*") for slot in FORMATS[row_format].slots if slot.endswith("*"))


def fill_slots(values: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of each slot of a row, without missing ones; raises UnusableRow."""
    slot_values = {}
    for slot, source in mapping.items():
        value = (
            _get_labeled_choices(values, source)
            if slot == "choices"
            else _get_true_names(values, source)
            if slot == "label"
            else source or None
            if slot == SPEAKER
            else _get_value(values, source)
        )
        if not is_missing(value):
            slot_values[slot] = value
    return slot_values


def check_mapping(
    row_format: RowFormat, mapping: Mapping[str, str], columns: Iterable[str]
) -> list[Problem]:
    """Return the problems of a mapping that the user wrote: unknown slots and columns."""
    names, problems = list(columns), []
    for slot, source in mapping.items():
        if slot not in list_slots(row_format):
            problems.append(
                dataset_error(
                    "unknown_slot",
                    "This format has no slot “{slot}”.",
                    "Its slots are {slots}.",
                    slot=slot,
                    slots=quote_names(list_slots(row_format)),
                )
            )
            continue
        if slot == SPEAKER:
            continue
        missing = [name for name in find_column_names(source, names) if not has_column(name, names)]
        if missing:
            problems.append(
                dataset_error(
                    "unknown_column",
                    counted(
                        len(missing),
                        "The column {names}, mapped to “{slot}”, doesn't exist.",
                        "The columns {names}, mapped to “{slot}”, don't exist.",
                        names=quote_names(missing),
                        slot=slot,
                    ),
                    text(
                        "The columns are: {columns}. Enter one of them, or a template such as {example}.",
                        columns=_shorten_names(names),
                        example=r"{question}\n{context}",
                    ),
                )
            )
    return problems


def find_column_names(source: str, columns: Iterable[str] = ()) -> list[str]:
    """Return the columns that a mapping's value refers to."""
    if not source:
        return []
    if source in columns:
        return [source]
    return _PLACE.findall(source) or [source]


def prefix_names(source: str, prefix: str) -> str:
    """Return a mapping's value with its columns as fields of an object in the column `prefix`."""
    if not _PLACE.search(source):
        return f"{prefix}.{source}"
    return _PLACE.sub(lambda place: f"{{{prefix}.{place[1]}}}", source)


def list_columns(mapping: Mapping[str, str], columns: Collection[str] = ()) -> list[str]:
    """Return the columns that fill the slots of a mapping, each once."""
    sources = [source for slot, source in mapping.items() if slot != SPEAKER]
    names = (name for source in sources for name in find_column_names(source, columns))
    return list(dict.fromkeys(names))


def has_column(name: str, columns: Container[str]) -> bool:
    """Return whether a name is a column, or with a dot a field of one."""
    return name in columns or ("." in name and name.split(".", 1)[0] in columns)


def _get_value(values: Mapping[str, Any], source: str) -> Any:
    if source in values:
        return values[source]
    parts = _split_template(source)
    if len(parts) == 1:
        return get_column(values, source)
    return _render_template(values, parts)


@functools.lru_cache(maxsize=256)
def _split_template(template: str) -> tuple[str, ...]:
    """Return alternating text and column names, starting with text; a single piece has no column."""
    pieces = _PLACE.split(template)
    pieces[0::2] = [text.replace(r"\n", "\n").replace(r"\t", "\t") for text in pieces[0::2]]
    return tuple(pieces)


def _get_labeled_choices(values: Mapping[str, Any], source: str) -> Any:
    """Return choices in one column each, by the label before each in the template: `A. {A}\\nB. {B}`."""
    parts = _split_template(source)
    if source in values or len(parts) < 5:
        return _get_value(values, source)
    labels = [text.strip().strip("().:") for text in parts[0:-1:2]]
    choices = zip(labels, [get_column(values, name) for name in parts[1::2]], strict=True)
    labeled = [(label, value) for label, value in choices if not is_blank(value)]
    is_named = all(labels) and len(set(labels)) == len(labels)
    return (dict(labeled) if is_named else [value for _, value in labeled]) or None


def _get_true_names(values: Mapping[str, Any], source: str) -> Any:
    """Return the names of the true columns of a template that only lists columns: `{toxic} {insult}`.

    Several names are separated by commas, and “none” stands for no name. The value of any other source is
    returned as usual. Returns None if a column has no value, or -1 for an unknown one.
    """
    parts = _split_template(source)
    if source in values or len(parts) < 5 or any(text.strip() for text in parts[::2]):
        return _get_value(values, source)
    columns = {name: get_column(values, name) for name in parts[1::2]}
    if any(is_blank(value) or str(value) in ("-1", "-1.0") for value in columns.values()):
        return None  # one of the labels isn't known
    flags = {name: parse_label(value) for name, value in columns.items()}
    if None in flags.values():
        return _get_value(values, source)
    return ", ".join(name for name, flag in flags.items() if flag) or "none"


def get_column(values: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column, or with dots of a field of one; None without it."""
    if name in values or "." not in name:
        return values.get(name)
    first, rest = name.split(".", 1)
    inner = parse_literal(values.get(first))
    return get_column(inner, rest) if isinstance(inner, dict) else None


def _render_template(values: Mapping[str, Any], pieces: tuple[str, ...]) -> str | None:
    """Return the text of a template; None if every column in it is missing."""
    columns = [get_column(values, name) for name in pieces[1::2]]
    if all(is_missing(value) for value in columns):
        return None
    texts = [to_text(value) for value in columns]
    between = list(pieces[0::2])
    for index, given_text in enumerate(texts):
        # Drop the blanks before an empty value; for the first value, the blanks after it.
        side = index if index else index + 1
        if not given_text and not between[side].strip():
            between[side] = ""
    return between[0] + "".join(
        text + after for text, after in zip(texts, between[1:], strict=True)
    )


def _shorten_names(columns: list[str]) -> Text:
    names = tuple(text("{name}", name=name) for name in columns[:_MOST_NAMES])
    if not names:
        return text("none")
    if len(columns) > _MOST_NAMES:
        return text("{names} and {count} more", names=names, count=len(columns) - _MOST_NAMES)
    return text("{names}", names=names)
