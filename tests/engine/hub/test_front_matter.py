"""The front matter of cards: what the Hub writes is read, and no bytes of it can do harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.engine.hub.datasets import read_front_matter

#: Nine aliases in nine lists in nine lists …: gigabytes once they are expanded.
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("---\nlicense: mit\ntags: [a, b]\n---\n# Card", {"license": "mit", "tags": ["a", "b"]}, id="usual"),
        pytest.param("# Card", {}, id="none"),
        pytest.param("---\r\na: b --- c\r\nd: e\r\n---\r\n", {"a": "b --- c", "d": "e"}, id="dashes in a value"),
        pytest.param("text before\n---\nlicense: mit\n---\n", {}, id="not at the top"),
        pytest.param("---\nlicense: mit\n", {}, id="without an end"),
        pytest.param("---\n- a\n---\n", {}, id="a list"),
        pytest.param("---\ndate: 2024-02-30\n---\n", {"date": "2024-02-30"}, id="impossible date"),
        pytest.param("---\na: [\n---\n", {}, id="broken"),
        pytest.param(f"---\n{BOMB}---\n", {}, id="aliases"),
        pytest.param(f"---\na: {'[' * 2_000}\n---\n", {}, id="deep"),
        pytest.param("---\na: !!python/object/apply:os.system [true]\n---\n", {"a": ["true"]}, id="object"),
        pytest.param(f"---\na: {'x' * 2_000_000}\n---\n", {}, id="long"),
    ],
)  # fmt: skip
def test_fields_of_a_card(tmp_path: Path, text: str, fields: dict[str, object]) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_front_matter(tmp_path / "README.md") == fields
