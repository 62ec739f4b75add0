"""Find and mask e-mail addresses, phone, card and account numbers, and access keys in a text.

Only what its form proves counts: a card number has a valid check digit (ISO/IEC 7812-1), an account
number a valid IBAN check (ISO 13616), a key the prefix of its service. Names and addresses of people
have no such form and aren't found.
"""

from __future__ import annotations

import re

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_PHONE = re.compile(
    r"(?<![\w+.-])(?:"
    r"\+[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,6}"  # international, as in ITU-T E.123
    r"|\(?[2-9]\d{2}\)?[ .-] ?\d{3}[ .-]\d{4}"  # North America
    r"|\(?0\d{2,4}\)? ?[/-]? ?\d{3,4}(?:[ -]?\d{2,4}){1,2}"  # with the 0 of long-distance calls
    r")(?![\w-])"
)
_CARD = re.compile(r"(?<![\w.-])[2-6]\d(?:[ -]?\d){11,17}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
#: Eight digits with little between them, which every number above has.
_DIGITS = re.compile(r"\d(?:[ ./()-]{0,3}\d){7}")
_SECRET = re.compile(
    r"(?<!\w)(?:"
    r"sk-[\w-]{20,200}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,200}"
    r"|hf_[A-Za-z0-9]{30,100}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[A-Za-z0-9-]{10,200}"
    r"|eyJ[\w-]{10,4000}\.eyJ[\w-]{10,8000}\.[\w-]{10,2000}"
    r")(?![\w-])"
    r"|-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY-----[\s\S]{0,20000}?-----END (?:[A-Z]+ ){0,3}PRIVATE KEY-----"
)


def has_personal_data(text: str) -> bool:
    """Return whether `mask_personal_data` would change the text."""
    return mask_personal_data(text) != text


def mask_personal_data(text: str) -> str:
    """Return the text with what was found replaced by [EMAIL], [PHONE], [CARD], [IBAN], [SECRET]."""
    # Keys and account numbers contain digits that the later patterns would take for others.
    if (
        "_" in text or "sk-" in text or "AKIA" in text or "AIza" in text or "glpat-" in text
        or "xox" in text or "eyJ" in text or "-----BEGIN" in text
    ):  # fmt: skip
        text = _SECRET.sub("[SECRET]", text)
    if "@" in text:
        text = _EMAIL.sub("[EMAIL]", text)
    if _DIGITS.search(text):
        text = _IBAN.sub(_mask_iban, text)
        text = _CARD.sub(_mask_card, text)
        text = _PHONE.sub(_mask_phone, text)
    return text


def _mask_iban(match: re.Match[str]) -> str:
    """Mask an account number; capital letters that follow it stay."""
    groups = match[0].split(" ")
    for count in range(len(groups), 0, -1):
        if _is_iban("".join(groups[:count])):
            return " ".join(["[IBAN]", *groups[count:]])
    return match[0]


def _is_iban(account: str) -> bool:
    digits = "".join(str(int(char, 36)) for char in account[4:] + account[:4])
    return len(account) >= 15 and int(digits) % 97 == 1


def _mask_card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match[0] if char.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    is_valid = (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    return "[CARD]" if is_valid and len(set(digits)) > 1 else match[0]


def _mask_phone(match: re.Match[str]) -> str:
    return "[PHONE]" if 8 <= sum(char.isdigit() for char in match[0]) <= 15 else match[0]
