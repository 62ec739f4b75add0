"""Write a Go TEMPLATE from the decision trees of a chat template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from lora_studio.core.templates.go.rendering import quote
from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    Layout,
    LoopPart,
    Part,
    PositionPart,
    ProbedFact,
    ProbedTrait,
    ProbeSample,
    Question,
    Role,
    SystemPart,
    TrimPart,
    Turn,
    ValuePart,
    merge_fixed_parts,
    refuse_date,
)
from lora_studio.core.templates.probing.prober import THINK_END

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


# Write the current date in a strftime format, from the server's `currentDate`.
#
# `currentDate` prints YYYY-MM-DD. Years, months and days are sliced from it; month names are looked
# up.

# Position of a directive in YYYY-MM-DD.
_SLICES = {"Y": (0, 4), "y": (2, 4), "m": (5, 7), "d": (8, 10)}
_MONTHS = {
    "B": "January February March April May June July August September October November December",
    "b": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
}
_MONTHS["h"] = _MONTHS["b"]


class DateWriter:
    """Writes dates, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, form: str) -> list[Item]:
        """Return the pieces that write today's date in a strftime format.

        Raises NotDerivableError for directives that YYYY-MM-DD does not contain, such as weekdays.
        """
        form = form.replace("%F", "%Y-%m-%d")
        if form == "%Y-%m-%d":
            return [ActionPiece("{{currentDate}}")]
        items: list[Item] = []
        for bare, directive in re.findall(r"([^%]+)|%(-?.)", form):
            if bare:
                items.append(FixedPart(bare))
            elif directive == "%":
                items.append(FixedPart("%"))
            elif directive in _SLICES:
                start, stop = _SLICES[directive]
                items.append(ActionPiece(f"{{{{slice currentDate {start} {stop}}}}}"))
            elif directive in _MONTHS:
                items.append(ActionPiece(self._month(directive)))
            elif directive in ("-d", "-m", "e"):
                items.append(ActionPiece(self._unpadded(directive)))
            else:
                raise refuse_date(form, directive)
        return items

    def _month(self, directive: str) -> str:
        name = {"B": "month"}.get(directive, "short month")
        cases = "{{else if ".join(
            f'eq . "{number:02d}"}}}}{word}'
            for number, word in enumerate(_MONTHS[directive].split(), 1)
        )
        self._defines[name] = f'{{{{define "{name}"}}}}{{{{if {cases}{{{{end}}}}{{{{end}}}}'
        return f'{{{{template "{name}" (slice currentDate 5 7)}}}}'

    def _unpadded(self, directive: str) -> str:
        start, stop = _SLICES["m" if directive == "-m" else "d"]
        pad = " " if directive == "e" else ""
        name = "number after a blank" if pad else "number"
        self._defines[name] = (
            f'{{{{define "{name}"}}}}{{{{if eq (slice . 0 1) "0"}}}}{pad}{{{{slice . 1}}}}'
            "{{else}}{{.}}{{end}}{{end}}"
        )
        return f'{{{{template "{name}" (slice currentDate {start} {stop})}}}}'


# Write Go definitions that strip white space or reasoning from a text.
#
# Go templates have no function that trims. A definition that calls itself drops one character at a
# time.

# White space of Python's str.strip, by the length of its UTF-8 form; Go templates see bytes.
_BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]
_BLANKS_BY_SIZE = {n: [c for c in _BLANKS if len(c.encode()) == n] for n in (1, 2, 3)}


class TrimWriter:
    """Writes trims, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, value: str, left: TrimPart, right: TrimPart) -> str:
        """Return code that prints `value` without white space at its ends."""
        if left is right is TrimPart.NONE:
            return f"{{{{{value}}}}}"
        sides = {"before": left, "after": right}
        names = [f"{trim} {side}" for side, trim in sides.items() if trim is not TrimPart.NONE]
        name = f"less {' and '.join(names)}"
        if name not in self._defines:
            if left is TrimPart.NONE:
                self._defines[name] = _define_trimmer(name, right, "{{.}}", at_end=True)
            else:
                then = self.write(".", TrimPart.NONE, right)
                self._defines[name] = _define_trimmer(name, left, then, at_end=False)
        return f'{{{{template "{name}" {value}}}}}'

    def write_after_thoughts(
        self, value: str, rest: tuple[TrimPart, TrimPart], whole: tuple[TrimPart, TrimPart]
    ) -> str:
        """Return code that prints what follows the last </think>, or all of `value` without one.

        `rest` are the trims of the rest, `whole` those of a text without </think>.
        """
        name = f"answer without thoughts, less {', '.join([*rest, *whole])}"
        if name not in self._defines:
            size = len(THINK_END)
            show = self.write("$rest", *rest)
            if flag := rest != whole:
                show = f"{{{{if $cut}}}}{show}{{{{else}}}}{self.write('.', *whole)}{{{{end}}}}"
            self._defines[name] = (
                f'{{{{define "{name}"}}}}{{{{$rest := .}}}}{"{{$cut := false}}" * flag}'
                "{{range $k := len .}}{{$s := slice $ $k}}"
                f'{{{{if and (ge (len $s) {size}) (eq (slice $s 0 {size}) "{THINK_END}")}}}}'
                f"{{{{$rest = slice $s {size}}}}}{'{{$cut = true}}' * flag}{{{{end}}}}{{{{end}}}}"
                f"{show}{{{{end}}}}"
            )
        return f'{{{{template "{name}" {value}}}}}'


def _define_trimmer(name: str, trim: TrimPart, then: str, *, at_end: bool) -> str:
    """Return a definition that drops characters at one end, then runs `then`."""
    tests = ""
    for size, blanks in _BLANKS_BY_SIZE.items():
        characters = trim.characters
        removed = [blank for blank in blanks if characters is None or blank in characters]
        if removed:
            # `and` stops at the first false operand, so no slice is ever out of range.
            is_long_enough = "." if size == 1 else f"(ge (len .) {size})"
            piece = f"slice . (len (slice . {size}))" if at_end else f"slice . 0 {size}"
            arguments = " ".join(quote(blank.encode()) for blank in removed)
            tests += f"{{{{if and {is_long_enough} (eq ({piece}) {arguments})}}}}{{{{$n = {size}}}}}{{{{end}}}}"
    rest = "slice . 0 (len (slice . $n))" if at_end else "slice . $n"
    return (
        f'{{{{define "{name}"}}}}{{{{$n := 0}}}}{tests}'
        f'{{{{if $n}}}}{{{{template "{name}" ({rest})}}}}{{{{else}}}}{then}{{{{end}}}}{{{{end}}}}'
    )


# Write JSON in a TEMPLATE as a chat template does.
#
# Go's JSON has no blanks, escapes <, > and &, and orders the fields of a tool as the server's structs
# do. Models were trained on the layout of Python's json.dumps and on the order in which clients send
# tools, so the output of `json` is walked character by character and rewritten.

# Structs have "required" before "properties", clients and training data after it. A
# parameter list with another first field is written unchanged.
_START = '{"type":"object","required":'
_FUNCTION = (
    "{{$p := json .Function.Parameters}}"
    f"{{{{if and (ge (len $p) {len(_START)}) (eq (slice $p 0 {len(_START)}) {quote(_START.encode())})}}}}"
    '{{$p = print "{\\"type\\":\\"object\\",\\"properties\\":" (json .Function.Parameters.Properties)}}'
    "{{if .Function.Parameters.Required}}"
    '{{$p = print $p ",\\"required\\":" (json .Function.Parameters.Required)}}{{end}}'
    '{{$p = print $p "}"}}{{end}}'
)
_DESCRIBED = (
    '{{$d := ""}}{{if .Function.Description}}'
    '{{$d = print ",\\"description\\":" (json .Function.Description)}}{{end}}'
    '{{$f := print "{\\"name\\":" (json .Function.Name) $d ",\\"parameters\\":" $p "}"}}'
)
_TOOL = '(print "{\\"type\\":" (json .Type) ",\\"function\\":" $f "}")'

# Characters that Go escapes and Python does not.
_ESCAPED = {"003c": "<", "003e": ">", "0026": "&", "2028": "\\u2028", "2029": "\\u2029"}


class JsonWriter:
    """Writes JSON, and adds the definitions that its code calls to `defines`."""

    def __init__(self, defines: dict[str, str]) -> None:
        """Store the definitions of the TEMPLATE, by name."""
        self._defines = defines

    def write(self, json: str, layout: Layout) -> str:
        """Return code that rewrites the JSON text of the expression `json` in a layout."""
        name = {"spaced": "json", "compact": "compact json"}.get(
            str(layout), f"json indented by {layout}"
        )
        self._defines.setdefault(name, _define_walker(name, layout))
        return f'{{{{template "{name}" ({json})}}}}'

    def plain(self, value: str, *, python_words: bool) -> str:
        """Return code that writes a value of any kind: text unchanged, everything else as JSON.

        With `python_words`, True, False and None are written as in Python.
        """
        name = "value, words as in Python" if python_words else "value"
        if name not in self._defines:
            rest = self.write("$j", "spaced")
            if python_words:
                words = {"true": "True", "false": "False", "null": "None"}
                tests = "{{else if ".join(f'eq $j "{j}"}}}}{p}' for j, p in words.items())
                rest = f"{{{{if {tests}{{{{else}}}}{rest}{{{{end}}}}"
            self._defines[name] = (
                f'{{{{define "{name}"}}}}{{{{$j := json .}}}}'
                f'{{{{if eq (slice $j 0 1) "\\""}}}}{{{{.}}}}{{{{else}}}}{rest}{{{{end}}}}{{{{end}}}}'
            )
        return f'{{{{template "{name}" {value}}}}}'

    def tool(self, what: str, layout: Layout) -> str:
        """Return code that writes a tool, a part of it, or the list of all tools."""
        match what:
            case "properties":
                return self.write("json .Function.Parameters.Properties", layout)
            case "parameters":
                return self._defined("parameters", _FUNCTION + self.write("$p", layout), layout)
            case "function":
                code = _FUNCTION + _DESCRIBED + self.write("$f", layout)
                return self._defined("function", code, layout)
            case "tool":
                code = _FUNCTION + _DESCRIBED + self.write(_TOOL[1:-1], layout)
                return self._defined("tool", code, layout)
        item = "$f" if what == "functions" else _TOOL
        code = (
            '{{$all := ""}}{{range .}}' + _FUNCTION + _DESCRIBED +
            f'{{{{if $all}}}}{{{{$all = print $all ","}}}}{{{{end}}}}{{{{$all = print $all {item}}}}}'
            "{{end}}" + self.write('print "[" $all "]"', layout)
        )  # fmt: skip
        return self._defined(what, code, layout, "$.Tools")

    def _defined(self, what: str, code: str, layout: Layout, dot: str = ".") -> str:
        name = what if layout == "spaced" else f"{what}, {layout}"
        self._defines.setdefault(name, f'{{{{define "{name}"}}}}{code}{{{{end}}}}')
        return f'{{{{template "{name}" {dot}}}}}'


def _define_walker(name: str, layout: Layout) -> str:
    """Return a definition that writes its JSON text in a layout.

    $q: inside a string; $skip: its length is the number of characters to omit.
    """
    escapes = "".join(
        f'{{{{else if eq $six "\\\\u{code}"}}}}{text if len(text) == 1 else f"{{{{{chr(34)}{text}{chr(34)}}}}}"}'
        '{{$skip = "12345"}}'
        for code, text in _ESCAPED.items()
    )
    return (
        f'{{{{define "{name}"}}}}{{{{$q := false}}}}{{{{$skip := ""}}}}{_start(layout)}'
        "{{range $k := len .}}{{$r := slice $ $k}}{{$c := slice $r 0 1}}"
        "{{if $skip}}{{$skip = slice $skip 1}}"
        '{{else if and $q (eq $c "\\\\")}}'
        '{{$six := ""}}{{if ge (len $r) 6}}{{$six = slice $r 0 6}}{{end}}'
        f'{{{{if not $six}}}}{{{{slice $r 0 2}}}}{{{{$skip = "1"}}}}{escapes}'
        '{{else}}{{slice $r 0 2}}{{$skip = "1"}}{{end}}'
        '{{else if eq $c "\\""}}{{$c}}{{$q = not $q}}'
        f"{{{{else if $q}}}}{{{{$c}}}}{_write_between(layout)}{{{{else}}}}{{{{$c}}}}{{{{end}}}}"
        "{{end}}{{end}}"
    )


def _start(layout: Layout) -> str:
    return '{{$pad := "\\n"}}' if isinstance(layout, int) else ""


def _write_between(layout: Layout) -> str:
    """Return what to write for characters outside strings, as further branches."""
    if layout == "compact":
        return ""
    if layout == "spaced":
        return '{{else if or (eq $c ",") (eq $c ":")}}{{$c}} '
    step = " " * int(layout)
    empty = 'or (eq (slice $r 0 2) "{}") (eq (slice $r 0 2) "[]")'
    return (
        '{{else if eq $c ":"}}{{$c}} '
        '{{else if eq $c ","}}{{$c}}{{$pad}}'
        '{{else if or (eq $c "{") (eq $c "[")}}'
        f'{{{{if {empty}}}}}{{{{slice $r 0 2}}}}{{{{$skip = "1"}}}}'
        f'{{{{else}}}}{{{{$pad = print $pad "{step}"}}}}{{{{$c}}}}{{{{$pad}}}}{{{{end}}}}'
        '{{else if or (eq $c "}") (eq $c "]")}}'
        f"{{{{$pad = slice $pad 0 (len (slice $pad {int(layout)}))}}}}{{{{$pad}}}}{{{{$c}}}}"
    )


@dataclass(frozen=True, slots=True)
class ActionPiece:
    """One or several actions."""

    code: str


@dataclass(frozen=True, slots=True)
class IfPiece:
    """A condition with two branches."""

    condition: str
    yes: tuple[Item, ...]
    no: tuple[Item, ...]


Item = FixedPart | ActionPiece | IfPiece


# Text that a TEMPLATE must escape: delimiters, Modelfile quotes, a brace that would touch
# a delimiter, and what the server's Modelfile reader drops (everything it deems unprintable).
_UNSAFE = re.compile(r'\{\{+|\}\}+|"""+|\{\Z|\A\}')


def quote_literal(text: str) -> str:
    """Return TEMPLATE source that prints exactly `text`, in a triple-quoted Modelfile too."""
    pieces: list[str] = []
    unsafe = ""
    marked = {i for match in _UNSAFE.finditer(text) for i in range(*match.span())}
    for index, character in enumerate(text):
        if index in marked or not (character.isprintable() or character in "\n\t"):
            # Another brace would turn {{ into {{{.
            brace = pieces.pop() if not unsafe and pieces[-1:] == ["{"] else ""
            unsafe += brace + character
            continue
        if unsafe:
            pieces.append(f"{{{{{quote(unsafe.encode())}}}}}")
            unsafe = ""
        pieces.append(character)
    if unsafe:
        pieces.append(f"{{{{{quote(unsafe.encode())}}}}}")
    return "".join(pieces)


def factor_branches(condition: str, yes: Sequence[Item], no: Sequence[Item]) -> tuple[Item, ...]:
    """Return a branch with the common start and end of both sides moved outside."""
    before, yes, no = _split_common_prefix(yes, no)
    after, yes, no = _split_common_prefix(_mirror(yes), _mirror(no), mirrored=True)
    choice: tuple[Item, ...] = ()
    if yes or no:
        choice = (IfPiece(condition, _mirror(yes), _mirror(no)),)
    return (*before, *choice, *_mirror(after))


def _mirror(items: Sequence[Item]) -> tuple[Item, ...]:
    return tuple(
        FixedPart(i.text[::-1]) if isinstance(i, FixedPart) else i for i in reversed(items)
    )


def _split_common_prefix(
    one: Sequence[Item], two: Sequence[Item], *, mirrored: bool = False
) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
    """Return the common start, and the rest of each; text is split only after a mark or line end."""
    common: list[Item] = []
    first, second = [*merge_fixed_parts(one)], [*merge_fixed_parts(two)]
    while first and second:
        if first[0] == second[0]:
            common.append(first.pop(0))
            second.pop(0)
            continue
        head, other = first[0], second[0]
        if isinstance(head, FixedPart) and isinstance(other, FixedPart):
            size = _measure_common_prefix(head.text, other.text, mirrored=mirrored)
            if size:
                common.append(FixedPart(head.text[:size]))
                first[0], second[0] = FixedPart(head.text[size:]), FixedPart(other.text[size:])
                first, second = [*merge_fixed_parts(first)], [*merge_fixed_parts(second)]
        break
    return tuple(common), tuple(first), tuple(second)


def _measure_common_prefix(one: str, two: str, *, mirrored: bool) -> int:
    """Return the length of the common start at which both can be split without cutting a word."""
    differ = (length for length, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    for size in range(next(differ, min(len(one), len(two))), 0, -1):
        if size in (len(one), len(two)):
            return size
        # Mirrored text is read backwards: its next character is the previous one.
        edges = one[size] + two[size] if mirrored else one[size - 1]
        if all(edge in "\n>]" for edge in edges):
            return size
    return 0


# The markers by which a server finds reasoning and calls in a model's output.
#
# The server looks for them in the TEMPLATE. The markers of reasoning are the texts directly around
# the last `.Thinking` in the loop over the messages; without them it refuses to switch thinking on or
# off, and shows reasoning as part of the answer. The marker of calls is the first text after the
# first `{{if .ToolCalls}}`, up to a brace.

#: For templates that remove reasoning from earlier answers, or that open it in the prompt.
USUAL = ("<think>", "</think>")
MARK = re.compile(r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<[^<>\s]{1,40}>|\[/?[A-Z_]{2,20}\]")


def find_thinking_marks(samples: Sequence[ProbeSample]) -> tuple[str, str] | None:
    """Return what the model writes before and after its reasoning; None if it writes none."""
    tails = [sample for sample in samples if sample.role == "tail"]
    prompts = _list_prompt_ends(samples)
    closed = [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK in tail.facts]
    answers = [sample.turn for sample in samples if sample.role == "assistant"]
    marks = Counter(pair for turn in answers for pair in _iter_marks_around(turn, prompts))
    marks = marks or Counter(
        pair for prompt in closed for pair in _iter_skipped_marks(prompt, prompts)
    )
    if marks:
        return marks.most_common(1)[0][0]
    cuts = any(
        isinstance(part, FieldPart) and part.after_think is not None
        for turn in answers
        for part in turn
    )
    opens_in_prompt = any(prompt.rstrip().endswith(USUAL[0]) for prompt in prompts)
    return USUAL if cuts or opens_in_prompt else None


def find_call_mark(samples: Sequence[ProbeSample]) -> str | None:
    """Return what the model writes before its first call, including the brace of JSON; None without
    calls.
    """
    prompts, thoughts = _list_prompt_ends(samples), find_thinking_marks(samples)
    marks = Counter[str]()
    for sample in samples:
        for index, part in enumerate(sample.turn):
            if isinstance(part, LoopPart) and part.over == "calls":
                unit = part.unit[0] if isinstance(part.unit, tuple) and part.unit else None
                opens = unit.text if isinstance(unit, FixedPart) else ""
                before, brace, _ = (read_fixed_end(sample.turn[:index]) + opens).partition("{")
                remainder = _cut_longest_prefix(before, prompts)
                mark = _from_last_mark(before) if remainder is None else remainder
                mark = mark.rpartition(thoughts[1])[2].strip() if thoughts else mark
                marks[mark + brace] += 1
    mark = marks.most_common(1)[0][0] if marks else ""
    return mark if mark and quote_literal(mark + " ") == mark + " " else None


def _list_prompt_ends(samples: Sequence[ProbeSample]) -> list[str]:
    """Return the ends of prompts, unless thinking is switched off."""
    tails = [sample for sample in samples if sample.role == "tail"]
    return [read_fixed_end(tail.turn) for tail in tails if ProbedFact.NO_THINK not in tail.facts]


def read_fixed_end(turn: Turn) -> str:
    """Return the fixed text at the end of a turn."""
    return turn[-1].text if turn and isinstance(turn[-1], FixedPart) else ""


def _iter_marks_around(turn: Turn, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the markers around reasoning that an answer follows."""
    for index, part in enumerate(turn):
        if not (isinstance(part, FieldPart) and part.name == "Thinking"):
            continue
        before, rest = read_fixed_end(turn[:index]), turn[index + 1 :]
        between = rest[0].text if rest and isinstance(rest[0], FixedPart) else ""
        answers = any(isinstance(p, FieldPart) and p.name == "Content" for p in rest[1:2])
        begins = _cut_prompt(before, prompts)
        ends = between.strip() if answers else next(iter(MARK.findall(between)), "")
        yield from _iter_readable(begins, ends)


def _iter_skipped_marks(closed: str, prompts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the markers of the empty reasoning in prompts with thinking switched off."""
    plain = max((p for p in prompts if closed.startswith(p)), key=len, default=closed)
    marks = [*MARK.finditer(closed, len(plain))]
    if marks:
        yield from _iter_readable(closed[len(plain) : marks[-1].start()].strip(), marks[-1].group())


def _iter_readable(begins: str, ends: str) -> Iterator[tuple[str, str]]:
    """Yield the markers if both exist and a TEMPLATE can contain them unescaped."""
    if begins and ends and quote_literal(begins + ends) == begins + ends:
        yield begins, ends


def _cut_prompt(before: str, prompts: Sequence[str]) -> str:
    """Return the start marker without the part that the prompt already contains.

    Otherwise return what the prompt ends with after it; if that is empty or unknown, the text from
    the last mark on.
    """
    if remainder := _cut_longest_prefix(before, prompts):
        return remainder
    prompt_ends = {p[len(before) :].strip() for p in prompts if p.startswith(before)} - {""}
    if len(prompt_ends) == 1 and "\n" not in (only := prompt_ends.pop()):
        return only
    return _from_last_mark(before)


def _cut_longest_prefix(before: str, prompts: Sequence[str]) -> str | None:
    """Return the part of a text after the longest prompt that it starts with; None if there is
    none.
    """
    written = max((p for p in prompts if p and before.startswith(p)), key=len, default=None)
    return None if written is None else before[len(written) :].strip()


def _from_last_mark(before: str) -> str:
    marks = [*MARK.finditer(before)]
    last = before[marks[-1].start() :].strip() if marks else ""
    return "" if "\n" in last else last
