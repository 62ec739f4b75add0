"""Personal data in texts: found by their form and masked; other numbers stay."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.dataset.personal_data import has_personal_data, mask_personal_data


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("Write to ana.b+x@mail.example.org.", "Write to [EMAIL].", id="email"),
        pytest.param("Call +49 30 123 456 78 today", "Call [PHONE] today", id="international"),
        pytest.param("Call (555) 234-5678.", "Call [PHONE].", id="north america"),
        pytest.param("Tel. 030 / 1234 5678", "Tel. [PHONE]", id="national"),
        pytest.param("Ruf 0171-1234567 an", "Ruf [PHONE] an", id="mobile"),
        pytest.param("Card 4111 1111 1111 1111!", "Card [CARD]!", id="card with blanks"),
        pytest.param("5500-0055-5555-5559", "[CARD]", id="card with dashes"),
        pytest.param("378282246310005", "[CARD]", id="card of 15 digits"),
        pytest.param(
            "DE89 3704 0044 0532 0130 00 BITTE", "[IBAN] BITTE", id="iban before capitals"
        ),
        pytest.param("GB29NWBK60161331926819", "[IBAN]", id="iban without blanks"),
        pytest.param("key=sk-proj-" + "a1B2" * 8, "key=[SECRET]", id="api key"),
        pytest.param("ghp_" + "a1B2" * 9, "[SECRET]", id="access token"),
        pytest.param("hf_" + "aBcD" * 9, "[SECRET]", id="hub token"),
        pytest.param("AKIA" + "ABCD" * 4, "[SECRET]", id="cloud key"),
        pytest.param(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "[SECRET]",
            id="private key",
        ),
        pytest.param("a@b.co and c@d.co", "[EMAIL] and [EMAIL]", id="two"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask_personal_data(text) == masked
    assert has_personal_data(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("From 2024-01-02 to 2024-03-04, 12:30:45", id="dates"),
        pytest.param("Order 4111 1111 1111 1112", id="wrong check digit"),
        pytest.param("GB29NWBK60161331926818", id="wrong iban check"),
        pytest.param("3.14159265358979323846", id="decimals"),
        pytest.param("version 1.2.3, 192.168.100.200, 10.0.0.1", id="versions and addresses"),
        pytest.param("1,234,567 rows of 1 000 000", id="thousands"),
        pytest.param("@decorator def f(self): pass  # user@host", id="code"),
        pytest.param("2 + 2 = 4; 100 - 200 - 3000", id="sums"),
        pytest.param("ISBN 978-3-16-148410-0", id="isbn"),
        pytest.param("550e8400-e29b-41d4-a716-446655440000", id="uuid"),
        pytest.param("[EMAIL] [PHONE] [CARD] [IBAN] [SECRET]", id="masks"),
        pytest.param("0000 0000 0000 0000", id="zeros"),
        pytest.param("task-based, sk-learn, risk-free", id="words"),
    ],
)
def test_other_text_stays_unchanged(text: str) -> None:
    assert mask_personal_data(text) == text


@given(st.text(st.sampled_from("0123456789 +-()./@aZ.DE_"), max_size=80))
def test_masked_text_is_not_masked_again(text: str) -> None:
    once = mask_personal_data(text)
    assert mask_personal_data(once) == once


@pytest.mark.parametrize("part", ["1 ", "+1 ", "a.", "a@", "DE12 AAAA ", "eyJ", "0-", "sk-a", "(2"])
def test_long_text_of_clues_is_read_in_linear_time(part: str) -> None:
    def measure(count: int) -> float:
        begin = time.process_time()
        mask_personal_data(part * count)
        return time.process_time() - begin

    measure(100)
    assert measure(80_000) < 40 * max(measure(8_000), 0.002)
