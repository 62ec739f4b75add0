"""The dataset step: which rows, how they become conversations, which tokens train."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.spec import Spec, setting

RowFormat = Literal["alpaca", "sharegpt", "messages"]
Role = Literal["system", "user", "assistant"]


class Message(BaseModel):
    """One turn of a conversation; the single currency of data: every row becomes these first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str
    trained: bool = False


class DatasetSpec(Spec):
    """Which rows are trained on and how they are rendered."""

    file: str = setting(
        "",
        "Dataset",
        "A JSON or JSONL file with alpaca, sharegpt or messages rows.",
        path="file",
    )
    format: Literal["auto", "alpaca", "sharegpt", "messages"] = setting(
        "auto",
        "Format",
        "Shape of the rows. Automatic looks at the columns.",
        choices={
            "auto": "Automatic",
            "alpaca": "Alpaca (instruction, input, output)",
            "sharegpt": "ShareGPT (conversations: from, value)",
            "messages": "Messages (role, content)",
        },
    )
    chat_template: Literal["model", "chatml"] = setting(
        "model",
        "Chat template",
        "How turns are written as text. A base model without a template of its own gets ChatML, "
        "and the merged and exported models carry it.",
        choices={"model": "The model's own", "chatml": "ChatML"},
        advanced=True,
    )
    system_prompt: str = setting(
        "",
        "System prompt",
        "Put before every conversation that has no system message of its own. Empty: none.",
        advanced=True,
    )
    train_on: Literal["answers", "everything"] = setting(
        "answers",
        "Train on",
        "Which tokens count in the loss: the assistant's answers with their end-of-turn token, or "
        "the whole conversation.",
        choices={"answers": "Answers only", "everything": "Everything"},
    )
    max_length: int = setting(
        2048,
        "Longest row",
        "Rows are cut after this many tokens. Memory grows with it.",
        unit="tokens",
        ge=16,
        le=1_048_576,
    )
    too_long: Literal["cut", "skip"] = setting(
        "cut",
        "Longer rows",
        "What happens to a row with more tokens than that.",
        choices={"cut": "Cut the end", "skip": "Leave the row out"},
        advanced=True,
    )
    validation_share: float = setting(
        0.05,
        "Validation share",
        "Share of rows kept out of training to measure the loss on. 0 switches evaluation off.",
        ge=0.0,
        le=0.5,
        step=0.01,
    )
