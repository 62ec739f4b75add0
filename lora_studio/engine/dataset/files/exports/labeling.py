"""Read what people annotated with Label Studio and Prodigy: labels and written answers of texts.

A reader returns the row that one annotated text becomes, or why it has none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from lora_studio.core.messages import text
from lora_studio.engine.dataset.reasons import SkipReason

REJECTED = SkipReason(text("it was rejected by the annotator"))
IGNORED = SkipReason(text("it was skipped by the annotator"))
_UNANNOTATED = SkipReason(text("it isn't annotated"))
_SEVERAL = SkipReason(text("it has several labels"))
_DISAGREED = SkipReason(text("its annotators disagree"))
_OTHER_KIND = SkipReason(text("its annotation is neither one label nor a written answer"))

#: Columns of Label Studio that are not about the text.
_ABOUT = frozenset(
    (
        "id",
        "annotator",
        "annotation_id",
        "created_at",
        "updated_at",
        "lead_time",
        "agreement",
        "annotators",
    )
)
#: Characters of the longest label; anything longer was written.
_LONGEST_LABEL = 60

Result = dict[str, Any] | SkipReason


def read_label_studio(task: dict[str, Any]) -> Result:
    """Return the row of a task with its annotations: of several labels, the most frequent."""
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return _UNANNOTATED
    valid = [one for one in annotations if isinstance(one, dict)]
    used = [one for one in valid if one.get("was_cancelled") is not True]
    if valid and not used:
        return IGNORED
    results = [_read_results(one.get("result")) for one in used]
    written = [answer for answers, _, _ in results for answer in answers]
    if written:
        return _build_row(data, "answer", written[0])
    labels = [label for _, labels, _ in results for label in [labels] if label]
    if not labels:
        return _OTHER_KIND if any(others for _, _, others in results) else _UNANNOTATED
    if any(len(label) > 1 for label in labels):
        return _SEVERAL
    (most, count), *rest = Counter(label[0] for label in labels).most_common()
    if rest and rest[0][1] == count:
        return _DISAGREED
    return _build_row(data, "label", most)


def _read_results(results: Any) -> tuple[list[str], list[str], int]:
    """Return the written answers and the labels of an annotation, and how many other results it has."""
    answers: list[str] = []
    labels: list[str] = []
    others = 0
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        texts = value.get("text") if isinstance(value, dict) else None
        is_span = isinstance(value, dict) and ("start" in value or "end" in value)
        if isinstance(choices, list) and not is_span:
            labels += [choice for choice in choices if isinstance(choice, str)]
        elif result_type(result) == "textarea" and isinstance(texts, list | str):
            texts = [texts] if isinstance(texts, str) else texts
            answers += [one for one in texts if isinstance(one, str) and one.strip()]
        else:
            others += 1
    return answers, labels, others


def result_type(result: Any) -> str:
    """Return the kind of a result, such as `choices`."""
    kind = result.get("type") if isinstance(result, dict) else None
    return kind if isinstance(kind, str) else ""


def read_label_studio_min(task: dict[str, Any]) -> Result:
    """Return the row of a task in the layout JSON-MIN: its results are between ID and annotator."""
    names = list(task)
    start = names.index("id") + 1 if "id" in names else 0
    end = names.index("annotator") if "annotator" in names else len(names)
    results = {name: task[name] for name in names[start:end] if name not in _ABOUT}
    data = {name: task[name] for name in names if name not in _ABOUT and name not in results}
    values = [value for value in results.values() if value not in (None, "", [], {})]
    if not values or not data:
        return (
            {name: value for name, value in task.items() if name not in _ABOUT}
            if not data
            else _UNANNOTATED
        )
    found: list[str] = []
    for value in values:
        value = value.get("choices", value) if isinstance(value, dict) else value
        found += value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in found):
        return _OTHER_KIND
    if len(found) > 1:
        return _SEVERAL
    is_label = len(found[0]) <= _LONGEST_LABEL and "\n" not in found[0]
    return _build_row(data, "label" if is_label else "answer", found[0])


def _build_row(data: dict[str, Any], name: str, value: str) -> Result:
    """Return a row: a lone text is called what it is, several columns keep their names."""
    texts = [key for key, item in data.items() if isinstance(item, str) and item.strip()]
    if len(texts) == 1:
        rest = {
            key: item
            for key, item in data.items()
            if key != texts[0] and key not in ("text", "question")
        }
        return {"text" if name == "label" else "question": data[texts[0]], name: value} | {
            key: item for key, item in rest.items() if key != name
        }
    return {**data, name: value}


def read_doccano(task: dict[str, Any]) -> Result:
    """Return a row whose list of labels has one item with that label; any other is unchanged."""
    labels = task.get("label")
    if isinstance(labels, list) and len(labels) == 1 and isinstance(labels[0], str):
        return {**task, "label": labels[0]}
    return task


def read_prodigy(task: dict[str, Any]) -> Result:
    """Return the row of a task of Prodigy: its label, its chosen option, or what was written."""
    verdict = task.get("answer")
    if verdict == "reject":
        return REJECTED
    if verdict == "ignore":
        return IGNORED
    content = task.get("text", task.get("html"))
    if not isinstance(content, str):
        return _OTHER_KIND
    options = task.get("options")
    if isinstance(options, list):
        accepted = task.get("accept")
        chosen = accepted if isinstance(accepted, list) else []
        if not chosen:
            return _UNANNOTATED
        return (
            _SEVERAL
            if len(chosen) > 1
            else {"text": content, "label": _get_option(options, chosen[0])}
        )
    written = task.get("user_input", task.get(str(task.get("field_id", ""))))
    if isinstance(written, str) and written.strip():
        return {"question": content, "answer": written}
    label = task.get("label")
    if isinstance(label, str) and label:
        return {"text": content, "label": label}
    return _OTHER_KIND


def _get_option(options: list[Any], chosen: Any) -> str:
    """Return the label of an option: its ID, or its text where the ID is a number."""
    option = next((one for one in options if isinstance(one, dict) and one.get("id") == chosen), {})
    shown = option.get("text")
    return str(shown) if not isinstance(chosen, str) and isinstance(shown, str) else str(chosen)
