"""The Go template renderer compared with the real Go engine."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError, Struct, render
from tests.helpers.models.real_go import Job, RealGo

TODAY = date(2024, 5, 6)
DATA: dict[str, object] = {
    "System": "Be brief — très bref.",
    "Empty": "",
    "Zero": 0,
    "Five": 5,
    "Half": 0.5,
    "Tiny": 1.5e-7,
    "Small": 0.00005,
    "Huge": 1e21,
    "Large": 123456789.0,
    "Yes": True,
    "No": False,
    "Nothing": None,
    "Text": " \u00a0 Größe 😀\n",
    "Markup": '<b>"a" & \\ \u2028</b>\t\x01',
    "List": ["a", 2, 3.5, None, True, ["x"]],
    "None": [],
    "Map": {"b": 1, "a": "x", "ä": [1, 2]},
    "Messages": [
        {"Role": "system", "Content": "Be brief."},
        {"Role": "user", "Content": " Hi "},
        {"Role": "assistant", "Content": "Hello\n"},
        {"Role": "user", "Content": "Größe?"},
    ],
}

SPECIMENS = """
plain text
{{.System}}|{{ .System }}|{{- .System -}} x
a {{- " b " -}} c   {{- /* gone */ -}}   d {{/* stays */}} e
{{if .System}}yes{{else}}no{{end}}{{if .Empty}}yes{{else if .Zero}}zero{{else if .Yes}}third{{else}}no{{end}}
{{if .Nothing}}a{{else}}b{{end}}{{if .Missing}}a{{else}}b{{end}}{{if .None}}a{{else}}b{{end}}{{if .Map}}a{{end}}
{{if not .Half}}a{{else}}b{{end}}{{if .Messages}}m{{end}}
{{with .System}}[{{.}}]{{else}}none{{end}}{{with .Empty}}[{{.}}]{{else}}none{{end}}{{with $x := .Five}}{{$x}}{{end}}
{{with .Empty}}a{{else with .Five}}{{.}}{{else}}c{{end}}
{{range .Messages}}{{.Role}}:{{.Content}};{{end}}
{{range $i, $m := .Messages}}{{$i}}={{$m.Role}}/{{$m.Content}} {{end}}
{{range $m := .Messages}}{{$m.Role}}{{end}}{{range .None}}x{{else}}nothing{{end}}{{range .Nothing}}x{{else}}nil{{end}}
{{range $k, $v := .Map}}{{$k}}={{$v}} {{end}}{{range .Map}}{{.}};{{end}}
{{range 3}}{{.}}{{end}}{{range $i := 4}}{{$i}}{{end}}{{range .Zero}}x{{else}}empty{{end}}
{{range $i, $m := .Messages}}{{if eq $i 2}}{{break}}{{end}}{{.Role}} {{end}}
{{range $i, $m := .Messages}}{{if eq .Role "user"}}{{continue}}{{end}}{{.Role}} {{end}}
{{range .Messages}}{{range 5}}{{if gt . 2}}{{break}}{{end}}{{.}}{{end}}-{{end}}
{{$f := true}}{{range .Messages}}{{if $f}}first {{.Role}}{{end}}{{$f = false}}{{end}}{{$f}}
{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{$x = 3}}{{$x}}{{end}}{{$x}}
{{$last := ""}}{{range $i, $_ := .List}}{{$last = $i}}{{end}}{{$last}}
{{$n := 0}}{{range $n = .List}}{{end}}{{$n}}
{{range $i, $m := .Messages}}{{if eq (len (slice $.Messages $i)) 1}}last:{{.Role}}{{end}}{{end}}
{{define "t"}}<{{.}}>{{end}}{{template "t" .System}}{{template "t" .Five}}{{template "t" .Missing}}{{template "t"}}
{{define "down"}}{{if .}}{{.}},{{template "down" (slice . 1)}}{{end}}{{end}}{{template "down" "abc"}}
{{define "twice"}}{{if .}}{{template "twice" (slice . 1)}}{{slice . 0 1}}{{end}}{{end}}{{template "twice" "abc"}}
{{block "b" .Five}}block {{.}}{{end}}
{{define "a"}}{{$}} {{template "b" .}}{{end}}{{define "b"}}{{$}}{{end}}{{template "a" 7}}
{{len .System}} {{len .Text}} {{len .List}} {{len .Map}} {{len ""}}
{{slice .System 3}}|{{slice .System 0 2}}|{{slice .System 3 3}}|{{slice .List 1 2}}|{{slice .List 1 2 3}}|{{slice "abc"}}
{{slice .Text 0 1}}{{slice .Text 1 3}}
{{index .List 0}} {{index .List 5 0}} {{index .Map "a"}} {{index .Map "ä" 1}} {{index .System 0}} {{index .Map "none"}}
{{index .Messages 0}}{{(index .Messages 0).Content}}
{{eq .Five 5}} {{eq .System "x" "Be brief — très bref."}} {{ne .Five 4}} {{eq .Yes true}} {{eq .Half 0.5}}
{{eq .Nothing nil}} {{eq .Missing nil}} {{ne .Nothing nil}} {{eq nil nil}}
{{lt 1 2}} {{lt "a" "b"}} {{le 2 2}} {{gt 3 2}} {{ge 2 3}} {{lt 0.5 1.5}} {{gt .Five 4}} {{lt "ä" "z"}}
{{and .Yes .System}} {{and .Zero .System}} {{or .Empty .Five}} {{or .Empty .Zero}} {{not .Yes}} {{not .Empty}} {{and 1}}
{{or .Yes (index .List 99)}} {{and .No (index .List 99)}} {{.Five | or .Empty}} {{.Five | and 1}}
{{.System | printf "%d-%s" 3 | len}} {{"a" | printf "%s%s" "b"}} {{3 | eq 3}}
{{print 1 2 "a" "b" 3 .Nothing}} {{print}} {{println "a" 1}} {{print .List .Map}} {{print nil}}
{{printf "%s %d %v %t %q %x %5d|%-5d|%05d|%.2f %%" "a" 1 .List true "b\\n" "hi" 42 42 42 3.14159}}
{{printf "%v %v %v %v" .Half .Huge .Tiny .Large}} {{printf "%6s|%-6s|%.2s" "ab" "cd" "efgh"}} {{printf "%c%X" 65 255}}
{{printf "%*s|%-*d|%*s" 4 "ab" 3 7 0 ""}} {{len (printf "%*s " 12 "")}}
{{.Half}} {{.Huge}} {{.Tiny}} {{.Small}} {{.Large}} {{1.0}} {{-3}} {{0x1F}} {{1_000}} {{'a'}} {{.5}} {{1e3}} {{010}}
{{json .Map}} {{json .List}} {{json .Markup}} {{json .System}} {{json .Half}} {{json .Tiny}} {{json .Small}} {{json .Huge}} {{json nil}}
{{.List}} {{.Map}} {{.Nothing}} {{.Missing}} {{.None}} {{.Yes}}
{{"q\\"\\x41\\u00e9\\U0001F600\\101\\t\\\\"}} {{`raw "x" \\n`}} {{"}}"}} {{"{{"}}
{{currentDate}} {{currentDate "2006"}} {{yesterdayDate}} {{slice currentDate 0 4}}/{{slice currentDate 5 7}}
{{$.Five}} {{$.Map.a}} {{.Map.a}} {{.Map.none}} {{(print "a" "b")}} {{((.Five))}} {{(.Map).a}}
{{with .Map}}{{$.Five}}{{.b}}{{end}}
{{if and (ge (len .System) 2) (eq (slice .System 0 2) "Be")}}prefix{{end}}
{{if or (eq .Five 1) (and (eq .Five 5) (not .No))}}ok{{end}}
{{$a := 1}}{{$b := $a}}{{$a = 2}}{{$a}}{{$b}}{{$c := .Map}}{{$c.b}}
{{- range .Messages -}}
  {{- .Role -}}
{{- end -}}
{{break}}
{{.Map.a.b}}
{{.Nothing.x}}
{{.Missing.x}}
{{.Five.x}}
{{index .List 99}}
{{index .List -1}}
{{slice .System 3 1}}
{{slice .System 0 999}}
{{len .Five}}
{{len .Nothing}}
{{eq .Five "5"}}
{{eq .List .List}}
{{lt .Five "5"}}
{{lt .Yes .No}}
{{eq 1}}
{{not}}
{{.Five 3}}
{{3 | .Five}}
{{1 | 2}}
{{template "undefined" .}}
{{range .Five | print}}x{{end}}
{{range $i, $m := 3}}x{{end}}
{{range .Half}}x{{end}}
{{$undefined}}
{{$x := 1}}{{if true}}{{$y := 2}}{{end}}{{$y}}
{{unknown 1}}
{{if}}x{{end}}
{{if .Yes}}x
{{end}}
{{else}}
{{if .Yes}}a{{else}}b{{else}}c{{end}}
{{.Five
{{"open}}
{{/* open }}
{{/* a */ x}}
{{(.Five}}
{{.Five)}}
{{.Five | }}
{{define "x"}}1{{end}}{{define "x"}}2{{end}}
{{if true}}{{define "x"}}1{{end}}{{end}}
{{define x}}{{end}}
{{"\\y"}}
{{3x}}
{{.a..b}}
{{nil}}
{{"a".b}}
{{and}}
{{.Five,}}
{{with .Empty}}a{{else if .Five}}b{{end}}
{{$x = 3}}
"""


def specimens() -> list[str]:
    """Return one template per line; the block with the trimmed range is a single one."""
    text = SPECIMENS.strip("\n")
    joined = text.replace("-}}\n  {{- .Role -}}\n{{- end", "-}}\u0000  {{- .Role -}}\u0000{{- end")
    return [line.replace("\u0000", "\n") for line in joined.split("\n")]


def ours(template: str, data: dict[str, object]) -> bytes | None:
    """Return the output of our renderer, or None if it refuses the template."""
    try:
        return GoTemplate(template).render_bytes(data, today=TODAY)
    except GoTemplateError:
        return None


def test_specimens_render_or_fail_like_real_go(real_go: RealGo) -> None:
    templates = specimens()
    answers = real_go.render([Job(template, DATA, TODAY) for template in templates])
    wrong = [
        (template, answer, mine)
        for template, answer in zip(templates, answers, strict=True)
        if (mine := ours(template, DATA)) != (None if answer.error else answer.text)
    ]
    assert wrong == []
    failing = sum(bool(answer.error) for answer in answers)
    assert (len(answers) > 90, 30 < failing < 60) == (True, True)


OPERANDS = r""". .System .Empty .Zero .Five .Half .Yes .No .Nothing .Missing .Text .List .None .Map
.Map.a .Map.none $ $.Five $x $.Map.b 0 1 2 -1 1.5 'x' "a" "" "Be" true false nil currentDate
"\u00e9" `r`""".split()  # noqa: SIM905 - readable in one piece
OFFSETS = st.sampled_from(["0", "1", "2", "(len .System)", "(len (slice .System 1))", "-1", "nil"])
EXPRESSIONS = st.recursive(
    st.sampled_from(OPERANDS),
    lambda inner: st.one_of(
        st.builds("({} {})".format, st.sampled_from(["not", "len", "json", "print"]), inner),
        st.builds(
            "({} {} {})".format,
            st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge", "and", "or", "index", "print"]),
            inner,
            inner,
        ),
        # Go accepts no offset directly from a map (an interface value); our renderer does.
        st.builds("(slice {} {} {})".format, inner, OFFSETS, OFFSETS),
        st.builds(
            "({} | {})".format, inner, st.sampled_from(["len", "not", "print", "eq 1", "and 1"])
        ),
    ),
    max_leaves=6,
)
TEXTS = st.sampled_from(["", "a", " ", "\n", "}", "é", "{ ", "x \n"])
OPENINGS = st.sampled_from(["{{", "{{- "])
CLOSINGS = st.sampled_from(["}}", " -}}"])


def _wrap(form: str) -> st.SearchStrategy[str]:
    return st.builds(form.format, e=EXPRESSIONS, o=OPENINGS, c=CLOSINGS)


def _block(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    forms = [
        "{o}if {e}{c}{a}{{{{else}}}}{b}{{{{end}}}}",
        "{{{{if {e}}}}}{a}{{{{else if {e}}}}}{b}{o}end{c}",
        "{{{{with {e}}}}}{a}{o}else{c}{b}{{{{end}}}}",
        "{{{{range {e}}}}}{a}{{{{else}}}}{b}{{{{end}}}}",
        "{o}range $i, $x := {e}{c}{a}{{{{$i}}}}{b}{{{{end}}}}",
        "{{{{range $i, $m := .List}}}}{a}{{{{if eq $i 2}}}}{{{{break}}}}{{{{end}}}}{b}{{{{end}}}}",
        "{{{{range .Messages}}}}{{{{if eq .Role `user`}}}}{{{{continue}}}}{{{{end}}}}{a}{{{{.Role}}}}{b}{{{{end}}}}",
        "{o}$x = {e}{c}{a}{b}",
        "{{{{$x := {e}}}}}{a}{o}$x{c}{b}",
        "{{{{template `t` {e}}}}}{a}{b}",
        "{a}{b}",
    ]
    return st.one_of(
        *(
            st.builds(f.format, e=EXPRESSIONS, o=OPENINGS, c=CLOSINGS, a=inner, b=inner)
            for f in forms
        )
    )


TEMPLATES = st.recursive(st.one_of(TEXTS, _wrap("{o}{e}{c}")), _block, max_leaves=6).map(
    lambda body: "{{define `t`}}[{{if .}}{{print .}}{{end}}]{{end}}{{$x := 1}}" + body
)
WORDS = r"""{{ }} {{- -}} - . .A $ $x := = | , ( ) if else end range with define template break nil
true eq " "a" ` 'a' 1 0x 1. /* */ a \ { }""".split()  # noqa: SIM905 - readable in one piece
FRAGMENTS = st.lists(st.sampled_from([*WORDS, " ", " ", "\n"]), max_size=12).map("".join)
INSIDE = st.lists(st.sampled_from([*WORDS, " ", " ", " "]), max_size=7).map("".join)


def agree(real_go: RealGo, template: str) -> bool:
    """Return whether both engines write the same bytes or both refuse the template."""
    answer = real_go.render([Job(template, DATA, TODAY)])[0]
    expected = None if answer.error else answer.text
    try:
        mine: bytes | None = GoTemplate(template).render_bytes(DATA, today=TODAY)
    except GoTemplateError as error:
        if "not supported here" in str(error):
            return True
        mine = None
    return mine == expected


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(template=TEMPLATES)
def test_generated_templates_render_or_fail_like_real_go(real_go: RealGo, template: str) -> None:
    assert agree(real_go, template)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(template=st.one_of(FRAGMENTS, INSIDE.map("{{{{{}}}}}".format)))
def test_scrambled_syntax_is_refused_like_in_real_go(real_go: RealGo, template: str) -> None:
    assert agree(real_go, template)


def test_unknown_field_of_a_message_is_an_error(real_go: RealGo) -> None:
    messages = [Struct({"Role": "user", "Content": "Hi", "Thinking": ""})]
    known, unknown = (
        "{{range .Messages}}{{.Role}}{{.Thinking}}{{end}}",
        "{{range .Messages}}{{.Nope}}{{end}}",
    )
    data = {"Messages": messages}
    answers = real_go.render([Job(t, data, TODAY, structs=True) for t in (known, unknown)])
    assert (answers[0].text, "can't evaluate field Nope" in answers[1].error) == (b"user", True)
    assert render(known, data) == "user"
    with pytest.raises(GoTemplateError, match="can't evaluate field Nope"):
        render(unknown, data)


@pytest.mark.slow
def test_tail_recursion_does_not_deepen_the_stack(
    real_go: RealGo,
) -> None:
    trim = '{{define "t"}}{{if and . (eq (slice . 0 1) " ")}}{{template "t" (slice . 1)}}{{else}}{{.}}{{end}}{{end}}{{template "t" .Text}}|'
    data = {"Text": " " * 50_000 + "end"}
    assert render(trim, data) == "end|"
    assert real_go.render([Job(trim, data)])[0].text == b"end|"


def test_cached_output_is_shared_by_equal_definitions_only() -> None:
    use = '{{template "outer" .Text}}'
    one = '{{define "inner"}}<{{.}}>{{end}}{{define "outer"}}{{template "inner" .}}{{end}}'
    two = one.replace("<{{.}}>", "[{{.}}]")
    texts = [render(source + use, {"Text": "x"}) for source in (one, two, one, " " + two)]
    assert texts == ["<x>", "[x]", "<x>", " [x]"]
    dated = '{{define "day"}}{{.}} {{currentDate}}{{end}}{{template "day" .Text}}'
    days = [date(2024, 5, 6), date(2025, 6, 7)]
    assert [render(dated, {"Text": "x"}, today=day) for day in days] == [
        "x 2024-05-06",
        "x 2025-06-07",
    ]


def test_mutual_tail_recursion_does_not_deepen_the_stack() -> None:
    even = '{{define "even"}}{{if .}}{{template "odd" (slice . 1)}}{{else}}even{{end}}{{end}}'
    odd = '{{define "odd"}}{{if .}}{{template "even" (slice . 1)}}{{else}}odd{{end}}{{end}}'
    assert render(even + odd + '{{template "even" .Text}}', {"Text": "x" * 20_001}) == "odd"


@pytest.mark.parametrize(
    "template", ['{{define "t"}}{{template "t"}}{{end}}{{template "t"}}'], ids=["self-call"]
)
def test_infinite_tail_recursion_is_refused_like_in_real_go(real_go: RealGo, template: str) -> None:
    assert "exceeded maximum template depth" in real_go.render([Job(template, {})])[0].error
    with pytest.raises(GoTemplateError, match="exceeded maximum template depth"):
        render(template, {})


def test_infinite_nested_recursion_is_an_error_not_a_crash() -> None:
    with pytest.raises(GoTemplateError, match="call each other too deeply"):
        render('{{define "t"}}{{template "t"}}x{{end}}{{template "t"}}', {})


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("{{.A}}\n  {{nope .A}}", (2, 5)),
        ("a\n{{if .A}}x", (2, 11)),
        ("{{index .A 3}}", (1, 3)),
        ("é{{html .A}}", (1, 4)),
    ],
    ids=["unknown-function", "unclosed-block", "index-out-of-range", "multibyte-line"],
)
def test_error_names_line_and_column(template: str, position: tuple[int, int]) -> None:
    with pytest.raises(GoTemplateError) as caught:
        render(template, {"A": "x"})
    assert (caught.value.line, caught.value.column) == position
    assert f"line {position[0]}, column {position[1]}" in str(caught.value)


def test_current_date_is_the_date_given_to_render() -> None:
    assert render("{{currentDate}} {{yesterdayDate}}", {}, today=date(2024, 3, 1)) == (
        "2024-03-01 2024-02-29"
    )
