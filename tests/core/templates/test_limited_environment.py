"""Chat templates that try to fill the memory or to run forever."""

from __future__ import annotations

import time

import jinja2
import pytest

from lora_studio.core import limits
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.limited_environment import TemplateLimitError

TALK = [{"role": "user", "content": "Hi"}]

BOMBS = {
    "repeated text": "{{ 'a' * 4000000000 }}",
    "repeated list": "{{ [0] * 4000000000 }}",
    "times text": "{% set n = 4000000000 %}{{ n * 'a' }}",
    "doubled by tilde": "{% set s = namespace(v='a') %}{% for i in range(40) %}{% set s.v = s.v ~ s.v %}{% endfor %}",
    "doubled by plus": "{% set s = namespace(v='a') %}{% for i in range(40) %}{% set s.v = s.v + s.v %}{% endfor %}",
    "doubled list": "{% set s = namespace(v=[0]) %}{% for i in range(40) %}{% set s.v = s.v + s.v %}{% endfor %}",
    "doubled by join": "{% set s = namespace(v='ab') %}{% for i in range(40) %}{% set s.v = [s.v, s.v]|join %}{% endfor %}",
    "doubled by method": "{% set s = namespace(v='ab') %}{% for i in range(40) %}{% set s.v = ''.join([s.v, s.v]) %}{% endfor %}",
    "doubled by replace": "{% set s = namespace(v='a') %}{% for i in range(40) %}{% set s.v = s.v|replace('a', 'aa') %}{% endfor %}",
    "doubled by a block": "{% set s = namespace(v='a') %}{% for i in range(40) %}{% set t %}{{ s.v }}{{ s.v }}{% endset %}{% set s.v = t %}{% endfor %}",
    "replaced": "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "centered": "{{ 'a'|center(4000000000) }}",
    "centered by method": "{{ 'a'.center(4000000000) }}",
    "justified": "{{ 'a'.ljust(width=4000000000) if false else 'a'.ljust(4000000000) }}",
    "zero filled": "{{ '1'.zfill(4000000000) }}",
    "formatted": "{{ '%4000000000d' % 1 }}",
    "formatted with a star": "{{ '%*d' % (4000000000, 1) }}",
    "formatted by filter": "{{ '%4000000000d'|format(1) }}",
    "formatted by method": "{{ '{:>4000000000}'.format(1) }}",
    "indented": "{{ messages|tojson(indent=4000000000) }}",
    "indented by a text": "{{ messages|tojson(indent='a' * 1000000) }}",
    "indented lines": "{{ ('a\n' * 1000000)|indent(1000000) }}",
    "tabs": "{{ ('\t' * 1000000).expandtabs(1000000) }}",
    "batch": "{{ [1]|batch(4000000000, 0)|list }}",
    "slices": "{{ [1]|slice(4000000000)|list }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "long output": "{% set s = 'a' * 10000000 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
    "nested loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(200) }}",
    "lists inside lists": "{% set s = namespace(v=['a']) %}{% for i in range(60) %}{% set s.v = [s.v, s.v] %}{% endfor %}{{ s.v }}",
    "dictionaries inside dictionaries": "{% set s = namespace(v={'a': 1}) %}{% for i in range(60) %}{% set s.v = dict(a=s.v, b=s.v) %}{% endfor %}{{ s.v|tojson }}",
    "repeated lists inside lists": "{% set s = namespace(v=['a']) %}{% for i in range(9) %}{% set s.v = [s.v] * 1000 %}{% endfor %}{{ s.v|string }}",
    "arguments inside arguments": "{% set s = namespace(v=('a',)) %}{% macro m() %}{% set s.v = varargs %}{% endmacro %}"
    "{% for i in range(60) %}{{ m(s.v, s.v) }}{% endfor %}{{ s.v|string }}",
    "copies": "{% set x = 'a' * 900000 %}{% set s = namespace(v=[]) %}{% for i in range(999) %}{% set s.v = s.v + [x.upper()] %}{% endfor %}",
    "copies by a filter": "{% set x = 'a' * 900000 %}{{ ([x] * 999)|map('upper')|list }}",
    "slices of texts": "{% set x = 'a' * 900000 %}{% set s = namespace(v='') %}{% for i in range(999) %}{% set s.v = (s.v, x[i:]) %}{% endfor %}",
    "long value formatted": "{{ ('%s' * 500) % (('a' * 900000,) * 500) }}",
    "long value formatted by method": "{{ ('{0}' * 500).format('a' * 900000) }}",
    "width from a value": "{{ '{0:{1}}'.format('a', 4000000000) }}",
    "safe text": "{{ ('a'|safe).center(4000000000) }}",
    "bytes": "{{ 'a'.encode().center(4000000000) }}",
    "bytes of a number": "{{ (1).to_bytes(4000000000, 'big') }}",
    "translated": "{{ ('a' * 1000000).translate({97: 'b' * 100000}) }}",
    "squares": "{% set s = namespace(v=3) %}{% for i in range(40) %}{% set s.v = s.v * s.v %}{% endfor %}",
    "rounded": "{{ 1.5|round(300000000, 'ceil') }}",
    "sum of lists": "{{ ([[0]] * 60000)|sum(start=[]) }}",
    "searched items": "{% set x = ['a'] * 150000 %}{{ range(90000)|select('in', x)|list }}",
    "searched in a loop": "{% set x = ['a'] * 150000 %}{% for i in range(90000) %}{{ i in x }}{% endfor %}",
    "wrapped words": "{{ ('a' * 900000)|wordwrap(1) }}",
    "lorem ipsum": "{{ lipsum(n=100000000) }}",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bomb_is_stopped_before_it_takes_memory_or_time(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"TEMPLATE_SECONDS": 0.5, "TEMPLATE_LENGTH": 1_000_000, "TEMPLATE_TOTAL": 32_000_000}
    for name, value in small.items():
        monkeypatch.setattr(limits, name, value)
    started = time.process_time()
    with pytest.raises((jinja2.TemplateError, RecursionError, OverflowError)):
        ChatTemplate(bomb).render(TALK)
    assert time.process_time() - started < 20


def test_limit_is_reported_as_an_error_of_the_template() -> None:
    with pytest.raises(TemplateLimitError, match="too long"):
        ChatTemplate(BOMBS["repeated text"]).render(TALK)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{% endfor %}", "1/1True"),
        ("{% for m in nothing %}x{% else %}none{% endfor %}", "none"),
        ("{% for k, v in {'a': 1}.items() %}{{ k ~ v }}{% endfor %}", "a1"),
        ("{{ [1, 2]|join(', ') }}{{ messages|map(attribute='role')|join('-') }}", "1, 2user"),
        ("{{ 'ab'|center(4) }}|{{ 'a\nb'|indent(2) }}|{{ 'a'|replace('a', 'b') }}", " ab |a\n  b|b"),
        ("{{ '%s %03d' % ('a', 7) }}{{ '{}-{:>3}'.format(1, 2) }}", "a 0071-  2"),
        ("{{ messages|tojson(indent=1) }}", '[\n {\n  "role": "user",\n  "content": "Hi"\n }\n]'),
        ("{{ messages|list|length }}{{ messages|selectattr('role', 'in', ['user'])|list|length }}", "11"),
        ("{{ [3, 1]|sort|list }}{{ [1, 1]|unique|list }}{{ [1, 2, 3]|batch(2)|map('list')|list }}", "[1, 3][1][[1, 2], [3]]"),
        ("{{ [1, 2]|sum }}{{ 1.25|round(1) }}{{ 'ab'|title }}{{ ('a', messages[0]['content'])|join }}", "31.2AbaHi"),
        ("{{ 'i' in messages[0].content }}{{ 'role' in messages[0] }}{{ 2 in [1, 2] }}{{ messages[0].content[1:] }}", "TrueTrueTruei"),
        ("{% set ns = namespace(x=[]) %}{% for i in range(3) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}", "[0, 1, 2]"),
        ("{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, b=3) }}", "1(2,){'b': 3}"),
        ("{{ '{{{}}}'.format(1) }}{{ '%s' % messages[0].content }}{{ ('a'|safe).upper() }}{{ 'A'.lower() }}", "{1}HiAa"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "Hi"),
        ("""{{ '{"name": "%s", "arguments": {"x": %s}}' % ('f', 1) }}""", '{"name": "f", "arguments": {"x": 1}}'),
        ("{{ '**%s** 100 %%' % 'a' }}{{ '{a: {b: %s}}'|format(1) }}{{ 1.5|round(method='floor') }}", "**a** 100 %{a: {b: 1}}1.0"),
    ],
)  # fmt: skip
def test_usual_constructs_render_as_before(source: str, text: str) -> None:
    assert ChatTemplate(source).render(TALK) == text


@pytest.mark.parametrize(
    "source",
    [
        "{% set ns = namespace(x=[]) %}{% for m in messages %}{% set ns.x = ns.x + [m] %}{% endfor %}{{ ns.x|length }}",
        "{% for m in messages %}{% set n = messages|list %}{% endfor %}{{ messages|length }}",
        "{% macro m(a, b) %}{% endmacro %}{% for m_ in messages %}{{ m(messages, b=m_) }}{% endfor %}{{ messages|length }}",
    ],
    ids=["appended", "copied", "passed to a macro"],
)  # fmt: skip
def test_long_conversations_stay_within_the_limits(source: str) -> None:
    talk = [{"role": "user", "content": "x" * 1000} for _ in range(1000)]
    assert ChatTemplate(source).render(talk) == "1000"


def test_each_rendering_has_a_budget_of_its_own() -> None:
    template = ChatTemplate("{{ 'a' * 10000000 }}")
    for _ in range(60):
        assert len(template.render(TALK)) == 10_000_000
