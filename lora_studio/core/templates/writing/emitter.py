"""Writes a Go TEMPLATE from the decision trees that template_probe found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from lora_studio.core.templates.go.functions import quote
from lora_studio.core.templates.probing.decision_trees import (
    CountPart,
    DatePart,
    FieldPart,
    FixedPart,
    Form,
    LoopPart,
    NotDerivableError,
    Part,
    PositionPart,
    ProbedFact,
    ProbedTrait,
    Question,
    Role,
    SystemPart,
    TrimPart,
    ValuePart,
    joined,
)
from lora_studio.core.templates.probing.prober import THINK_END
from lora_studio.core.templates.writing.json_writer import JsonWriter
from lora_studio.core.templates.writing.pieces import ActionPiece, IfPiece, Item, either, literal

SYSTEM_REFUSED = "the chat template takes no system message"


@dataclass(frozen=True)
class CallForms:
    """All that a chat template does: one tree per kind of place, None for one that it lacks.

    With a tree for `system`, which is for system messages between others, the system text is that of
    the first message alone; else it is all that the server collected.

    `refuses_system` is the fact at which the original raises instead of rendering; `frozen` is
    the date to write in place of the current one. `thoughts` are the marks before and behind the
    thoughts of an answer, `call` is that before its first call.
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


# White space in Python's str.strip, by the length of its UTF-8 form; Go templates see bytes.
_BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]
_BLANKS_BY_SIZE = {n: [c for c in _BLANKS if len(c.encode()) == n] for n in (1, 2, 3)}

# strftime directives that can be cut out of currentDate, which prints YYYY-MM-DD.
_SLICES = {"Y": (0, 4), "y": (2, 4), "m": (5, 7), "d": (8, 10)}
_MONTHS = {
    "B": "January February March April May June July August September October November December",
    "b": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
}
_MONTHS["h"] = _MONTHS["b"]
_WEEKDAYS = {
    "A": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "a": "Mon Tue Wed Thu Fri Sat Sun",
    "w": "1 2 3 4 5 6 0",
    "u": "1 2 3 4 5 6 7",
}
#: Years in which a TEMPLATE tells weekdays.
_YEARS = range(2024, 2100)

_CALLS = "$calls"
_CONDITIONS: dict[ProbedFact | ProbedTrait, str] = {
    ProbedFact.MESSAGE: "$told",
    ProbedFact.TOOLS: "$.Tools",
    ProbedFact.CALLS: _CALLS,
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
_TYPES = (
    ProbedTrait.STRING,
    ProbedTrait.INTEGER,
    ProbedTrait.NUMBER,
    ProbedTrait.BOOLEAN,
    ProbedTrait.ARRAY,
    ProbedTrait.OBJECT,
)
_ITEM_TYPES = (
    ProbedTrait.OF_STRING,
    ProbedTrait.OF_INTEGER,
    ProbedTrait.OF_NUMBER,
    ProbedTrait.OF_BOOLEAN,
)
_CONDITIONS |= {trait: f'eq $type "{trait.name.lower()}"' for trait in _TYPES}
_CONDITIONS |= {trait: f'eq $items "{trait.name.lower()[3:]}"' for trait in _ITEM_TYPES}
_VALUES = {
    "name": ".Function.Name", "description": ".Function.Description", "called": ".Function.Name",
    "arguments": ".Function.Arguments", "id": ".ID", "key": "$key", "value": "$value",
    "parameter": "$name", "about": ".Description", "type": "$type", "items": ".Items",
    "enum": ".Enum", "property": ".", "choice": ".", "needed": ".",
    "required": ".Function.Parameters.Required",
}  # fmt: skip


def emit(forms: CallForms) -> str:
    """The TEMPLATE text; raises NotDerivableError for a date that Go cannot write."""
    return _Emitter(forms).template()


class _Emitter:
    """Collects the definitions and variables that the body turns out to need."""

    def __init__(self, forms: CallForms) -> None:
        self.forms = forms
        self.defines: dict[str, str] = {}
        self.facts: set[tuple[Role, Question]] = set()
        self.counted: set[str] = set()
        self.json = JsonWriter(self.defines)
        self.system = "$.System" if forms.system is None else "$system"

    def template(self) -> str:
        user = self.code(self.items("user", self.forms.user))
        assistant = self.code(self.items("assistant", self.forms.assistant))
        tool = self.code(self.items("tool", self.forms.tool)) if self.forms.tool else ""
        system = self.code(self.items("system", self.forms.system)) if self.forms.system else ""
        tail = self.code(self.items("tail", self.forms.tail))
        user += "{{$first = false}}" * self.needs_first
        if self.asks(ProbedFact.CALLS):
            assistant = f"{{{{{_CALLS} := .ToolCalls}}}}{assistant}"
        assistant += "{{$unanswered = false}}" * self.needs_unanswered
        if self.asks(ProbedFact.AFTER_TOOL):
            # A system message writes nothing, wherever it stands.
            user += "{{$after_tool = false}}"
            assistant += "{{$after_tool = false}}"
            tool += "{{$after_tool = true}}"
        if self.asks(ProbedFact.CALLED):
            assistant += "{{if .ToolCalls}}{{$called = true}}{{end}}"
        if self.asks(ProbedFact.RETURNED):
            tool += "{{$returned = true}}"
        if self.asks(ProbedFact.LEADS):
            user += "{{$leads = false}}"
            assistant += "{{$leads = false}}"
            tool += "{{$leads = false}}" * bool(tool)
        if self.asks(ProbedFact.ANSWERED):
            user += "{{$answered = false}}"
            tool += "{{$answered = false}}" * bool(tool)
            system += "{{$answered = false}}" * (self.forms.system is not None)
            assistant += "{{$answered = true}}"
        user += self.one_more("user", "turn")
        assistant += self.one_more("turn")
        tool += self.one_more("tool", "row", "turn") * bool(tool)
        if "row" in self.counted:
            user += "{{$rows = 0}}"
            assistant += "{{$rows = 0}}"
        system = system and f"{{{{if $i}}}}{system}{{{{end}}}}"
        counted = (ProbedFact.LAST, ProbedFact.LATEST, ProbedFact.FINAL)
        placed = any(isinstance(asked, PositionPart) for _, asked in self.facts)
        placed = placed or "message" in self.counted or any(map(self.asks, counted))
        place = "$i, $_ := " * (bool(system) or placed)
        body, marks = f'{{{{if eq .Role "user"}}}}{user}', ""
        for role, text in (("assistant", assistant), ("tool", tool), ("system", system)):
            if text:
                body += f'{{{{else if eq .Role "{role}"}}}}{text}'
        if self.forms.thoughts:
            # Writes nothing: the server takes what stands around the last .Thinking for the marks.
            begins, ends = self.forms.thoughts
            marks = f"{{{{if false}}}}{begins}{{{{.Thinking}}}}{ends}{{{{end}}}}"
        loop = f"{{{{range {place}.Messages}}}}{body}{{{{end}}}}{marks}{{{{end}}}}"
        call = ""
        if self.forms.call:
            # Writes nothing: the server takes the first text behind .ToolCalls for the mark of calls.
            call = f"{{{{if false}}}}{{{{if .ToolCalls}}}}{self.forms.call} {{{{end}}}}{{{{end}}}}"
        return "".join(self.defines.values()) + call + self.preamble() + loop + tail

    def one_more(self, *counted: str) -> str:
        """Code that counts a message; Go cannot add, but a text one blank longer has a length."""
        wanted = [of for of in counted if of in self.counted]
        return "".join(f"{{{{${of}s = {_plus_one(f'${of}s')}}}}}" for of in wanted)

    def asks(self, fact: Question) -> bool:
        """Whether anything depends on a fact."""
        return any(asked is fact for _, asked in self.facts)

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
                "{{$system := .System}}{{$told := false}}{{range $i, $_ := .Messages}}"
                '{{if eq .Role "system"}}{{if not $i}}{{$told = true}}{{$system = .Content}}'
                '{{else if not $told}}{{$system = ""}}{{end}}{{end}}{{end}}'
            )
        elif refuses is ProbedFact.MESSAGE or self.asks(ProbedFact.MESSAGE):
            text += (
                "{{$told := false}}{{range .Messages}}"
                '{{if eq .Role "system"}}{{$told = true}}{{end}}{{end}}'
            )
        if refuses:
            # An undefined template is the only error a TEMPLATE can raise in words of its own.
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
        return _CONDITIONS[fact]

    def items(self, role: Role, form: Form) -> tuple[Item, ...]:
        if isinstance(form, tuple):
            return tuple(item for part in form for item in self.part(part))
        self.facts.add((role, form.fact))
        yes, no = self.items(role, form.yes), self.items(role, form.no)
        return either(self.condition(role, form.fact), yes, no)

    def part(self, part: Part) -> list[Item]:
        match part:
            case FixedPart():
                return [part]
            case SystemPart(json=True):
                return [ActionPiece(self.json.write(f"json {self.system}", "spaced"))]
            case SystemPart(left, right):
                return [ActionPiece(self.trimmed(self.system, left, right))]
            case DatePart(form):
                if self.forms.frozen:
                    return [FixedPart(self.forms.frozen.strftime(form))]
                return self.date(form)
            case FieldPart():
                return [ActionPiece(self.field(part))]
            case CountPart(of, start):
                self.counted.add(of)
                code = {"message": "$i", "call": "$n"}.get(of, f"${of}s")
                return [ActionPiece(f"{{{{{_plus_one(code) if start else code}}}}}")]
            case ValuePart():
                return [ActionPiece(self.value(part))]
            case LoopPart():
                return [self.loop(part)]

    def field(self, field: FieldPart) -> str:
        value = f".{field.name}"
        if field.json:
            return self.json.write(f"json {value}", "spaced")
        if field.after_think is None:
            return self.trimmed(value, field.left, field.right)
        return self.after_think(value, field.after_think, (field.left, field.right))

    def value(self, value: ValuePart) -> str:
        if value.name in _VALUES:
            code = _VALUES[value.name]
            if value.layout is not None:
                return self.json.write(f"json {code}", value.layout)
            return (
                self.json.plain(code, python=value.python)
                if code == "$value"
                else f"{{{{{code}}}}}"
            )
        return self.json.tool(value.name, value.layout or "spaced")

    def loop(self, loop: LoopPart) -> Item:
        separator = literal(loop.separator)
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
            unit = either('eq (slice (json $value) 0 1) "\\""', unit, other)
        return _separated(head, separator, self.code(unit))

    def parameters(self, loop: LoopPart, separator: str) -> str:
        """The loop over the parameters of the tool at hand, with what is asked about each."""
        code = self.code(self.items("parameter", loop.unit))
        asked = {fact for role, fact in self.facts if role == "parameter"}
        head = "{{range $name, $_ := .Function.Parameters.Properties}}"
        if asked.intersection(_TYPES) or "{{$type}}" in code:
            head += "{{$type := print .Type}}"
        if asked.intersection(_ITEM_TYPES):
            head += '{{$items := ""}}{{if .Items}}{{$items = print (index .Items "type")}}{{end}}'
        if ProbedTrait.REQUIRED in asked:
            head += (
                "{{$needed := false}}{{range $tool.Function.Parameters.Required}}"
                "{{if eq . $name}}{{$needed = true}}{{end}}{{end}}"
            )
        return _separated(head, separator, code)

    def calls(self, loop: LoopPart, separator: str) -> Item:
        unit = self.items("assistant", loop.unit)
        opening = f"{{{{if $n}}}}{separator}{{{{end}}}}" * bool(separator)
        numbered = "call" in self.counted or loop.first_only
        place = "$n, $_ := " * (bool(separator) or numbered)
        code = self.code(unit) + self.one_more("made")
        if loop.first_only:
            code = f"{{{{if not $n}}}}{code}{{{{end}}}}"
        return ActionPiece(f"{{{{range {place}.ToolCalls}}}}{opening}{code}{{{{end}}}}")

    # ------------------------------------------------------------------------- definitions

    def trimmed(self, value: str, left: TrimPart, right: TrimPart) -> str:
        """Code that prints `value` less white space: a template that calls itself per character."""
        if left is right is TrimPart.NONE:
            return f"{{{{{value}}}}}"
        sides = {"before": left, "after": right}
        kept = [f"{trim} {side}" for side, trim in sides.items() if trim is not TrimPart.NONE]
        name = f"less {' and '.join(kept)}"
        if name not in self.defines:
            if left is TrimPart.NONE:
                self.defines[name] = _trimmer(name, right, "{{.}}", at_end=True)
            else:
                then = self.trimmed(".", TrimPart.NONE, right)
                self.defines[name] = _trimmer(name, left, then, at_end=False)
        return f'{{{{template "{name}" {value}}}}}'

    def after_think(
        self, value: str, rest: tuple[TrimPart, TrimPart], whole: tuple[TrimPart, TrimPart]
    ) -> str:
        """Code that prints what follows the last </think>, or all when there is none."""
        name = f"answer without thoughts, less {', '.join([*rest, *whole])}"
        if name not in self.defines:
            size = len(THINK_END)
            show = self.trimmed("$rest", *rest)
            if flag := rest != whole:
                show = f"{{{{if $cut}}}}{show}{{{{else}}}}{self.trimmed('.', *whole)}{{{{end}}}}"
            self.defines[name] = (
                f'{{{{define "{name}"}}}}{{{{$rest := .}}}}{"{{$cut := false}}" * flag}'
                "{{range $k := len .}}{{$s := slice $ $k}}"
                f'{{{{if and (ge (len $s) {size}) (eq (slice $s 0 {size}) "{THINK_END}")}}}}'
                f"{{{{$rest = slice $s {size}}}}}{'{{$cut = true}}' * flag}{{{{end}}}}{{{{end}}}}"
                f"{show}{{{{end}}}}"
            )
        return f'{{{{template "{name}" {value}}}}}'

    def date(self, form: str) -> list[Item]:
        items: list[Item] = []
        for bare, directive in re.findall(r"([^%]+)|%(-?.)", form.replace("%F", "%Y-%m-%d")):
            if bare:
                items.append(FixedPart(bare))
            elif directive == "%":
                items.append(FixedPart("%"))
            elif directive in _SLICES:
                start, stop = _SLICES[directive]
                items.append(ActionPiece(f"{{{{slice currentDate {start} {stop}}}}}"))
            elif directive in _MONTHS:
                items.append(ActionPiece(self.month(directive)))
            elif directive in _WEEKDAYS:
                items.append(ActionPiece(self.weekday(directive)))
            elif directive in ("-d", "-m", "e"):
                items.append(ActionPiece(self.unpadded(directive)))
            else:
                raise NotDerivableError(
                    f"it writes the date with strftime_now({form!r}); a TEMPLATE knows the date "
                    f"as YYYY-MM-DD only, so %{directive} can be written with a frozen date only"
                )
        joined = "{{slice currentDate 0 4}}-{{slice currentDate 5 7}}-{{slice currentDate 8 10}}"
        return [ActionPiece("{{currentDate}}")] if self.code(tuple(items)) == joined else items

    def month(self, directive: str) -> str:
        name = {"B": "month"}.get(directive, "short month")
        cases = "{{else if ".join(
            f'eq . "{number:02d}"}}}}{word}'
            for number, word in enumerate(_MONTHS[directive].split(), 1)
        )
        self.defines[name] = f'{{{{define "{name}"}}}}{{{{if {cases}{{{{end}}}}{{{{end}}}}'
        return f'{{{{template "{name}" (slice currentDate 5 7)}}}}'

    def weekday(self, directive: str) -> str:
        """Code that names the day of the week: that of 1 January and the days since, modulo 7.

        Go cannot add: a text as long as the number grows.
        """
        name = f"weekday {directive}"
        short = [f"{year % 100:02d}" for year in _YEARS]
        first = {text: date(year, 1, 1).weekday() for text, year in zip(short, _YEARS, strict=True)}
        leap = [text for text, year in zip(short, _YEARS, strict=True) if year % 4 == 0]
        months = {f"{m:02d}": (date(2025, m, 1) - date(2025, 1, 1)).days for m in range(1, 13)}
        days = {f"{day:02d}": day - 1 for day in range(1, 32)}
        names = "".join(
            f"{{{{else if eq (len $w) {n}}}}}{word}" if n else f"{{{{if not $w}}}}{word}"
            for n, word in enumerate(_WEEKDAYS[directive].split())
        )
        self.defines[name] = (
            f'{{{{define "{name}"}}}}{{{{$w := ""}}}}{_longer("slice . 2 4", first)}'
            f'{{{{if and (ge (slice . 5 7) "03") (eq (slice . 2 4) {_quoted(leap)})}}}}'
            '{{$w = print $w " "}}{{end}}'
            f"{_longer('slice . 5 7', months)}{_longer('slice . 8 10', days)}"
            "{{if ge (len $w) 14}}{{$w = slice $w 14}}{{else if ge (len $w) 7}}{{$w = slice $w 7}}"
            f"{{{{end}}}}{names}{{{{end}}}}{{{{end}}}}"
        )
        return f'{{{{template "{name}" currentDate}}}}'

    def unpadded(self, directive: str) -> str:
        start, stop = _SLICES["m" if directive == "-m" else "d"]
        pad = " " if directive == "e" else ""
        name = "number after a blank" if pad else "number"
        self.defines[name] = (
            f'{{{{define "{name}"}}}}{{{{if eq (slice . 0 1) "0"}}}}{pad}{{{{slice . 1}}}}'
            "{{else}}{{.}}{{end}}{{end}}"
        )
        return f'{{{{template "{name}" (slice currentDate {start} {stop})}}}}'

    # ------------------------------------------------------------------------------- output

    def code(self, items: Sequence[Item]) -> str:
        return "".join(self.item(item) for item in joined(items))

    def item(self, item: Item) -> str:
        match item:
            case FixedPart(text):
                return literal(text)
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


def _longer(value: str, days: Mapping[str, int]) -> str:
    """Code that makes $w longer by the number of days, modulo 7, that belongs to a value."""
    cases = []
    for more in range(1, 7):
        if known := [text for text, number in days.items() if number % 7 == more]:
            cases.append(
                f"if eq ({value}) {_quoted(known)}}}}}{{{{$w = print $w {quote(b' ' * more)}}}}}"
            )
    return f"{{{{{'{{else '.join(cases)}{{{{end}}}}"


def _quoted(texts: Sequence[str]) -> str:
    return " ".join(quote(text.encode()) for text in texts)


def _plus_one(number: str) -> str:
    return f'len (printf "%*s " {number} "")'


def _separated(head: str, separator: str, code: str) -> str:
    """A loop over a map, whose keys do not tell which item is the first."""
    if not separator:
        return f"{head}{code}{{{{end}}}}"
    between = f"{{{{if $more}}}}{separator}{{{{end}}}}{{{{$more = true}}}}"
    return f"{{{{$more := false}}}}{head}{between}{code}{{{{end}}}}"


def _trimmer(name: str, trim: TrimPart, then: str, *, at_end: bool) -> str:
    """A definition that drops one character after another at one end, then goes on with `then`."""
    tests = ""
    for size, blanks in _BLANKS_BY_SIZE.items():
        taken = trim.characters
        wanted = [blank for blank in blanks if taken is None or blank in taken]
        if wanted:
            # `and` stops at the first false operand, so no slice is ever out of range.
            enough = "." if size == 1 else f"(ge (len .) {size})"
            piece = f"slice . (len (slice . {size}))" if at_end else f"slice . 0 {size}"
            listed = " ".join(quote(blank.encode()) for blank in wanted)
            tests += (
                f"{{{{if and {enough} (eq ({piece}) {listed})}}}}{{{{$n = {size}}}}}{{{{end}}}}"
            )
    rest = "slice . 0 (len (slice . $n))" if at_end else "slice . $n"
    return (
        f'{{{{define "{name}"}}}}{{{{$n := 0}}}}{tests}'
        f'{{{{if $n}}}}{{{{template "{name}" ({rest})}}}}{{{{else}}}}{then}{{{{end}}}}{{{{end}}}}'
    )
