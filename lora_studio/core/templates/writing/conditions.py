"""Names of a chat template's facts and values in a TEMPLATE."""

from __future__ import annotations

from lora_studio.core.templates.probing.decision_trees import ProbedFact, ProbedTrait

CALLS = "$calls"
CONDITIONS: dict[ProbedFact | ProbedTrait, str] = {
    ProbedFact.MESSAGE: "$has_system",
    ProbedFact.TOOLS: "$.Tools",
    ProbedFact.CALLS: CALLS,
    ProbedFact.CONTENT: ".Content",
    ProbedFact.THOUGHT: ".Thinking",
    ProbedFact.AFTER_TOOL: "$after_tool",
    ProbedFact.CALLED: "$called",
    ProbedFact.RETURNED: "$returned",
    ProbedFact.FINAL: "eq (len (slice $.Messages $i)) 1",
    ProbedFact.LATEST: "ge $i $latest",
    ProbedFact.LEADS: "$leads",
    ProbedFact.BEFORE_USERS: "$first",
    ProbedFact.ANSWERED: "$answered",
    ProbedFact.NO_THINK: "and $.IsThinkSet (not $.Think)",
    ProbedTrait.ENUM: ".Enum",
    ProbedTrait.ITEMS: ".Items",
    ProbedTrait.ABOUT: ".Description",
    ProbedTrait.REQUIRED: "$needed",
    ProbedTrait.PARAMETERS: ".Function.Parameters.Properties",
    ProbedTrait.SOME_REQUIRED: ".Function.Parameters.Required",
    ProbedTrait.DESCRIBED: ".Function.Description",
}
TYPES = (
    ProbedTrait.STRING,
    ProbedTrait.INTEGER,
    ProbedTrait.NUMBER,
    ProbedTrait.BOOLEAN,
    ProbedTrait.ARRAY,
    ProbedTrait.OBJECT,
)
ITEM_TYPES = (
    ProbedTrait.OF_STRING,
    ProbedTrait.OF_INTEGER,
    ProbedTrait.OF_NUMBER,
    ProbedTrait.OF_BOOLEAN,
)
CONDITIONS |= {trait: f'eq $type "{trait.name.lower()}"' for trait in TYPES}
CONDITIONS |= {trait: f'eq $items "{trait.name.lower()[3:]}"' for trait in ITEM_TYPES}
VALUES = {
    "name": ".Function.Name", "description": ".Function.Description", "called": ".Function.Name",
    "arguments": ".Function.Arguments", "id": ".ID", "key": "$key", "value": "$value",
    "parameter": "$name", "about": ".Description", "type": "$type", "items": ".Items",
    "enum": ".Enum", "property": ".", "choice": ".", "needed": ".",
    "required": ".Function.Parameters.Required",
}  # fmt: skip
