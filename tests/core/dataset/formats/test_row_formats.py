"""Detection and conversion of every row format."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.dataset.formats.detection import FormatVerdict, convert, detect
from lora_studio.core.tasks.samples import Message, Sample, ToolCall, UnusableRow


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def untrained_answer(text: str, **fields: Any) -> Message:
    """Return an untrained answer."""
    return Message(role="assistant", content=text, **fields)


def answer(text: str, **fields: Any) -> Message:
    return Message(role="assistant", content=text, trained=True, **fields)


def tool(text: str, name: str = "") -> Message:
    return Message(role="tool", content=text, name=name)


def call(tool_name: str, call_id: str = "", **arguments: Any) -> ToolCall:
    return ToolCall(name=tool_name, arguments=arguments, id=call_id)


def sft(*messages: Message, tools: tuple[dict[str, Any], ...] = ()) -> Sample:
    return Sample("sft", messages, tools=tools)


def pair(
    prompt: list[Message], chosen: list[Message], rejected: list[Message], **fields: Any
) -> Sample:
    return Sample(
        "preference", tuple(prompt), chosen=tuple(chosen), rejected=tuple(rejected), **fields
    )


def search_pair(query: str, positive: str, negative: str = "") -> Sample:
    found = (untrained_answer(negative),) if negative else ()
    return Sample("embedding", (user(query),), chosen=(untrained_answer(positive),), rejected=found)


def kto(label: bool, *messages: Message) -> Sample:
    return Sample("kto", messages, label=label)


QA = sft(user("Who?"), answer("I."))
CHAT = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "I."}]
MESSAGES = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
WEATHER = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}
GOOD_BAD = pair([user("Who?")], [answer("I.")], [answer("You.")])

ALPACA: list[tuple[dict[str, Any], Sample]] = [
    ({"instruction": "Add.", "input": "1 2", "output": "3"}, sft(user("Add.\n1 2"), answer("3"))),
    ({"instruction": "Who?", "input": "", "output": "I."}, QA),
    ({"instruction": "Who?", "input": None, "output": "I."}, QA),
    ({"instruction": "Who?", "input": "  ", "output": "I."}, QA),
    ({"instruction": "", "input": "Who?", "output": "I."}, QA),
    ({"instruction": "Who?", "output": "I."}, QA),
    ({"Instruction": "Who?", "Output": "I."}, QA),
    ({"INSTRUCTION": "Who?", "RESPONSE": "I."}, QA),
    ({"instruction": "Who?", "response": "I."}, QA),
    ({"instruction": "Who?", "context": "A mirror.", "response": "I.", "category": "open_qa"}, sft(user("Who?\nA mirror."), answer("I."))),
    ({"instruction": "Who?", "input": "", "output": "I.", "text": "Below is … Who? … I."}, QA),
    ({"instruction": "Who?", "input": "", "output": "I.", "prompt": "Below is …"}, QA),
    ({"instruction": "Who?", "output": "I.", "system": "Be brief."}, sft(system("Be brief."), user("Who?"), answer("I."))),
    ({"instruction": "Who?", "output": "I.", "system": ""}, QA),
    (
        {"instruction": "Why?", "input": "", "output": "So.", "history": [["Who?", "I."], ["When?", "Now."]]},
        sft(user("Who?"), answer("I."), user("When?"), answer("Now."), user("Why?"), answer("So.")),
    ),
    ({"instruction": "Who?", "output": "I.", "history": []}, QA),
    ({"query": "Why?", "response": "So.", "history": [["Who?", "I."]]}, sft(user("Who?"), answer("I."), user("Why?"), answer("So."))),
    ({"instruction": "Who?", "output": ["I."]}, QA),
    ({"instruction": "Who?", "output": ["I.", "Me.", "Myself."]}, QA),
    ({"instruction": "Human:Hi\nAssistant:Yes?\nHuman:Who?\nAssistant:", "input": "", "output": "I."}, sft(user("Hi"), untrained_answer("Yes?"), user("Who?"), answer("I."))),
    ({"instruction": "Add 1 and 2.", "output": 3}, sft(user("Add 1 and 2."), answer("3"))),
    ({"instruction": "Half?", "output": 0.5}, sft(user("Half?"), answer("0.5"))),
    ({"instruction": "List.", "output": {"a": [1, "é"]}}, sft(user("List."), answer('{"a": [1, "é"]}'))),
    ({"instruction": "Who?", "output": "<think>\nHm.\n</think>\n\nI."}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"definition": "Name it.", "inputs": "Who?", "targets": "I."}, sft(user("Name it.\nWho?"), answer("I."))),
]  # fmt: skip

QUESTION_ANSWER: list[tuple[dict[str, Any], Sample]] = [
    ({"question": "Who?", "answer": "I."}, QA),
    ({"Question": "Who?", "Answer": "I."}, QA),
    ({"query": "Who?", "response": "I.", "type": "x", "original_question": "Whom?"}, QA),
    ({"system_prompt": "Be brief.", "question": "Who?", "response": "I.", "id": "cot.1"}, sft(system("Be brief."), user("Who?"), answer("I."))),
    ({"system_prompt": "", "question": "Who?", "response": "I."}, QA),
    ({"problem": "Who?", "solution": "I."}, QA),
    ({"id": "1", "title": "T", "context": "A mirror.", "question": "Who?", "answers": {"text": ["I.", "Me."], "answer_start": [1, 2]}}, sft(user("A mirror.\n\nWho?"), answer("I."))),
    ({"question": "Who?", "passage": "A mirror.", "answer": True}, sft(user("A mirror.\n\nWho?"), answer("true"))),
    ({"question": "Who?", "choices": ["You", "I"], "answer": 1}, sft(user("Who?\nA. You\nB. I"), answer("B. I"))),
    ({"question": "Who?", "choices": {"text": ["You", "I"], "label": ["1", "2"]}, "answerKey": "2"}, sft(user("Who?\n1. You\n2. I"), answer("2. I"))),
    ({"question": "Who?", "options": {"A": "You", "B": "I"}, "answer_idx": "B", "answer": "I"}, sft(user("Who?\nA. You\nB. I"), answer("B. I"))),
    ({"question": "Who?", "options": "['You', 'I']", "answer": "I"}, sft(user("Who?\nA. You\nB. I"), answer("B. I"))),
    ({"ctx": "He", "endings": ["ran", "sat"], "label": "0"}, sft(user("He\nA. ran\nB. sat"), answer("A. ran"))),
    ({"Question": "Who?", "Complex_CoT": "Hm.", "Response": "I."}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"Context": "Who?", "Response": "I."}, QA),
    ({"user": "Who?", "assistant": "I."}, QA),
    ({"问题": "谁？", "答案": "我。"}, sft(user("谁？"), answer("我。"))),
    ({"Frage": "Wer?", "Antwort": "Ich."}, sft(user("Wer?"), answer("Ich."))),
    ({"question": "Who?", "answer": {"value": "I.", "aliases": ["Me."]}}, QA),
    ({"question": "Who?", "contexts": ["A mirror.", "A wall."], "ground_truth": "I."}, sft(user("A mirror.\n\nA wall.\n\nWho?"), answer("I."))),
    ({"article": "A mirror.", "question": "Who?", "answer": "I."}, sft(user("A mirror.\n\nWho?"), answer("I."))),
    ({"content": "Long.", "summary": "Short."}, sft(user("Long."), answer("Short."))),
    ({"article": "Long.", "highlights": "Short.", "id": "7"}, sft(user("Long."), answer("Short."))),
    ({"dialogue": "Amy: Hi!\r\nBob: Hello.", "summary": "They greet."}, sft(user("Amy: Hi!\r\nBob: Hello."), answer("They greet."))),
    ({"Links": "Who?", "Rechts": "I."}, QA),
    ({"Term": "Who?", "Definition": "I.", "Category": "x"}, QA),
    ({"schema": "A mirror.", "question": "Who?", "sql": "I."}, sft(user("A mirror.\n\nWho?"), answer("I."))),
    ({"inputs": [5, 6], "inputs_pretokenized": "Who?", "targets": [7], "targets_pretokenized": "I."}, QA),
    (
        {"query": "Weather?", "answers": '[{"name": "weather", "arguments": {"city": "Rome"}}]', "tools": [WEATHER]},
        sft(user("Weather?"), answer("", tool_calls=(call("weather", city="Rome"),)), tools=(WEATHER,)),
    ),
]  # fmt: skip

PROMPT_COMPLETION: list[tuple[dict[str, Any], Sample]] = [
    ({"prompt": "The sky is", "completion": " blue."}, sft(user("The sky is"), answer(" blue."))),
    ({"prompt": "Who?", "response": "I."}, QA),
    ({"input": "Who?", "output": "I."}, QA),
    ({"inputs": "Who?", "targets": "I."}, QA),
    ({"inputs": "Who?", "targets": "I.", "task": "qa_templates"}, QA),
    ({"prompt": "Tell it in short.", "label": "It is a long story that was told in short."}, sft(user("Tell it in short."), answer("It is a long story that was told in short."))),
    ({"prompt": "Who?", "generation": "I."}, QA),
    ({"prompt": "Write a chapter.", "text": "Once.", "format": "textbook"}, sft(user("Write a chapter."), answer("Once."))),
    ({"prompt": [{"role": "user", "content": "Who?"}], "completion": [{"role": "assistant", "content": "I."}]}, QA),
    (
        {"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Who?"}], "completion": [{"role": "assistant", "content": "I."}]},
        sft(system("S"), user("Hi"), untrained_answer("Yes"), user("Who?"), answer("I.")),
    ),
    ({"prompt": [{"role": "user", "content": "Who?"}], "completion": "I."}, QA),
    ({"prompt": "[{'role': 'user', 'content': 'Who?'}]", "completion": '[{"role": "assistant", "content": "I."}]'}, QA),
    ({"prompt": "Give JSON", "completion": '[{"role": "user", "content": "Who?"}]'}, sft(user("Give JSON"), answer('[{"role": "user", "content": "Who?"}]'))),
    ({"prompt": "\n\nHuman: Who?\n\nAssistant:", "completion": "I."}, QA),
    ({"question": MESSAGES[:1], "answer": "I."}, QA),
    ({"input": "Who?", "reasoning_content": "Hm.", "content": "I."}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": MESSAGES[:1], "reasoning": "Hm.", "answer": "I.", "model": "m"}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": [*MESSAGES, {"role": "user", "content": "Why?"}], "response": "So."}, sft(user("Who?"), untrained_answer("I."), user("Why?"), answer("So."))),
    ({"input": MESSAGES[:1], "output": "I.", "reasoning": "on", "version": "v1"}, QA),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}, {"type": "function_call", "call_id": "c1", "id": "fc", "name": "weather", "arguments": '{"city": "Rome"}'}, {"type": "function_call_output", "call_id": "c1", "output": "sun"}], "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny."}]}]},
        sft(user("Weather?"), untrained_answer("", tool_calls=(call("weather", "c1", city="Rome"),)), tool("sun", "weather"), answer("Sunny.")),
    ),
    (
        {"request": {"messages": MESSAGES[:1]}, "response": {"role": "assistant", "content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}], "stop_reason": "tool_use"}},
        sft(user("Who?"), answer("I look.", tool_calls=(call("f", "c", a=1),))),
    ),
    ({"prompt": "def f():", "canonical_solution": "    pass", "task_id": "1"}, sft(user("def f():"), answer("    pass"))),
]  # fmt: skip

#: An exported ChatGPT conversation: an empty root, and a regenerated answer.
EXPORTED = {
    "r": {"id": "r", "message": None, "parent": None, "children": ["h"]},
    "h": {"message": {"author": {"role": "system"}, "content": {"content_type": "text", "parts": [""]}}, "parent": "r", "children": ["a"]},
    "a": {"message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Who?"]}}, "parent": "h", "children": ["b", "c"]},
    "b": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["Me."]}}, "parent": "a", "children": []},
    "c": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "thoughts", "thoughts": []}}, "parent": "a", "children": ["d"]},
    "d": {"message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["I."]}}, "parent": "c", "children": []},
}  # fmt: skip
SHAREGPT: list[tuple[dict[str, Any], Sample]] = [
    ({"conversations": CHAT}, QA),
    ({"id": "x", "conversations": CHAT, "source": "s"}, QA),
    ({"conversations": [{"from": "user", "value": "Who?"}, {"from": "assistant", "value": "I."}]}, QA),
    ({"conversations": [{"from": "Human", "value": "Who?"}, {"from": "ChatGPT", "value": "I."}]}, QA),
    ({"conversations": [{"from": "human", "value": "Who?"}, {"from": "bot", "value": "I."}]}, QA),
    ({"conversation": [{"from": "prompter", "value": "Who?"}, {"from": "model", "value": "I."}]}, QA),
    ({"dialog": [{"speaker": "user", "text": "Who?"}, {"speaker": "agent", "text": "I."}]}, QA),
    ({"chat": [{"user": "human", "text": "Who?"}, {"user": "bot", "text": "I."}]}, QA),
    ({"turns": [{"user": "Who?"}, {"assistant": "I."}]}, QA),
    ({"conversation": [{"human": "Who?", "assistant": "I."}]}, QA),
    ({"conversation": [{"input": "Who?", "output": "I."}, {"input": "Why?", "output": "So."}]}, sft(user("Who?"), answer("I."), user("Why?"), answer("So."))),
    ({"conversations": ["Who?", "I."], "source": "s"}, QA),
    ({"id": "0", "data": ["Who?", "I."]}, QA),
    ({"conversations": [["Who?", "I."]]}, QA),
    ({"conversations": [["human", "Who?"], ["gpt", "I."]]}, QA),
    ({"conversations": '[{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "I."}]'}, QA),
    ({"conversations": {"from": ["human", "gpt"], "value": ["Who?", "I."]}}, QA),
    (
        {"conversations": [{"from": "human", "value": "Weather?"}, {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'}, {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'}, {"from": "observation", "value": "sun"}, {"from": "observation", "value": "rain"}, {"from": "gpt", "value": "Both."}]},
        sft(user("Weather?"), answer("", tool_calls=(call("weather", city="Rome"), call("weather", city="Oslo"))), tool("sun"), tool("rain"), answer("Both.")),
    ),
    (
        {"conversations": [{"role": "user", "content": "Sum?"}, {"role": "tool", "name": "add", "parameters": {"a": 1}, "observation": "2"}, {"role": "assistant", "content": "Two."}]},
        sft(user("Sum?"), answer("", tool_calls=(call("add", a=1),)), tool("2", "add"), answer("Two.")),
    ),
    ({"conversation": "User: Who?\nAssistant: I."}, QA),
    ({"tree": 1, "prompt": {"text": "Who?", "role": "prompter", "replies": [{"text": "Me.", "role": "assistant", "rank": 1, "replies": []}, {"text": "I.", "role": "assistant", "rank": 0, "replies": [{"text": "Why?", "role": "prompter", "rank": None, "replies": [{"text": "So.", "role": "assistant", "rank": 0}]}]}, {"text": "No.", "role": "assistant", "deleted": True}, {"text": "Spam.", "role": "assistant", "rank": -1, "review_result": False}]}}, sft(user("Who?"), answer("I."), user("Why?"), answer("So."))),
    ({"uuid": "u", "chat_messages": [{"text": "Who?", "sender": "human"}, {"text": "I.", "sender": "assistant"}]}, QA),
    ({"conversations": [{"from": "context", "value": "S"}, *CHAT]}, sft(system("S"), user("Who?"), answer("I."))),
    ({"conversations": [{"from": "system", "value": "S"}, *CHAT], "system": "Other"}, sft(system("S"), user("Who?"), answer("I."))),
    ({"conversations": CHAT, "system": "S"}, sft(system("S"), user("Who?"), answer("I."))),
    ({"conversations": [*CHAT, {"from": "human", "value": "left over"}]}, QA),
    ({"conversations": [{"from": "gpt", "value": "Hello."}, *CHAT]}, sft(answer("Hello."), user("Who?"), answer("I."))),
    ({"conversations": [{"from": "human", "value": "Hey."}, *CHAT]}, sft(user("Hey."), user("Who?"), answer("I."))),
    ({"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": ""}, *CHAT]}, sft(user(""), answer(""), user("Who?"), answer("I."))),
    ({"conversations": [{"from": "system", "value": "S", "weight": None}, {"from": "human", "value": "Who?", "weight": 0.0}, {"from": "gpt", "value": "I.", "weight": 1.0}]}, sft(system("S"), user("Who?"), answer("I."))),
    (
        {"conversations": [{"from": "human", "value": "Weather?"}, {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'}, {"from": "observation", "value": '{"sun": true}'}, {"from": "gpt", "value": "Sunny."}], "tools": '[{"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}]'},
        sft(user("Weather?"), answer("", tool_calls=(call("weather", city="Rome"),)), tool('{"sun": true}'), answer("Sunny."), tools=(WEATHER,)),
    ),
    (
        {"conversations": [{"from": "human", "value": "Weather?"}, {"from": "function-call", "value": "weather(Rome)"}, {"from": "function-response", "value": "sun"}, {"from": "gpt", "value": "Sunny."}]},
        sft(user("Weather?"), answer("weather(Rome)"), tool("sun"), answer("Sunny.")),
    ),
    (
        {"system": 'SYSTEM: Use functions -\n{"name": "f", "parameters": {}}', "chat": "USER: Go\n\n\nASSISTANT: <functioncall> {\"name\": \"f\", \"arguments\": '{\"a\": 1}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"b\": 2}\n\n\nASSISTANT: Two. <|endoftext|>"},
        sft(system("Use functions -"), user("Go"), answer("", tool_calls=(call("f", a=1),)), tool('{"b": 2}'), answer("Two."), tools=({"name": "f", "parameters": {}},)),
    ),
]  # fmt: skip

CALLS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    {"role": "assistant", "content": "Sunny."},
]  # fmt: skip
CALLED = (
    user("Weather?"),
    answer("", tool_calls=(call("weather", "c1", city="Rome"),)),
    tool("sun", "weather"),
    answer("Sunny."),
)

MESSAGE_LISTS: list[tuple[dict[str, Any], Sample]] = [
    ({"messages": MESSAGES}, QA),
    ({"conversations": MESSAGES}, QA),
    ({"prompt": "Who?", "prompt_id": "1", "messages": MESSAGES, "category": "QA"}, QA),
    ({"messages": [{"role": "developer", "content": "S"}, *MESSAGES]}, sft(system("S"), user("Who?"), answer("I."))),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "o?"}]}, {"role": "Assistant", "content": "I."}]}, QA),
    ({"messages": [{"role": "user", "content": [{"type": "text", "content": "Who?"}]}, {"role": "assistant", "content": "I."}]}, QA),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I.", "weight": 0}, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.", "weight": 1}]}, sft(user("Who?"), untrained_answer("I."), user("Why?"), answer("So."))),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I.", "reasoning_content": "Hm."}]}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I.", "thinking": "Hm."}]}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I.", "reasoning": "Hm."}]}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "<think>Hm.</think>I."}]}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": [{"role": "user", "content": "<think>x</think>Who?"}, {"role": "assistant", "content": "I. <think> is a tag </think>"}]}, sft(user("<think>x</think>Who?"), answer("I. <think> is a tag </think>"))),
    ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "I."}]}]}, sft(user("Who?"), answer("I.", thinking="Hm."))),
    ({"messages": CALLS, "tools": [{"type": "function", "function": WEATHER}]}, sft(*CALLED, tools=({"type": "function", "function": WEATHER},))),
    ({"messages": CALLS, "tools": '[{"type": "function", "function": {"name": "f", "x": null}}]'}, sft(*CALLED, tools=({"type": "function", "function": {"name": "f"}},))),
    ({"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome", "unit": None}}}]}]}, sft(user("Weather?"), answer("", tool_calls=(call("weather", city="Rome"),)))),
    ({"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Rome"}'}}, {"role": "function", "name": "weather", "content": {"sun": True}}, {"role": "assistant", "content": "Sunny."}]}, sft(user("Weather?"), answer("", tool_calls=(call("weather", city="Rome"),)), tool('{"sun": true}', "weather"), answer("Sunny."))),
    ({"messages": [{"role": "user", "content": [{"type": "text", "value": "Weather?"}]}, {"role": "assistant", "content": [{"type": "reasoning", "value": "Hm."}, {"type": "tool_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'}, {"type": "tool_call", "value": '[{"name": "weather", "arguments": {}}]'}]}]}, sft(user("Weather?"), answer("", thinking="Hm.", tool_calls=(call("weather", city="Rome"), call("weather"))))),
    ({"messages": [{**MESSAGES[0], "loss_weight": 0.0}, {**MESSAGES[1], "loss_weight": 0.0}, MESSAGES[0], {**MESSAGES[1], "loss_weight": 1.0}]}, sft(user("Who?"), untrained_answer("I."), user("Who?"), answer("I."))),
    ({"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sun"}]}, {"role": "assistant", "content": "Sunny."}]}, sft(user("Weather?"), answer("", tool_calls=(call("weather", "c1", city="Rome"),)), tool("sun", "weather"), answer("Sunny."))),
    ({"messages": [MESSAGES[0], {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "I."}]}]}, QA),
    ({"title": "Me", "mapping": EXPORTED, "current_node": "d"}, QA),
    (
        {"messages": [MESSAGES[0], {"role": "assistant", "content": "Me.", "masked": True}, {"role": "user", "content": "Why?", "masked": True}, {"role": "assistant", "content": "So.", "masked": False}]},
        sft(user("Who?"), untrained_answer("Me."), user("Why?"), answer("So.")),
    ),
    ({"messages": MESSAGES, "tools": [{"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}]}, sft(user("Who?"), answer("I."), tools=(WEATHER,))),
    (
        {"messages": [MESSAGES[0], {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I."}]}]},
        sft(user("Who?"), answer("I.", thinking="Hm.")),
    ),
    (
        {"messages": [MESSAGES[0], {"type": "reasoning", "summary": [], "encrypted_content": "x"}, {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}, {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"}, {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "2"}]}, MESSAGES[1]]},
        sft(user("Who?"), answer("", tool_calls=(call("f", "a"), call("g", "b"))), tool("2", "g"), answer("I.")),
    ),
    (
        {"meta_instruction": "S", "num_turns": 2, "chat": {"turn_2": {"Human": "<|Human|>: Sum?<eoh>\n", "Inner Thoughts": "<|Inner Thoughts|>: Hm.<eot>\n", "Commands": "<|Commands|>: Calculate(\"1+1\")<eoc>\n", "Tool Responses": "<|Results|>:\nCalculate(\"1+1\") =>\n2<eor>\n", "MOSS": "<|MOSS|>: Two <eos><eom>\n"}, "turn_1": {"Human": "<|Human|>: Who?<eoh>\n", "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n", "Commands": "<|Commands|>: None<eoc>\n", "Tool Responses": "<|Results|>: None<eor>\n", "MOSS": "<|MOSS|>: I.<eom>\n"}}},
        sft(system("S"), user("Who?"), answer("I."), user("Sum?"), answer('Calculate("1+1")', thinking="Hm."), tool('Calculate("1+1") =>\n2'), answer("Two <eos>")),
    ),
    ({"messages": {"role": ["user", "assistant"], "content": ["Who?", "I."]}}, QA),
    ({"messages": "[{'role': 'user', 'content': 'Who?'}, {'role': 'assistant', 'content': 'I.'}]"}, QA),
    ({"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "I."}]}, sft(user("7"), answer("I."))),
    ({"messages": MESSAGES, "problem": "Who?", "solution": "I.", "source": "s"}, QA),
    ({"messages": MESSAGES, "images": []}, QA),
    ({"system": [{"text": "S"}], "messages": [{"role": "user", "content": [{"text": "Who?"}]}, {"role": "assistant", "content": [{"text": "I."}]}]}, sft(system("S"), user("Who?"), answer("I."))),
    ({"systemInstruction": {"role": "system", "parts": [{"text": "S"}]}, "contents": [{"role": "user", "parts": [{"text": "Who?"}]}, {"role": "model", "parts": [{"text": "I."}]}]}, sft(system("S"), user("Who?"), answer("I."))),
]  # fmt: skip

TEXT: list[tuple[dict[str, Any], Sample]] = [
    ({"text": " The sky.\n"}, Sample("text", text=" The sky.\n")),
    ({"text": "The sky.", "meta": {"a": 1}, "url": "u", "score": 0.9}, Sample("text", text="The sky.")),
    ({"content": "The sky.", "path": "a.py", "size": 3}, Sample("text", text="The sky.")),
    ({"document": "The sky."}, Sample("text", text="The sky.")),
    ({"Abschnitt": "The sky.", "nr": 3}, Sample("text", text="The sky.")),
    ({"text": "### Human: Who?### Assistant: I."}, Sample("text", text="### Human: Who?### Assistant: I.")),
]  # fmt: skip

HH = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Who?\n\nAssistant: "
PREFERENCE: list[tuple[dict[str, Any], Sample]] = [
    ({"prompt": "Who?", "chosen": "I.", "rejected": "You."}, GOOD_BAD),
    ({"question": "Who?", "chosen": "I.", "rejected": "You."}, GOOD_BAD),
    ({"system": "S", "question": "Who?", "chosen": "I.", "rejected": "You."}, pair([system("S"), user("Who?")], [answer("I.")], [answer("You.")])),
    ({"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4"}, pair([user("Add.\n1 2")], [answer("3")], [answer("4")])),
    ({"instruction": "Who?", "input": "", "chosen": "I.", "rejected": "You."}, GOOD_BAD),
    ({"prompt": "Who?", "chosen": "I.", "rejected": "You.", "score_chosen": 9.0, "score_rejected": 1.0}, GOOD_BAD),
    ({"question": "Who?", "response_j": "I.", "response_k": "You."}, GOOD_BAD),
    ({"prompt": "Who?", "chosen_response": "I.", "rejected_response": "You."}, GOOD_BAD),
    ({"prompt": [{"role": "user", "content": "Who?"}], "chosen": [{"role": "assistant", "content": "I."}], "rejected": [{"role": "assistant", "content": "You."}]}, GOOD_BAD),
    ({"chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "You."}]}, GOOD_BAD),
    ({"prompt": "Who?", "chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "You."}], "messages": MESSAGES}, GOOD_BAD),
    ({"conversations": CHAT[:1], "chosen": {"from": "gpt", "value": "I."}, "rejected": {"from": "gpt", "value": "You."}}, GOOD_BAD),
    ({"messages": MESSAGES[:1], "chosen": {"role": "assistant", "content": "I."}, "rejected": {"role": "assistant", "content": "You."}}, GOOD_BAD),
    ({"conversation": [{"speaker": "human", "text": "Who?"}], "better": {"speaker": "agent", "text": "I."}, "worse": {"speaker": "agent", "text": "You."}}, GOOD_BAD),
    (
        {"prompt": [{"role": "system", "content": "S"}, MESSAGES[0]], "chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "You."}]},
        pair([system("S"), user("Who?")], [answer("I.")], [answer("You.")]),
    ),
    ({"messages": MESSAGES, "rejected_response": "You."}, GOOD_BAD),
    (
        {"input": {"messages": MESSAGES[:1], "tools": [WEATHER], "parallel_tool_calls": True}, "preferred_output": MESSAGES[1:], "non_preferred_output": [{"role": "assistant", "content": "You."}]},
        pair([user("Who?")], [answer("I.")], [answer("You.")], tools=(WEATHER,)),
    ),
    ({"chosen": HH + "I.", "rejected": HH + "You."}, pair([user("Hi"), untrained_answer("Yes?"), user("Who?")], [answer("I.")], [answer("You.")])),
    ({"prompt": "\n\nHuman: Who?\n\nAssistant:", "chosen": " I.", "rejected": " You."}, GOOD_BAD),
    ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, pair([user("The sky is")], [answer(" blue.")], [answer(" green.")])),
    ({"chosen": "Blue.", "rejected": "Green."}, pair([], [answer("Blue.")], [answer("Green.")])),
    ({"chosen": "The grey sky", "rejected": "The green sky"}, pair([user("The")], [answer(" grey sky")], [answer(" green sky")])),
    ({"chosen": MESSAGES, "rejected": MESSAGES}, pair([user("Who?")], [answer("I.")], [answer("I.")])),
    ({"prompt": "Who?", "chosen": "<think>Hm.</think>I.", "rejected": "You."}, pair([user("Who?")], [answer("I.", thinking="Hm.")], [answer("You.")])),
    ({"prompt": "Who?", "chosen": '[{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]', "rejected": '[{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "You."}]'}, GOOD_BAD),
    (
        {"chosen": [*MESSAGES, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "rejected": [*MESSAGES, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Dunno."}]},
        pair([user("Who?"), untrained_answer("I."), user("Why?")], [answer("So.")], [answer("Dunno.")]),
    ),
    (
        {"prompt": MESSAGES[:1], "chosen": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": "b"}}}]}, {"role": "tool", "name": "f", "content": "c"}, {"role": "assistant", "content": "I."}], "rejected": [{"role": "assistant", "content": "You."}], "tools": [{"type": "function", "function": WEATHER}]},
        pair([user("Who?")], [answer("", tool_calls=(call("f", a="b"),)), tool("c", "f"), answer("I.")], [answer("You.")], tools=({"type": "function", "function": WEATHER},)),
    ),
]  # fmt: skip

COMPARED: list[tuple[dict[str, Any], Sample]] = [
    ({"prompt": "Who?", "response_0": "You.", "response_1": "I.", "is_response_0_safe": True, "better_response_id": 1, "safer_response_id": 0}, GOOD_BAD),
    ({"prompt": "Who?", "response_0": "I.", "response_1": "You.", "better_response_id": 0}, GOOD_BAD),
    ({"history": "Who?", "human_ref_A": "You.", "human_ref_B": "I.", "labels": 0, "score_A": 2, "score_B": 9}, GOOD_BAD),
    ({"question": {"full_text": "Who?"}, "answer_0": "I.", "answer_1": "You.", "score_0": 0.25, "score_1": -0.25}, GOOD_BAD),
    ({"instruction": "Who?", "input": "", "output_1": "You.", "output_2": "I.", "preference": 2}, GOOD_BAD),
    ({"model_a": "x", "model_b": "y", "winner": "model_b", "conversation_a": [MESSAGES[0], {"role": "assistant", "content": "You."}], "conversation_b": MESSAGES}, GOOD_BAD),
    ({"prompt": "Who?", "response_a": "I.", "response_b": "You.", "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}, GOOD_BAD),
    ({"prompt": "\n\nHuman: Who?\n\nAssistant: ", "answers": [{"answer": "Me.", "rank": 2.0}, {"answer": "You.", "rank": 3.0}, {"answer": "I.", "rank": 1.0}], "turns": 1}, GOOD_BAD),
    ({"question": "Who?", "answers": [{"text": "I.", "pm_score": 7, "selected": True}, {"text": "You.", "pm_score": 2}]}, GOOD_BAD),
    ({"instruction": "Who?", "input": "", "output": ["I.", "You."]}, GOOD_BAD),
    ({"instruction": "Who?", "generations": ["Me.", "I.", "You."], "ratings": [4.0, 5.0, 1.0]}, GOOD_BAD),
    ({"instruction": "Who?", "completions": [{"response": "You.", "annotations": {"truth": {"Rating": "5"}, "help": {"Rating": "1"}}}, {"response": "I.", "annotations": {"truth": {"Rating": "4"}, "help": {"Rating": "N/A"}}}]}, GOOD_BAD),
    ({"prompt": '["Who?"]', "response_a": '["I."]', "response_b": '["You."]', "winner_model_a": 1, "winner_model_b": 0}, GOOD_BAD),
    (
        {"prompt": '["Who?", "Why?"]', "response_a": '["I.", "So."]', "response_b": '["You.", "No."]', "winner_model_a": 0, "winner_model_b": 1},
        pair([user("Who?")], [answer("You."), user("Why?"), answer("No.")], [answer("I."), user("Why?"), answer("So.")]),
    ),
    ({"prompt": "Who?", "prefix": "\n", "chosen": "I", "rejected": "ou.", "full_chosen": "I.", "full_rejected": "You."}, GOOD_BAD),
    ({"instruction": "Who?", "models": ["x", "y"], "completions": [{"model": "x", "response": "You.", "overall_score": 3.0}, {"model": "y", "response": "I.", "overall_score": 8.0}]}, GOOD_BAD),
]  # fmt: skip

KTO: list[tuple[dict[str, Any], Sample]] = [
    ({"prompt": "Who?", "completion": "I.", "label": True}, kto(True, user("Who?"), answer("I."))),
    ({"prompt": "Who?", "completion": "I.", "label": 0}, kto(False, user("Who?"), answer("I."))),
    ({"prompt": "Who?", "completion": "I.", "label": "true"}, kto(True, user("Who?"), answer("I."))),
    ({"prompt": "Who?", "completion": "I.", "label": "👎"}, kto(False, user("Who?"), answer("I."))),
    ({"prompt": "Who?", "response": "I.", "thumbs": "thumbs_up"}, kto(True, user("Who?"), answer("I."))),
    ({"prompt": [{"role": "user", "content": "Who?"}], "completion": [{"role": "assistant", "content": "I."}], "label": False}, kto(False, user("Who?"), answer("I."))),
    ({"instruction": "Add.", "input": "1 2", "output": "3", "kto_tag": True}, kto(True, user("Add.\n1 2"), answer("3"))),
    ({"messages": [*MESSAGES, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "label": True}, kto(True, user("Who?"), untrained_answer("I."), user("Why?"), answer("So."))),
    ({"chosen": MESSAGES[:1], "completion": MESSAGES[1:], "label": True}, kto(True, user("Who?"), answer("I."))),
    ({"completion": "I.", "label": False}, kto(False, answer("I."))),
]  # fmt: skip

TABLE = [
    (name, row, expected)
    for name, table in (
        ("alpaca", ALPACA), ("question_answer", QUESTION_ANSWER), ("text", TEXT),
        ("prompt_completion", PROMPT_COMPLETION), ("sharegpt", SHAREGPT),
        ("messages", MESSAGE_LISTS), ("preference", PREFERENCE), ("preference", COMPARED),
        ("kto", KTO),
    )
    for row, expected in table
]  # fmt: skip


@pytest.mark.parametrize(
    ("row_format", "row", "expected"), TABLE, ids=[f"{item[0]}-{n}" for n, item in enumerate(TABLE)]
)
def test_row_format_is_detected_and_converted(
    row_format: str, row: dict[str, Any], expected: Sample
) -> None:
    verdict = detect([row], list(row))
    assert (verdict.format, verdict.task) == (row_format, expected.task), verdict.evidence
    assert verdict.format is not None
    assert convert(row, verdict.format, verdict.mapping) == expected
    assert convert(row, verdict.format) == expected, "without a mapping"


# --- pairs for search -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"anchor": "Who?", "positive": "I.", "negative": "No."}, search_pair("Who?", "I.", "No.")),
        ({"query": "Who?", "pos": ["I.", "Me."], "neg": ["No."]}, search_pair("Who?", "I.", "No.")),
        ({"query": "Who?", "positive": "I."}, search_pair("Who?", "I.")),
        ({"query": "Who?", "passage": "I."}, search_pair("Who?", "I.")),
        (
            {"question": "Who?", "document": "I.", "hard_negative": "No."},
            search_pair("Who?", "I.", "No."),
        ),
    ],
)
def test_query_with_a_positive_is_a_pair_for_search(row: dict[str, Any], expected: Sample) -> None:
    verdict = detect([row], list(row))
    assert (verdict.format, verdict.task) == ("search_pairs", "embedding")
    assert convert(row, "search_pairs", verdict.mapping) == convert(row, "search_pairs") == expected


def test_questions_and_answers_are_pairs_for_search_on_request() -> None:
    for row in ({"question": "Who?", "answer": "I."}, {"question": "Who?", "context": "I."}, {"query": "Who?", "passage": "He is.", "answer": "I."}, {"sentence1": "Who?", "sentence2": "I."}):  # fmt: skip
        assert detect([row], list(row)).format != "search_pairs"
        verdict = detect([row], list(row), "search_pairs")
        assert convert(row, "search_pairs", verdict.mapping) == search_pair("Who?", "I.")


# --- refused ----------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("prompts_only", {"prompt": "Who?"}),
    ("prompts_only", {"prompt": MESSAGES[:1]}),
    ("prompts_only", {"messages": MESSAGES[:1]}),
    ("prompts_only", {"question": "Who?", "answer": None}),
    ("prompts_only", {"question_id": 1, "category": "writing", "turns": ["Who?", "Why?"]}),
    ("no_usable_rows", {"context": "A mirror.", "question": "Who?", "answers": {"text": [], "answer_start": []}}),
    ("prompts_only", {"method": "POST", "body": {"model": "m", "messages": MESSAGES[:1]}}),
    ("stepwise", {"prompt": "Who?", "completions": ["I", "am."], "labels": [True, False]}),
    ("stepwise", {"prompt": "Who?", "steps": [{"text": "I", "rating": 1}, {"text": "am", "rating": -1}]}),
    ("media", {"messages": MESSAGES, "images": ["photos/1.jpg"]}),
    ("media", {"question": "Who?", "answer": "I.", "image": {"bytes": None, "path": "1.png"}}),
    ("media", {"text": "Hello.", "audio": {"path": "a.wav", "array": [0.1], "sampling_rate": 16000}}),
    ("media", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": "Who?"}]}, MESSAGES[1]]}),
    ("embeddings", {"text": "Who?", "embedding": [0.5] * 16}),
    ("embeddings", {"sentence1": "Who?", "sentence2": "Whom?", "score": 0.5}),
    ("embeddings", {"anchor": "Who?", "positive": "Whom?", "score": 0.5}),
    ("tokenized", {"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": [1, 2, 3]}),
    ("tokenized", {"input_ids": 1, "attention_mask": 1, "labels": 1}),
    ("no_usable_rows", {"prompt": [MESSAGES[0], {"type": "summary", "data": 1}], "completion": "I."}),
    ("no_usable_rows", {"question": [[MESSAGES[0]]], "ground_truth": ["f()"]}),
    ("single_turns", {"role": "user", "content": "Who?"}),
    ("single_turns", {"text": "Who?", "role": "prompter", "parent_id": "p", "message_tree_id": "t"}),
    ("unknown_format", {"a": 1, "b": [2, 3]}),
    ("unknown_format", {"when": "2024-05-06", "price": "1,50", "amount": "3"}),
    ("languages", {"translation": {"en": "Who?", "de": "Wer?", "fr": "Qui ?"}}),
    ("prompts_only", {"article": "A mirror.", "unanswerable_question": "Who?"}),
    ("prompts_only", {"instruction": "Who?", "instances": [{"input": "", "output": "I."}], "is_classification": False}),
    ("unclear_pair", {"question": "Who?", "response_a": "I.", "response_b": "You.", "label": 1}),
    ("unclear_pair", {"prompt": "Who?", "response_1": "I.", "response_2": "You.", "preference_strength": 2}),
    ("unknown_format", {"info": {"post": "Long."}, "summaries": [{"text": "Short."}, {"text": "Longer."}], "choice": 0, "worker": "a worker", "batch": "batch nine"}),
    ("unknown_format", {"id": 1, "data": {"question": "Who?"}, "annotations": [{"result": []}]}),
    ("unknown_format", {"id": "x", "fields": {"question": "Who?"}, "responses": {"answer": [{"value": "I."}]}}),
    ("unknown_format", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "row"), REFUSED, ids=[f"{c}-{n}" for n, (c, _) in enumerate(REFUSED)]
)
def test_unsupported_rows_are_refused_with_a_reason(code: str, row: dict[str, Any]) -> None:
    verdict = detect([row] * 3, list(row))
    assert (verdict.format, verdict.task, verdict.confidence) == (None, None, 0.0)
    (problem,) = verdict.problems
    assert problem.code == f"dataset.{code}"
    assert problem.severity == "error"
    assert str(problem.remedy)
    assert verdict.evidence == problem.what


def test_empty_dataset_is_refused() -> None:
    assert detect([]).problems[0].code == "dataset.no_rows"
    assert detect([None, 3, "x"]).problems[0].code == "dataset.no_rows"


UNUSABLE: list[tuple[str, Any, str]] = [
    ("alpaca", {"instruction": "Who?", "output": ""}, "the answer is empty"),
    ("alpaca", {"instruction": "Who?", "output": None}, "the row contains no answer"),
    ("alpaca", {"instruction": "Who?"}, "the row contains no answer"),
    ("alpaca", {"output": "I."}, "there is no question"),
    ("alpaca", {"instruction": " ", "input": "", "output": "I."}, "the question is empty"),
    ("alpaca", {"instruction": "Who?", "output": "\ud800"}, "the text contains an incomplete character (a lone surrogate)"),
    ("alpaca", {"instruction": "Who?", "output": "I.", "history": "x"}, "the history is not a list of pairs"),
    ("messages", {"messages": None}, "“messages” is missing"),
    ("messages", {"messages": "hello"}, "the row contains no list of messages"),
    ("messages", {"messages": [3]}, "a turn is not an object"),
    ("messages", {"messages": [{"content": "Who?"}]}, "a turn has no role"),
    ("messages", {"messages": [{"role": "user", "content": None}]}, "a turn has no content"),
    ("messages", {"messages": MESSAGES[:1]}, "the row contains no answer"),
    ("messages", {"messages": []}, "the row contains no answer"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "content": " "}]}, "the answer is empty"),
    ("messages", {"messages": [MESSAGES[0], {**MESSAGES[1], "train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]}]}, "the row excludes all of its answers from training"),
    ("messages", {"messages": [MESSAGES[0], {**MESSAGES[1], "train_detail": [{"begin_offset": "0", "train": False}]}]}, "the row masks parts of an answer in an unknown notation"),
    ("messages", {"messages": [MESSAGES[0], {**MESSAGES[1], "train_detail": [{"begin_offset": float("nan"), "end_offset": 1}]}]}, "the row masks parts of an answer in an unknown notation"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "content": "<think>No.</think>I.", "train_detail": [{"begin_offset": 14, "end_offset": 30, "train": True}]}]}, "the row masks parts of its reasoning, which is not supported"),
    ("text", {"text": [{"label": False, "text": "Who?"}, {"label": True, "text": " "}]}, "the row excludes all of its text from training"),
    ("messages", {"messages": [MESSAGES[0], {**MESSAGES[1], "weight": 0}]}, "the row excludes all of its answers from training"),
    ("messages", {"messages": [{"role": "narrator", "content": "Once"}, *MESSAGES]}, "a turn has the unknown role “narrator”"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "not JSON"}}]}]}, "the arguments of a tool call are not an object"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "a tool call has no name"),
    ("messages", {"messages": MESSAGES, "tools": "nonsense"}, "the tools are not a list of function descriptions"),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "image", "image": "x"}]}, MESSAGES[1]]}, "a turn contains an image, audio, or video"),
    ("messages", {"messages": MESSAGES, "images": ["a.png"]}, "the row contains an image, audio, or video"),
    ("text", {"text": " \n"}, "the text is empty"),
    ("text", {"text": None}, "there is no text"),
    ("preference", {"prompt": "Who?", "chosen": "I.", "rejected": ""}, "the answer in “rejected” is empty"),
    ("preference", {"prompt": "Who?", "chosen": "I.", "rejected": None}, "“rejected” is missing"),
    ("preference", {"prompt": "Who?", "chosen": MESSAGES[:1], "rejected": MESSAGES[:1]}, "“chosen” contains no answer"),
    ("preference", {"prompt": "Who?", "chosen": "I.", "rejected": "You.", "better": "tie (bothbad)"}, "no preferred response"),
    ("preference", {"prompt": "Who?", "chosen": "I.", "rejected": "You.", "better": "0.5 > 0.5"}, "no preferred response"),
    ("preference", {"prompt": "Who?", "chosen": "I.", "rejected": "You.", "better": "perhaps"}, "the row doesn't say which response is preferred"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "content": [{"type": "text", "text": "I."}, {"type": "chart", "data": 1}]}]}, "a turn contains something other than text"),
    ("messages", {"messages": [{"role": "user", "content": [{"text": "Who?"}]}, {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}}]}]}, "a turn has parts in the notation of Bedrock or Gemini, which isn't supported"),
    ("messages", {"messages": [{"role": "user", "parts": [{"text": "Who?"}]}, {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Rome"}}}]}]}, "a turn has parts in the notation of Bedrock or Gemini, which isn't supported"),
    ("messages", {"messages": [{"role": "user", "parts": [{"text": "Who?"}]}, {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "I."}]}]}, "a turn has parts in the notation of Bedrock or Gemini, which isn't supported"),
    ("messages", {"messages": MESSAGES, "tools": [{"functionDeclarations": [WEATHER]}]}, "the tools are not a list of function descriptions"),
    ("messages", {"messages": [MESSAGES[0], {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]}, MESSAGES[1]]}, "a turn contains something other than text"),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "document", "source": {"data": "JVBE"}}]}, MESSAGES[1]]}, "a turn contains something other than text"),
    ("messages", {"messages": [MESSAGES[0], {**MESSAGES[1], "finish_reason": "length"}]}, "the answer was cut off or filtered before its end"),
    ("prompt_completion", {"prompt": "Who?", "completion": {"role": "assistant", "content": [{"type": "text", "text": "I."}], "stop_reason": "max_tokens"}}, "the answer was cut off or filtered before its end"),
    ("prompt_completion", {"prompt": "Who?", "completion": {"choices": [{"message": MESSAGES[1], "finish_reason": "length"}]}}, "the answer was cut off or filtered before its end"),
    ("kto", {"prompt": "Who?", "completion": "I.", "label": "maybe"}, "the label is neither good nor bad"),
    ("kto", {"prompt": "Who?", "completion": "I.", "label": None}, "there is no label"),
    ("alpaca", ["not", "an", "object"], "the row is not an object"),
]  # fmt: skip
IDENTITY = {
    "alpaca": ("instruction", "input", "output", "history"),
    "messages": ("messages", "tools"),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
    "preference": ("prompt", "chosen", "rejected", "better"),
    "kto": ("prompt", "completion", "label"),
}


@pytest.mark.parametrize(
    ("row_format", "row", "reason"),
    UNUSABLE,
    ids=[f"{row_format}-{reason}" for row_format, _, reason in UNUSABLE],
)
def test_unusable_row_gives_its_reason(row_format: Any, row: Any, reason: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        convert(row, row_format, {slot: slot for slot in IDENTITY[row_format]})
    assert str(caught.value) == reason


# --- the verdict ------------------------------------------------------------------------------


def test_best_answer_column_is_chosen_and_others_are_reported() -> None:
    row = {"Type": "A", "Question": "Who?", "Best Answer": "I.", "Correct Answers": "I.; Me.",
           "Incorrect Answers": "You.; He.", "Source": "https://x.y"}  # fmt: skip
    verdict = detect([row] * 5, list(row))
    assert verdict.mapping == {"question": "Question", "answer": "Best Answer"}
    (note,) = verdict.problems
    assert note.severity == "warning"
    assert "“Correct Answers”" in str(note.what)
    assert "Incorrect" not in str(note.what)


def test_second_conversation_column_is_reported() -> None:
    other = [MESSAGES[0], {"role": "assistant", "content": "You."}]
    row = {"model": "a", "conversation_a": MESSAGES, "conversation_b": other}
    verdict = detect([row] * 3, list(row))
    assert verdict.mapping == {"messages": "conversation_a"}
    assert verdict.confidence < 0.8
    assert "“conversation_b”" in str(verdict.problems[0].what)


def test_only_a_column_named_prompt_is_mapped_as_prompt() -> None:
    row = {"chosen": MESSAGES, "rejected": [MESSAGES[0], {**MESSAGES[1], "content": "You."}]}
    for name, mapped in (("generation_prompt", False), ("prompt", True)):
        verdict = detect([{name: "Who?", **row}] * 3)
        assert ("prompt" in verdict.mapping) == mapped
        sample = convert({name: "Who?", **row}, "preference", verdict.mapping)
        assert sample == GOOD_BAD


def test_first_of_two_answers_counts_as_chosen_with_a_warning() -> None:
    rows = [{"instruction": "Who?", "output": ["I.", "You."]}] * 3
    (note,) = detect(rows, ["instruction", "output"]).problems
    assert (note.code, note.severity) == ("dataset.first_is_better", "warning")


def test_ignored_further_answers_are_reported() -> None:
    rows: list[Any] = [{"question": "Who?", "answers": ["I."]}] * 3
    rows += [{"question": "Who?", "answers": ["I.", "Me."]}]
    verdict = detect(rows, ["question", "answers"])
    assert verdict.format == "question_answer"
    (note,) = verdict.problems
    assert (note.code, note.severity) == ("dataset.several_answers", "warning")
    assert "1 row of 4" in str(note.what)


def test_answer_list_needs_two_answers_and_a_rating_each() -> None:
    rows = [{"instruction": "Who?", "output": ["I.", "You."]}] * 3
    mapping = detect(rows).mapping
    with pytest.raises(UnusableRow, match="two different answers"):
        convert({"instruction": "Who?", "output": ["I."]}, "preference", mapping)
    rated = {"chosen": "generations", "rejected": "generations", "better": "ratings"}
    row = {"generations": ["I.", "You."], "ratings": [1.0]}
    with pytest.raises(UnusableRow, match="number of ratings differs"):
        convert(row, "preference", rated)


@pytest.mark.parametrize(
    ("columns", "question"),
    [
        (("ticket", "Kunde schrieb", "Antwort Team", "Kanal"), "Kunde schrieb"),
        (("id", "msg_out", "msg_in", "agent"), "msg_in"),
        (("nr", "Customer wrote", "Agent reply", "date"), "Customer wrote"),
    ],
)
def test_mapping_is_guessed_beside_other_texts(columns: tuple[str, ...], question: str) -> None:
    rows = [
        {
            columns[0]: f"T-{n}",
            columns[1]: f"Where is parcel {n}?",
            columns[2]: f"Parcel {n} is on its way.",
            columns[3]: f"channel{n}",
        }
        for n in range(20)
    ]
    verdict = detect(rows, list(columns))
    answer = next(name for name in columns[1:3] if name != question)
    assert verdict.mapping == {"question": question, "answer": answer}
    assert "dataset.guessed_columns" in {problem.code for problem in verdict.problems}


@pytest.mark.parametrize(
    "row",
    [
        {"Customer name": "Anna Weber", "Customer wrote": "Where is {n}?", "Agent reply": "It is {n} km away."},
        {"Betreff": "Paket Nr. {n}", "Nachricht": "Wo ist Paket {n}?", "Antwort Team": "Es ist {n} km weit weg.",
         "Abteilung": "Versand Nord"},
        {"Full name": "Anna {n} Weber", "message": "Where is {n}?", "notes": "Asked {n} times.",
         "our answer": "It is {n} km away."},
    ],
)  # fmt: skip
def test_names_and_states_are_not_guessed_as_messages(row: dict[str, str]) -> None:
    rows = [{name: text.format(n=n) for name, text in row.items()} for n in range(30)]
    verdict = detect(rows, list(row))
    answer = next(name for name in row if "is {n} km" in row[name] or "ist {n} km" in row[name])
    question = next(name for name in row if row[name].endswith("?"))
    assert verdict.mapping == {"question": question, "answer": answer}
    assert "dataset.guessed_columns" in {problem.code for problem in verdict.problems}


def test_nothing_is_guessed_from_three_unknown_texts() -> None:
    rows = [{name: f"Some {name} text {n}" for name in ("one", "two", "three")} for n in range(30)]
    assert detect(rows, ["one", "two", "three"]).format is None


def test_mapping_guessed_by_position_has_low_confidence() -> None:
    verdict = detect([{"left": "Who?", "right": "I."}], ["left", "right"])
    assert verdict.mapping == {"question": "left", "answer": "right"}
    assert verdict.confidence < 0.5
    assert verdict.problems[0].code == "dataset.guessed_columns"


def test_unreadable_conversation_is_not_swapped_for_a_column() -> None:
    talk = [{"role": "narrator", "content": "Once."}, MESSAGES[1]]
    verdict = detect([{"messages": talk, "tools": "[]", "note": "A text."}] * 3)
    assert (verdict.format, verdict.mapping) == (None, {})
    assert "narrator" in str(verdict.problems[0].what)


def test_rows_of_another_task_lower_the_confidence() -> None:
    rows: list[Any] = [{"messages": MESSAGES}] * 80 + [{"text": "Once upon a time."}] * 20
    verdict = detect(rows, ["messages", "text"])
    assert verdict.format == "messages"
    assert verdict.confidence == pytest.approx(0.79, abs=0.01)
    assert "80 of 100 rows" in str(verdict.evidence)
    with pytest.raises(UnusableRow, match="“messages” is missing"):
        convert(rows[-1], "messages", verdict.mapping)


def test_rarely_filled_optional_column_is_mapped() -> None:
    rows = [{"instruction": "Who?", "output": "I."}] * 30
    rows += [{"instruction": "Add.", "input": "1 2", "output": "3"}]
    verdict = detect(rows, ["instruction", "output", "input"])
    assert verdict.mapping["input"] == "input"
    assert verdict.confidence > 0.95


@pytest.mark.parametrize(
    ("row", "slots"),
    [
        ({"instruction": "Who?", "input": "", "output": "I."}, {"input", "system", "history"}),
        ({"question": "Who?", "answer": "I."}, {"context", "system", "thinking"}),
        ({"instruction": "Who?", "chosen": "I.", "rejected": "You."}, {"input", "system"}),
        ({"messages": MESSAGES}, {"system", "tools"}),
    ],
    ids=["alpaca", "question-answer", "preference", "messages"],
)
def test_empty_optional_column_is_mapped(row: dict[str, Any], slots: set[str]) -> None:
    rows = [{**row, **dict.fromkeys(slots)}] * 3
    verdict = detect(rows, [*row, *slots])
    assert slots <= set(verdict.mapping)
    assert detect([row] * 3, [*row, *slots]).mapping == verdict.mapping


def test_few_broken_rows_do_not_change_the_format() -> None:
    rows: list[Any] = [{"conversations": CHAT}] * 95 + [{"conversations": "broken"}] * 3 + [None, 7]
    assert detect(rows, ["conversations"]).format == "sharegpt"


def test_unanswered_turns_are_reported() -> None:
    rows = [{"conversations": CHAT}] * 3 + [{"conversations": [*CHAT, CHAT[0]]}]
    (note,) = detect(rows, ["conversations"]).problems
    assert (note.code, note.severity) == ("dataset.unanswered_turns", "warning")
    assert "1 conversation of 4" in str(note.what)


def test_other_matching_formats_are_listed() -> None:
    row = {"prompt": "Who?", "chosen": "I.", "rejected": "You.", "messages": MESSAGES}
    assert "messages" in detect([row], list(row)).others


def test_rows_with_an_image_among_text_rows_are_skipped() -> None:
    rows: list[Any] = [{"messages": MESSAGES, "image": None}] * 9
    rows += [{"messages": MESSAGES, "image": "1.jpg"}]
    verdict = detect(rows, ["messages", "image"])
    assert verdict.format == "messages"
    with pytest.raises(UnusableRow, match="image"):
        convert(rows[-1], "messages", verdict.mapping)


def test_image_column_with_plain_words_is_not_media() -> None:
    row = {"question": "Which base?", "answer": "Debian", "image": "debian:13"}
    assert detect([row], list(row)).format == "question_answer"


# --- the user's word --------------------------------------------------------------------------


def detect_and_convert(
    row: dict[str, Any], chosen: Any = "auto", **mapping: str
) -> tuple[FormatVerdict, Sample]:
    verdict = detect([row], list(row), chosen, mapping)
    assert verdict.format is not None, verdict.problems
    return verdict, convert(row, verdict.format, verdict.mapping)


def test_format_follows_from_the_slots_of_a_mapping() -> None:
    row = {"a": "Who?", "b": "no", "c": "I."}
    verdict, sample = detect_and_convert(row, question="a", answer="c")
    assert (verdict.format, verdict.confidence) == ("question_answer", 1.0)
    assert sample == QA


def test_partial_mapping_keeps_the_other_detected_slots() -> None:
    row = {"Question": "Who?", "Best Answer": "I.", "Correct Answers": "I.; Me."}
    verdict, _ = detect_and_convert(row, answer="Correct Answers")
    assert verdict.mapping == {"question": "Question", "answer": "Correct Answers"}


def test_slot_can_be_left_empty() -> None:
    row = {"instruction": "Who?", "input": "noise", "output": "I."}
    assert detect_and_convert(row, input="")[1] == QA


@pytest.mark.parametrize(
    ("template", "row", "text"),
    [
        ("{a}\n{b}", {"a": "1", "b": "2"}, "1\n2"),
        (r"{a}\n{b}", {"a": "1", "b": "2"}, "1\n2"),
        ("{a}\n{b}", {"a": "{b}", "b": "{a}"}, "{b}\n{a}"),
        ("{a}\n{b}", {"a": "1", "b": None}, "1"),
        ("{a}\n{b}", {"a": "", "b": "2"}, "2"),
        ("{a}\n\n{b}\n\n{c}", {"a": "1", "b": "", "c": "3"}, "1\n\n3"),
        ("Q: {a}", {"a": "{{ x }} %s {% if %} \\n {a}"}, "Q: {{ x }} %s {% if %} \\n {a}"),
        ('{"q": "{a}"}', {"a": "1"}, '{"q": "1"}'),
        ("{{a}}", {"a": "1"}, "{1}"),
        ("{a b}!", {"a b": "1"}, "1!"),
        ("{a.b} and {a.c}", {"a": {"b": "1", "c": 2}}, "1 and 2"),
        ("a.b", {"a": {"b": "1"}}, "1"),
        ("{n}, {t}, {l}, {o}", {"n": 1.5, "t": True, "l": [1, "x"], "o": {"k": None}}, '1.5, true, [1, "x"], {"k": null}'),
        ("{a}", {"{a}": "the column", "a": "another"}, "the column"),
    ],
    ids=[
        "newline", "escaped-newline", "braces-in-values", "null-value", "empty-value",
        "empty-line-between", "jinja-in-value", "json-template", "double-braces",
        "space-in-name", "nested", "nested-without-braces", "numbers-and-objects",
        "braces-in-column-name",
    ],
)  # fmt: skip
def test_template_inserts_columns_without_expanding_their_values(
    template: str, row: dict[str, Any], text: str
) -> None:
    _, sample = detect_and_convert({**row, "reply": "I."}, question=template, answer="reply")
    assert sample.messages[0].content == text


@pytest.mark.parametrize(
    "wrong",
    ["nowhere", "{nowhere}", "{a}\n{nowhere}", "nowhere.b"],
    ids=["column", "template", "template-with-known", "nested"],
)
def test_unknown_column_is_reported_with_the_known_ones(wrong: str) -> None:
    verdict = detect([{"a": "1", "b": "2"}], ["a", "b"], "auto", {"question": wrong, "answer": "b"})
    assert verdict.format is None
    (problem,) = verdict.problems
    assert problem.code == "dataset.unknown_column"
    assert "nowhere" in str(problem.what)
    assert "a, b" in str(problem.remedy)


@pytest.mark.parametrize("chosen", ["text", "auto"])
def test_unknown_slot_is_reported(chosen: Any) -> None:
    verdict = detect([{"a": "1"}], ["a"], chosen, {"body": "a"})
    assert verdict.problems[0].code == "dataset.unknown_slot"
    assert ("text" in str(verdict.problems[0].remedy)) or chosen == "auto"


def test_chosen_format_without_a_required_column_is_refused() -> None:
    verdict = detect([{"a": "1", "b": "2", "c": "3"}], ["a", "b", "c"], "preference")
    assert verdict.format is None
    assert "“chosen” and “rejected”" in str(verdict.problems[0].what)


def test_chosen_format_overrides_the_detected_one() -> None:
    row = {"text": "Nice.", "label": "positive"}
    _, sample = detect_and_convert(row, "question_answer", question="text", answer="label")
    assert sample == sft(user("Nice."), answer("positive"))


def test_chosen_format_that_fits_no_row_gives_the_reason() -> None:
    verdict = detect([{"messages": "hello"}], ["messages"], "messages", {"messages": "messages"})
    assert verdict.format is None
    assert "the row contains no list of messages" in str(verdict.problems[0].what)


@pytest.mark.parametrize(
    ("answers", "labels"),
    [([0, 1, 2], "ABC"), ([1, 2, 3], "123"), (["A", "C", "b"], "ABC"), (["x", "z", "y"], "ABC")],
    ids=["from-0", "from-1", "letters", "texts"],
)
def test_choice_labels_follow_the_style_of_the_answers(answers: list[Any], labels: str) -> None:
    texts = {"opa": "x", "opb": "y", "opc": "z"}
    rows = [{"question": "Q", **texts, "answer": answer} for answer in answers]
    verdict = detect(rows, list(rows[0]))
    assert verdict.format == "question_answer"
    for row in rows:
        question, reply = convert(row, verdict.format, verdict.mapping).messages
        assert question.content == "Q\n" + "\n".join(
            f"{label}. {text}" for label, text in zip(labels, "xyz", strict=True)
        )
        position = answers.index(row["answer"])
        expected = {"A": 0, "b": 1, "C": 2, "x": 0, "y": 1, "z": 2}.get(row["answer"], position)
        assert reply.content == f"{labels[expected]}. {'xyz'[expected]}"


def test_ties_keep_compared_conversations_a_preference_dataset() -> None:
    other = [MESSAGES[0], {"role": "assistant", "content": "You."}]
    rows = [
        {"winner": winner, "conversation_a": MESSAGES, "conversation_b": other}
        for winner in ("model_a", "tie", "model_b", "tie (bothbad)")
    ]
    verdict = detect(rows, list(rows[0]))
    assert (verdict.format, verdict.confidence < 0.6) == ("preference", True)


def test_row_with_more_choices_than_letters_is_unusable() -> None:
    row = {"question": "Who?", "choices": ["I"] * 27, "answer": 3}
    with pytest.raises(UnusableRow, match="more than 26 choices"):
        convert(row, "question_answer")


# --- rows that say which parts of a text train ------------------------------------------------


def detail(begin: int, end: int, train: bool) -> dict[str, Any]:
    return {"begin_offset": begin, "end_offset": end, "train": train}


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (
            {"content": "Yes, no, yes.", "train_detail": [detail(0, 3, True), detail(4, 7, False), detail(8, 12, True)]},
            answer("Yes, no, yes.", untrained=((4, 8),)),
        ),
        # Text outside all entries isn't trained; neither is text that any entry excludes.
        (
            {"content": "Yes, no, yes.", "training_detail": [detail(0, 12, True), detail(9, 90, False)]},
            answer("Yes, no, yes.", untrained=((9, 13),)),
        ),
        ({"content": "Yes, no.", "train_detail": [detail(0, 2, True)]}, answer("Yes, no.", untrained=((3, 8),))),
        ({"content": "Yes.", "train_detail": [detail(0, 3, True)]}, answer("Yes.")),
        ({"content": "Yes.", "train_detail": []}, answer("Yes.")),
        (
            {"content": "<think>\nHm.\n</think>\n\nYes, no.", "train_detail": [detail(0, 25, True), detail(26, 40, False)]},
            answer("Yes, no.", thinking="Hm.", untrained=((4, 8),)),
        ),
        (
            {"content": [{"type": "text", "text": "Yes, "}, {"type": "text", "text": "no.", "train": False}, {"type": "text", "text": " Yes."}]},
            answer("Yes, no. Yes.", untrained=((5, 8),)),
        ),
        ({"content": [{"type": "text", "text": "No.", "weight": 0}, "Yes."]}, answer("No.Yes.", untrained=((0, 3),))),
    ],
    ids=[
        "excluded-span", "overlapping-spans", "uncovered-rest", "all-but-none",
        "empty-list", "with-thinking", "content-parts", "weight-0",
    ],
)  # fmt: skip
def test_untrained_spans_of_an_answer_are_read_from_the_turn(
    turn: dict[str, Any], expected: Message
) -> None:
    row = {"messages": [MESSAGES[0], {"role": "assistant", **turn}]}
    assert convert(row, "messages") == sft(user("Who?"), expected)


def test_training_marks_in_a_question_are_ignored() -> None:
    question = {"role": "user", "content": "Who?", "train_detail": [detail(0, 3, True)]}
    assert convert({"messages": [question, MESSAGES[1]]}, "messages") == QA


def test_answer_with_loss_scale_zero_is_not_trained() -> None:
    turns = [MESSAGES[0], {**MESSAGES[1], "loss_scale": 0.0}, *MESSAGES]
    expected = sft(user("Who?"), untrained_answer("I."), user("Who?"), answer("I."))
    assert convert({"messages": turns}, "messages") == expected


def test_labeled_segments_become_text_with_untrained_spans() -> None:
    pieces = [("<s>Who? ", False), ("I.</s>", True), ("", False), (" And? ", False), ("You.", True)]
    row = {"segments": [{"text": text, "label": label} for text, label in pieces]}
    verdict = detect([row])
    assert (verdict.format, verdict.task, verdict.mapping) == ("text", "text", {"text": "segments"})
    expected = Sample("text", text="<s>Who? I.</s> And? You.", untrained=((0, 8), (14, 20)))
    assert convert(row, "text", verdict.mapping) == expected


def test_classified_sentences_are_not_labeled_segments() -> None:
    verdict = detect(
        [{"sentences": [{"text": "Yes.", "label": True}, {"text": "No.", "label": False}]}]
    )
    assert verdict.format is None


def test_segments_without_labels_are_not_a_text() -> None:
    verdict = detect([{"segments": [{"start": 0.0, "text": "Who?"}, {"start": 1.5, "text": "I."}]}])
    assert verdict.format is None


def test_unknown_slot_is_reported_with_the_known_ones() -> None:
    verdict = detect([{"a": "1"}], ["a"], "text", {"body": "a"})
    assert verdict.problems[0].code == "dataset.unknown_slot"
    assert "text" in str(verdict.problems[0].remedy)


def test_slots_of_no_format_are_reported() -> None:
    verdict = detect([{"a": "1"}], ["a"], "auto", {"body": "a"})
    assert verdict.problems[0].code == "dataset.unknown_slot"
    assert "No format has all of “body”" in str(verdict.problems[0].what)
