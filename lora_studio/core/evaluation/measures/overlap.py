"""How much of the reference an answer shares: token F1, ROUGE-L, and chrF."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lora_studio.core.evaluation.measures.base import ReferenceMeasure
from lora_studio.core.evaluation.measures.normalization import list_words


class TokenF1(ReferenceMeasure):
    """F1 of the words that both have, in any order, as for SQuAD.

    F1 = 2·s/(a + r), where s words are shared and a and r are the words of answer and reference.
    Source: Rajpurkar et al., SQuAD (2016), section 6.1, without its removal of English articles.
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return F1; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        shared = (Counter(words) & Counter(wanted)).total()
        return 2 * shared / (len(words) + len(wanted)) if wanted else None


class RougeL(ReferenceMeasure):
    """F1 of the longest common subsequence of words: the same words in the same order.

    F1 = 2·l/(a + r), where l is the length of that subsequence. Equal to the rouge-score library's
    rougeL without stemming. Source: Lin, ROUGE (2004), section 3, with β = 1.
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return F1; None for a reference without words."""
        words, wanted = list_words(answer), list_words(reference)
        if not wanted:
            return None
        return 2 * count_common_subsequence(wanted, words) / (len(words) + len(wanted))


class ChrF(ReferenceMeasure):
    """F2 of shared character sequences of 1 to 6 characters: also for word forms and other scripts.

    Computed by sacrebleu. Source: Popović, chrF (2015).
    """

    is_binary = False

    def compare(self, reference: str, answer: str) -> float | None:
        """Return chrF from 0 to 1; None for an empty reference."""
        if not reference.strip():
            return None
        score: float = _get_chrf().sentence_score(answer, [reference]).score
        return score / 100


def count_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, in O(n·m/64).

    Each bit of a number stands for a position of `first`. Source: Hyyrö, Bit-parallel LCS-length
    computation revisited (2004).
    """
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()


@functools.cache
def _get_chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
