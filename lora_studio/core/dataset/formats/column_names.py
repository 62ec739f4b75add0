"""Column names in common training datasets, in order of preference.

Names are normalized: letters and digits only, lower case.
"""

from __future__ import annotations

import re

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
