"""Write a Go TEMPLATE from the decision trees of a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    LoopPart,
    Part,
    PositionPart,
    ProbedFact,
    ProbedTrait,
    Question,
    Role,
    SystemPart,
    ValuePart,
    merge_fixed_parts,
)
from lora_studio.core.templates.writing.conditions import (
    CALLS,
    CONDITIONS,
    ITEM_TYPES,
    TYPES,
    VALUES,
)
from lora_studio.core.templates.writing.date_writer import DateWriter
from lora_studio.core.templates.writing.json_writer import JsonWriter
from lora_studio.core.templates.writing.pieces import (
    ActionPiece,
    IfPiece,
    Item,
    factor_branches,
    quote_literal,
)
from lora_studio.core.templates.writing.trim_writer import TrimWriter

SYSTEM_REFUSED = "the chat template doesn't support system messages"


@dataclass(frozen=True)
class CallForms:
    """The decision trees of a chat template, one per kind of message; None for an absent one.

    If there is a tree for `system` (system messages between others), the system text is only that
    of the first message; otherwise it is everything that the server collected. `refuses_system` is
    the fact for which the original raises instead of rendering; `frozen` is the date to write
    instead of the current one. `thoughts` are the markers around the reasoning of an answer, `call`
    is the one before its first call.
    """

    user: Form
    assistant: Form
    tail: Form
    tool: Form | None = None
    system: Form | None = None
    refuses_system: ProbedFact | None = None
    frozen: date | None = None
    thoughts: tuple[str, str] | None = None
    call: str | None = None


def emit_template(forms: CallForms) -> str:
    """Return the TEMPLATE; raises NotDerivableError for a date that Go cannot write."""
    return _Emitter(forms).template()


class _Emitter:
    """Collects the definitions and variables that the code of the messages needs."""

    def __init__(self, forms: CallForms) -> None:
        self.forms = forms
        self.defines: dict[str, str] = {}
        self.facts: set[tuple[Role, Question]] = set()
        self.counted: set[str] = set()
        self.json = JsonWriter(self.defines)
        self.dates = DateWriter(self.defines)
        self.trims = TrimWriter(self.defines)
        self.system = "$.System" if forms.system is None else "$system"

    def template(self) -> str:
        """Return the whole TEMPLATE."""
        forms: tuple[tuple[Role, Form | None], ...] = (
            ("user", self.forms.user),
            ("assistant", self.forms.assistant),
            ("tool", self.forms.tool),
            ("system", self.forms.system),
            ("tail", self.forms.tail),
        )
        bodies: dict[Role, str] = {
            role: self.code(self.items(role, form)) if form else "" for role, form in forms
        }
        tail = bodies.pop("tail")
        self.add_state(bodies)
        self.add_counts(bodies)
        loop = self.loop_over_messages(bodies)
        return (
            "".join(self.defines.values()) + self.call_mark_code() + self.preamble() + loop + tail
        )

    def add_state(self, bodies: dict[Role, str]) -> None:
        """Append the assignments that later messages depend on to each role's code."""
        bodies["user"] += "{{$first = false}}" * self.needs_first
        if self.asks(ProbedFact.CALLS):
            bodies["assistant"] = f"{{{{{CALLS} := .ToolCalls}}}}{bodies['assistant']}"
        bodies["assistant"] += "{{$unanswered = false}}" * self.needs_unanswered
        if self.asks(ProbedFact.AFTER_TOOL):
            # A system message writes nothing, at any position.
            bodies["user"] += "{{$after_tool = false}}"
            bodies["assistant"] += "{{$after_tool = false}}"
            bodies["tool"] += "{{$after_tool = true}}"
        if self.asks(ProbedFact.CALLED):
            bodies["assistant"] += "{{if .ToolCalls}}{{$called = true}}{{end}}"
        if self.asks(ProbedFact.RETURNED):
            bodies["tool"] += "{{$returned = true}}"
        if self.asks(ProbedFact.LEADS):
            bodies["user"] += "{{$leads = false}}"
            bodies["assistant"] += "{{$leads = false}}"
            bodies["tool"] += "{{$leads = false}}" * bool(bodies["tool"])
        if self.asks(ProbedFact.ANSWERED):
            bodies["user"] += "{{$answered = false}}"
            bodies["tool"] += "{{$answered = false}}" * bool(bodies["tool"])
            bodies["system"] += "{{$answered = false}}" * (self.forms.system is not None)
            bodies["assistant"] += "{{$answered = true}}"

    def add_counts(self, bodies: dict[Role, str]) -> None:
        """Append code that counts messages to each role's code."""
        bodies["user"] += self.one_more("user", "turn")
        bodies["assistant"] += self.one_more("turn")
        bodies["tool"] += self.one_more("tool", "row", "turn") * bool(bodies["tool"])
        if "row" in self.counted:
            bodies["user"] += "{{$rows = 0}}"
            bodies["assistant"] += "{{$rows = 0}}"

    def loop_over_messages(self, bodies: dict[Role, str]) -> str:
        """Return the loop that runs the code of each message's role."""
        system = bodies["system"] and f"{{{{if $i}}}}{bodies['system']}{{{{end}}}}"
        by_index = (ProbedFact.LAST, ProbedFact.LATEST, ProbedFact.FINAL)
        needs_index = any(isinstance(fact, PositionPart) for _, fact in self.facts)
        needs_index = needs_index or "message" in self.counted or any(map(self.asks, by_index))
        index = "$i, $_ := " * (bool(system) or needs_index)
        body, marks = f'{{{{if eq .Role "user"}}}}{bodies["user"]}', ""
        others = ("assistant", bodies["assistant"]), ("tool", bodies["tool"]), ("system", system)
        for role, code in others:
            if code:
                body += f'{{{{else if eq .Role "{role}"}}}}{code}'
        if self.forms.thoughts:
            # Never runs: the server reads the markers from the text around the last .Thinking.
            begins, ends = self.forms.thoughts
            marks = f"{{{{if false}}}}{begins}{{{{.Thinking}}}}{ends}{{{{end}}}}"
        return f"{{{{range {index}.Messages}}}}{body}{{{{end}}}}{marks}{{{{end}}}}"

    def call_mark_code(self) -> str:
        """Return code that never runs: the server reads the marker from the first text after
        .ToolCalls.
        """
        if not self.forms.call:
            return ""
        return f"{{{{if false}}}}{{{{if .ToolCalls}}}}{self.forms.call} {{{{end}}}}{{{{end}}}}"

    def one_more(self, *counted: str) -> str:
        """Return code that counts a message. Go templates can't add, so this measures a text that
        grows by one blank.
        """
        counters = [of for of in counted if of in self.counted]
        return "".join(f"{{{{${of}s = {_add_one(f'${of}s')}}}}}" for of in counters)

    def asks(self, fact: Question) -> bool:
        """Return whether anything depends on a fact."""
        return any(tested is fact for _, tested in self.facts)

    @property
    def needs_first(self) -> bool:
        return ("user", ProbedFact.FIRST) in self.facts or self.asks(ProbedFact.BEFORE_USERS)

    @property
    def needs_unanswered(self) -> bool:
        return bool(self.facts & {("assistant", ProbedFact.FIRST), ("tail", ProbedFact.FIRST)})

    def preamble(self) -> str:
        text = ""
        refuses = self.forms.refuses_system
        if self.forms.system is not None:
            text += (
                "{{$system := .System}}{{$has_system := false}}{{range $i, $_ := .Messages}}"
                '{{if eq .Role "system"}}{{if not $i}}{{$has_system = true}}{{$system = .Content}}'
                '{{else if not $has_system}}{{$system = ""}}{{end}}{{end}}{{end}}'
            )
        elif refuses is ProbedFact.MESSAGE or self.asks(ProbedFact.MESSAGE):
            text += (
                "{{$has_system := false}}{{range .Messages}}"
                '{{if eq .Role "system"}}{{$has_system = true}}{{end}}{{end}}'
            )
        if refuses:
            # Calling an undefined template is the only way for a TEMPLATE to raise an error with a message.
            condition = self.condition("user", refuses)
            text += f'{{{{if {condition}}}}}{{{{template "{SYSTEM_REFUSED}" .}}}}{{{{end}}}}'
        if self.asks(ProbedFact.LATEST):
            text += (
                "{{$latest := -1}}{{range $i, $_ := .Messages}}"
                '{{if eq .Role "user"}}{{$latest = $i}}{{end}}{{end}}'
            )
        for of in sorted(self.counted - {"message", "call"}):
            text += f"{{{{${of}s := 0}}}}"
        text += "{{$after_tool := false}}" * self.asks(ProbedFact.AFTER_TOOL)
        text += "{{$called := false}}" * self.asks(ProbedFact.CALLED)
        text += "{{$returned := false}}" * self.asks(ProbedFact.RETURNED)
        text += "{{$leads := true}}" * self.asks(ProbedFact.LEADS)
        text += "{{$answered := false}}" * self.asks(ProbedFact.ANSWERED)
        text += "{{$first := true}}" * self.needs_first
        return text + "{{$unanswered := true}}" * self.needs_unanswered

    def condition(self, role: Role, fact: Question) -> str:
        match fact:
            case PositionPart("before", count):
                return f"ge {'(len $.Messages)' if role == 'tail' else '$i'} {count}"
            case PositionPart("after", count):
                return f"gt (len (slice $.Messages $i)) {count}"
            case ProbedFact.SYSTEM:
                return self.system
            case ProbedFact.FIRST:
                return "$first" if role == "user" else "$unanswered"
            case ProbedFact.LAST:
                return f"eq (len (slice $.Messages $i)) {1 if role == 'user' else 2}"
        assert isinstance(fact, ProbedFact | ProbedTrait)
        return CONDITIONS[fact]

    def items(self, role: Role, form: Form) -> tuple[Item, ...]:
        if isinstance(form, tuple):
            return tuple(item for part in form for item in self.part(part))
        self.facts.add((role, form.fact))
        yes, no = self.items(role, form.yes), self.items(role, form.no)
        return factor_branches(self.condition(role, form.fact), yes, no)

    def part(self, part: Part) -> list[Item]:
        match part:
            case FixedPart():
                return [part]
            case SystemPart(json=True):
                return [ActionPiece(self.json.write(f"json {self.system}", "spaced"))]
            case SystemPart(left, right):
                return [ActionPiece(self.trims.write(self.system, left, right))]
            case DatePart(form):
                if self.forms.frozen:
                    return [FixedPart(self.forms.frozen.strftime(form))]
                return self.dates.write(form)
            case FieldPart():
                return [ActionPiece(self.field(part))]
            case CountPart(of, start):
                self.counted.add(of)
                code = {"message": "$i", "call": "$n"}.get(of, f"${of}s")
                return [ActionPiece(f"{{{{{_add_one(code) if start else code}}}}}")]
            case ValuePart():
                return [ActionPiece(self.value(part))]
            case LoopPart():
                return [self.loop(part)]

    def field(self, field: FieldPart) -> str:
        value = f".{field.name}"
        if field.json:
            return self.json.write(f"json {value}", "spaced")
        if field.after_think is None:
            return self.trims.write(value, field.left, field.right)
        return self.trims.write_after_thoughts(value, field.after_think, (field.left, field.right))

    def value(self, value: ValuePart) -> str:
        if value.name in VALUES:
            code = VALUES[value.name]
            if value.layout is not None:
                return self.json.write(f"json {code}", value.layout)
            return (
                self.json.plain(code, python_words=value.python_words)
                if code == "$value"
                else f"{{{{{code}}}}}"
            )
        return self.json.tool(value.name, value.layout or "spaced")

    def loop(self, loop: LoopPart) -> Item:
        separator = quote_literal(loop.separator)
        match loop.over:
            case "arguments":
                return ActionPiece(self.arguments(loop, separator))
            case "tools":
                unit = self.items("offer", loop.unit)
                head = "{{range $n, $tool := $.Tools}}"
                separator = separator and f"{{{{if $n}}}}{separator}{{{{end}}}}"
                return ActionPiece(f"{head}{separator}{self.code(unit)}{{{{end}}}}")
            case "parameters":
                return ActionPiece(self.parameters(loop, separator))
            case "choices" | "required":
                unit = self.items("parameter", loop.unit)
                over = ".Enum" if loop.over == "choices" else ".Function.Parameters.Required"
                separator = separator and f"{{{{if $c}}}}{separator}{{{{end}}}}"
                return ActionPiece(
                    f"{{{{range $c, $_ := {over}}}}}{separator}{self.code(unit)}{{{{end}}}}"
                )
        return self.calls(loop, separator)

    def arguments(self, loop: LoopPart, separator: str) -> str:
        unit = self.items("assistant", loop.unit)
        head = "{{range $key, $value := .Function.Arguments}}"
        if loop.other:
            other = self.items("assistant", loop.other)
            unit = factor_branches('eq (slice (json $value) 0 1) "\\""', unit, other)
        return _write_separated_loop(head, separator, self.code(unit))

    def parameters(self, loop: LoopPart, separator: str) -> str:
        """Return the loop over the parameters of the current tool, with the conditions on each."""
        code = self.code(self.items("parameter", loop.unit))
        tested = {fact for role, fact in self.facts if role == "parameter"}
        head = "{{range $name, $_ := .Function.Parameters.Properties}}"
        if tested.intersection(TYPES) or "{{$type}}" in code:
            head += "{{$type := print .Type}}"
        if tested.intersection(ITEM_TYPES):
            head += '{{$items := ""}}{{if .Items}}{{$items = print (index .Items "type")}}{{end}}'
        if ProbedTrait.REQUIRED in tested:
            head += (
                "{{$needed := false}}{{range $tool.Function.Parameters.Required}}"
                "{{if eq . $name}}{{$needed = true}}{{end}}{{end}}"
            )
        return _write_separated_loop(head, separator, code)

    def calls(self, loop: LoopPart, separator: str) -> Item:
        unit = self.items("assistant", loop.unit)
        opening = f"{{{{if $n}}}}{separator}{{{{end}}}}" * bool(separator)
        numbered = "call" in self.counted or loop.first_only
        variables = "$n, $_ := " * (bool(separator) or numbered)
        code = self.code(unit) + self.one_more("made")
        if loop.first_only:
            code = f"{{{{if not $n}}}}{code}{{{{end}}}}"
        return ActionPiece(f"{{{{range {variables}.ToolCalls}}}}{opening}{code}{{{{end}}}}")

    # ------------------------------------------------------------------------------- output

    def code(self, items: Sequence[Item]) -> str:
        return "".join(self.item(item) for item in merge_fixed_parts(items))

    def item(self, item: Item) -> str:
        match item:
            case FixedPart(text):
                return quote_literal(text)
            case ActionPiece(code):
                return code
            case IfPiece(condition, yes, no):
                if not yes:
                    negated = condition if " " not in condition else f"({condition})"
                    return f"{{{{if not {negated}}}}}{self.code(no)}{{{{end}}}}"
                text = f"{{{{if {condition}}}}}{self.code(yes)}"
                if len(no) == 1 and isinstance(no[0], IfPiece) and no[0].yes:
                    return f"{text}{{{{else {self.item(no[0])[2:]}"
                return f"{text}{f'{{{{else}}}}{self.code(no)}' if no else ''}{{{{end}}}}"


def _add_one(number: str) -> str:
    return f'len (printf "%*s " {number} "")'


def _write_separated_loop(head: str, separator: str, code: str) -> str:
    """Return a loop over a map, whose keys don't show which item is the first."""
    if not separator:
        return f"{head}{code}{{{{end}}}}"
    between = f"{{{{if $more}}}}{separator}{{{{end}}}}{{{{$more = true}}}}"
    return f"{{{{$more := false}}}}{head}{between}{code}{{{{end}}}}"
