"""Near duplicates: MinHash sketches, candidates by locality-sensitive hashing, an exact test.

A row is compared by its *sides*: the question and the answer (of a pair, both answers). Two rows are
near duplicates when all of their sides are: questions about one long document differ in their
answers, and the same template with a different number is a different question.

Sides are compared as sets of shingles, the K = 9 characters from each position on (9 as Leskovec,
Rajaraman and Ullman advise for documents, *Mining of Massive Datasets*, 3.2.2), by their Jaccard
similarity J = |A ∩ B| / |A ∪ B|. Where a share e of the words was exchanged, and a word with its
space takes w characters, a shingle survives with s = (1 - e)^(1 + (K - 1) / w), and J = s / (2 - s).
For English (w = 6.2) one word in twenty gives J = 0.80, one in ten 0.65, one in eight 0.58, one in
five 0.42: rows with J >= THRESHOLD = 0.6, about one word in eight, count as near duplicates.

Exact similarity takes some 100 µs a pair and there are n² / 2 pairs, so candidates are found by
sketches (Broder 1997): one permutation of the shingles' hashes in BINS bins (Li, Owen and Zhang
2012), empty bins filled by hashing (Shrivastava 2017), BANDS bands of 4 bins. A pair with union
similarity J shares a band with probability 1 - (1 - J^4)^20: 0.94 at 0.6, 0.996 at 0.7, 0.15 at
0.3. J of the union of all sides is never below the least J of a side, so nothing is lost by
sketching them together. Most candidates with a side that differs, such as the answers about one
document, are then rejected by a few bins of each side.

datasketch 2.0 (MinHashLSH, 128 permutations, the same shingles and threshold) was measured on the
4,000 rows of tests/benchmarks/near_duplicates.py: 650 rows/s against 3,900 here, a recall of 0.80
against 0.94 with one word in ten edited, and it needs SciPy (143 MB). So it isn't used.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_studio.core import limits
from lora_studio.engine.dataset.rows.store import Hashes, hash_text, mix64
from lora_studio.engine.runtime.channel import JobContext

K = 9
THRESHOLD = 0.6
BINS, BANDS = 80, 20
PER_BAND = BINS // BANDS
#: Bins of which a byte is stored, to reject most candidates cheaply: some of each side, in parts.
PRINTS, _PARTS = 40, 4
_PER_PART = PRINTS // _PARTS
#: The long side that each part is of, by their number.
_SIDE_OF_PART = {1: (0, 0, 0, 0), 2: (0, 0, 1, 1), 3: (0, 1, 2, 2)}

#: A side with fewer characters has to be equal: a single word changes its meaning.
SHORT = 40

#: Characters of a side that are compared; of the rest only the length counts.
LONGEST = 100_000

#: Bytes of a sketch that have to agree before the exact test is worth its time: two standard
#: deviations, sqrt(J (1 - J) / PRINTS), below THRESHOLD.
_AGREEING = int((THRESHOLD - 2 * (THRESHOLD * (1 - THRESHOLD) / PRINTS) ** 0.5) * PRINTS)

#: Bytes of each part that have to agree: fewer do in 2 of 1000 parts of sides with J = THRESHOLD.
_AGREEING_IN_PART = 2

#: Shingles in more than this share of the rows, and in at least so many rows, are boilerplate.
_COMMON_SHARE, _COMMON_ROWS = 0.1, 10

#: Shingled rows kept for the next comparison, and characters hashed in one go (some 60 bytes each).
_KEPT = 2048
_AT_ONCE = LONGEST

Sides = tuple[str, ...]

#: Replaces punctuation by blanks, except signs of arithmetic: 3 - 2 is not 3 / 2.
_SPACING = str.maketrans(dict.fromkeys(".,;:!?'\"“”‘’«»…¡¿،؛؟。、「」『』()`", " "))
_EMPTY = np.uint32(0xFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_BASE = 0x9E3779B97F4A7C15


def normalize(text: str) -> str:
    """Return a text without case, compatibility forms, spacing and punctuation."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().translate(_SPACING).split())


def _hash_texts(
    texts: Sequence[str], salts: NDArray[np.uint64]
) -> tuple[Hashes, NDArray[np.int64]]:
    """Return every shingle of some texts: its hash, mixed with its text's salt, and the text's index."""
    padded = [text[:LONGEST].ljust(K) for text in texts]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(texts)), lengths)
    inside = np.arange(len(codes)) <= np.repeat(np.cumsum(lengths) - K, lengths)
    windows = len(codes) - K + 1
    rolled = _compute_rolling_hashes(codes, K)
    keep = inside[:windows]
    owner = owner[:windows][keep]
    return mix64(rolled[keep] ^ salts[owner]), owner


def _compute_rolling_hashes(codes: NDArray, width: int) -> Hashes:
    """Return the polynomial in _BASE of every `width` codes: from both halves, in log2(width) steps."""
    if width == 1:
        return codes.astype(np.uint64)
    half = width // 2
    parts = _compute_rolling_hashes(codes, half)
    both = parts[: len(parts) - half] * np.uint64(pow(_BASE, half, 1 << 64)) + parts[half:]
    if width % 2 == 0:
        return both
    return both[: len(codes) - width + 1] * np.uint64(_BASE) + codes[width - 1 :]


def _get_salts(sides: int) -> NDArray[np.uint64]:
    return mix64(np.arange(1, sides + 1, dtype=np.uint64))


def hash_shingles(sides: Sides) -> list[Hashes]:
    """Return the set of shingles of each side, as sorted hashes; different sides share none."""
    salts = _get_salts(len(sides))
    return [np.unique(_hash_texts([side], salts[i : i + 1])[0]) for i, side in enumerate(sides)]


def find_boilerplate(sample: Sequence[Sides]) -> Hashes:
    """Return shingles that too many rows share to tell rows apart, as in templates and instructions.

    `sample` should have duplicates once. Boilerplate is ignored in comparisons, so that a long
    instruction before every question doesn't make the questions near duplicates.
    """
    sample = _cut_sample(sample)
    if len(sample) < _COMMON_ROWS:
        return np.zeros(0, dtype=np.uint64)
    hashes, counts = np.unique(
        np.concatenate([side for sides in sample for side in hash_shingles(sides)]),
        return_counts=True,
    )
    return hashes[(counts >= _COMMON_ROWS) & (counts > _COMMON_SHARE * len(sample))]


def _cut_sample(sample: Sequence[Sides]) -> list[Sides]:
    """Return as many rows as may be in memory, at least `_COMMON_ROWS`, each cut to `LONGEST`."""
    chosen: list[Sides] = []
    size = 0
    for sides in sample:
        chosen.append(tuple(side[:LONGEST] for side in sides))
        size += sum(map(len, chosen[-1]))
        if size > limits.COMPARED_CHARACTERS and len(chosen) >= _COMMON_ROWS:
            break
    return chosen


def _without(hashes: Hashes, common: Hashes) -> NDArray[np.bool_]:
    if not len(common):
        return np.ones(len(hashes), dtype=bool)
    # Nearly all hashes aren't common: a table of their last bits rules them out ten times as fast
    # as a search.
    table = np.zeros(1 << 18, dtype=bool)
    mask = np.uint64(len(table) - 1)
    table[(common & mask).astype(np.int64)] = True
    is_rare = ~table[(hashes & mask).astype(np.int64)]
    candidates = np.flatnonzero(~is_rare)
    nearest = common[np.searchsorted(common, hashes[candidates]) % len(common)]
    is_rare[candidates] = nearest != hashes[candidates]
    return is_rare


def compute_sketches(
    rows: Sequence[Sides],
    contexts: Hashes,
    common: Hashes,
    check: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return (band keys [rows, BANDS], bytes [rows, PRINTS]); only equal `contexts` share keys.

    `check` is called every 100,000 characters and may raise to cancel.
    """
    contexts = mix64(contexts ^ _hash_short_sides(rows))
    keys, prints = [], []
    start = 0
    while start < len(rows):
        end, characters = start + 1, sum(map(len, rows[start]))
        while end < len(rows) and (characters := characters + sum(map(len, rows[end]))) < _AT_ONCE:
            end += 1
        check()
        of_rows, of_sides = _compute_minima(rows[start:end], common)
        keys.append(_compute_bands(_fill_bins(of_rows), contexts[start:end]))
        prints.append(_choose_prints(of_sides, rows[start:end]))
        start = end
    if not rows:
        return np.zeros((0, BANDS), dtype=np.uint32), np.zeros((0, PRINTS), dtype=np.uint8)
    return np.concatenate(keys), np.concatenate(prints)


def _hash_short_sides(rows: Sequence[Sides]) -> Hashes:
    """Return a hash of the sides that have to be equal in near duplicates, [rows]."""
    keys = ("\x1d".join(side if len(side) < SHORT else "\x1e" for side in sides) for sides in rows)
    return np.fromiter(map(hash_text, keys), dtype=np.uint64, count=len(rows))


def _choose_prints(bins: NDArray[np.uint32], rows: Sequence[Sides]) -> NDArray[np.uint8]:
    """Return the bytes to store of the bins of all sides of some rows, [rows, PRINTS].

    Short sides have none: rows whose short sides differ share no key.
    """
    is_long = np.array([len(side) >= SHORT for sides in rows for side in sides])
    bins[~is_long] = 0
    sides_of_parts, first = [], 0
    for sides in rows:
        numbers = range(first, first + len(sides))
        chosen = [number for number in numbers if is_long[number]] or [first]
        sides_of_parts.append([chosen[index] for index in _SIDE_OF_PART[len(chosen)]])
        first += len(sides)
    side = np.repeat(np.array(sides_of_parts), _PER_PART, axis=1)
    filled = _fill_bins(bins, PRINTS)
    return mix64(filled[side, np.arange(PRINTS)].astype(np.uint64)).astype(np.uint8)


def _compute_minima(
    rows: Sequence[Sides], common: Hashes
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the least hash in each bin, [rows, BINS] and [sides, BINS]; what is boilerplate alone keeps it."""
    side_numbers = np.concatenate([np.arange(len(sides)) for sides in rows])
    row_of_side = np.repeat(np.arange(len(rows)), [len(sides) for sides in rows])
    hashes, side = _hash_texts(
        [side for sides in rows for side in sides],
        _get_salts(int(side_numbers.max()) + 1)[side_numbers],
    )
    is_rare = _without(hashes, common)
    bin_number = (((hashes >> np.uint64(32)) * np.uint64(BINS)) >> np.uint64(32)).astype(np.int64)
    value = np.minimum(hashes & _LOW, _LOW - np.uint64(1)).astype(np.uint32)

    def find_least(owner: NDArray[np.int64], count: int) -> NDArray[np.uint32]:
        compared = is_rare | (np.bincount(owner[is_rare], minlength=count)[owner] == 0)
        least = np.full(count * BINS, _EMPTY, dtype=np.uint32)
        np.minimum.at(least, (owner * BINS + bin_number)[compared], value[compared])
        return least.reshape(count, BINS)

    return find_least(row_of_side[side], len(rows)), find_least(side, len(row_of_side))


def _fill_bins(bins: NDArray[np.uint32], first: int = BINS) -> NDArray[np.uint32]:
    """Return the `first` bins; an empty one gets the value of a full one that a hash of bin and attempt picks."""
    filled = bins[:, :first].copy()
    row, column = np.nonzero(filled == _EMPTY)
    for attempt in range(1, BINS * 8):
        if not len(row):
            break
        pick = mix64(column.astype(np.uint64) + np.uint64(BINS * attempt)) % np.uint64(BINS)
        value = bins[row, pick.astype(np.int64)]
        filled[row, column] = value
        left = value == _EMPTY
        row, column = row[left], column[left]
    return filled


def _compute_bands(bins: NDArray[np.uint32], contexts: Hashes) -> NDArray[np.uint32]:
    """Return one 32-bit key for each four bins."""
    key = np.repeat(contexts[:, None], BANDS, axis=1)
    parts = bins.reshape(len(bins), BANDS, PER_BAND).astype(np.uint64)
    for part in range(PER_BAND):
        key = mix64(key ^ parts[:, :, part])
    return (key >> np.uint64(32)).astype(np.uint32)


def jaccard_similarity(one: Hashes, other: Hashes, common: Hashes) -> float:
    """Return the Jaccard similarity of two sets of shingles, without boilerplate if more remains."""
    rare_one, rare_other = one[_without(one, common)], other[_without(other, common)]
    if len(rare_one) + len(rare_other):
        one, other = rare_one, rare_other
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


class NearDuplicateSearch:
    """Tests pairs of rows exactly; caches the shingles of rows that come up repeatedly."""

    def __init__(self, sides_of: Callable[[int], Sides], common: Hashes) -> None:
        """Take a function that returns the normalized sides of a row."""
        self._sides_of, self._common = sides_of, common
        self._kept: OrderedDict[int, tuple[Sides, list[Hashes]]] = OrderedDict()
        self._size = 0  # characters of the rows that are kept

    def is_near_duplicate(self, one: int, other: int) -> bool:
        """Return whether every side of two rows is equal, or long enough and similar."""
        (texts, sets), (other_texts, other_sets) = self._get_row(one), self._get_row(other)
        return len(texts) == len(other_texts) and all(
            self._is_similar(*sides)
            for sides in zip(texts, other_texts, sets, other_sets, strict=True)
        )

    def _is_similar(self, text: str, other: str, hashes: Hashes, other_hashes: Hashes) -> bool:
        if text == other:
            return True
        short, long = sorted((len(text), len(other)))
        # J is at most the ratio of the sizes; nothing else is known of the text beyond LONGEST.
        if short < SHORT or (long > LONGEST and short < THRESHOLD * long):
            return False
        return jaccard_similarity(hashes, other_hashes, self._common) >= THRESHOLD

    def _get_row(self, index: int) -> tuple[Sides, list[Hashes]]:
        if index in self._kept:
            self._kept.move_to_end(index)
        else:
            sides = self._sides_of(index)
            self._kept[index] = (sides, hash_shingles(sides))
            self._size += sum(map(len, sides))
            # At least the two that are being compared.
            while len(self._kept) > 2 and (
                len(self._kept) > _KEPT or self._size > 4 * limits.COMPARED_CHARACTERS
            ):
                _, (dropped, _) = self._kept.popitem(last=False)
                self._size -= sum(map(len, dropped))
        return self._kept[index]


class DuplicateGroups:
    """Disjoint groups of rows 0 … n - 1; the leader of a group is its first row."""

    def __init__(self, rows: int) -> None:
        """Start with every row in a separate group."""
        self.parent = np.arange(rows, dtype=np.int64)

    def find_leader(self, row: int) -> int:
        """Return the first row of the group that a row is in."""
        parent = self.parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, one: int, other: int) -> None:
        """Merge the groups of two rows."""
        one, other = sorted((self.find_leader(one), self.find_leader(other)))
        self.parent[other] = one

    def join_equal(self, keys: NDArray, rows: NDArray[np.int64] | None = None) -> None:
        """Merge the groups of rows with equal keys; `rows` are the rows of the keys, if not all."""
        order = np.argsort(keys, kind="stable")
        same = keys[order[1:]] == keys[order[:-1]]
        pairs = np.column_stack([order[:-1][same], order[1:][same]])
        for one, other in (pairs if rows is None else rows[pairs]).tolist():
            self.join(one, other)

    def find_leaders(self) -> NDArray[np.int64]:
        """Return the leader of every row, [rows]."""
        parent = self.parent
        while not np.array_equal(jumped := parent[parent], parent):
            parent = jumped
        self.parent = parent.copy()
        return parent


def join_near_duplicates(
    groups: DuplicateGroups,
    keys: Callable[[int], NDArray[np.uint32]],
    prints: NDArray[np.uint8],
    comparison: NearDuplicateSearch,
    job: JobContext,
) -> None:
    """Merge the groups of near duplicates; `keys` returns the keys of a band, [rows].

    In each band, every row is compared with the first and the previous one with its key: at most 2 n
    pairs, however many rows are alike. Groups are transitive.
    """
    refused = np.zeros(0, dtype=np.int64)
    rows = len(prints)
    for band in range(BANDS):
        job.report_progress("comparing rows", band, BANDS, "passes")
        pairs = _find_candidates(keys(band), keys((band + 1) % BANDS), prints, job)
        leaders = groups.find_leaders()
        pairs = pairs[leaders[pairs // rows] != leaders[pairs % rows]]
        pairs = pairs[~np.isin(pairs, refused)]
        tested = []
        for number, pair in enumerate(pairs.tolist()):
            if number % 64 == 0:
                job.report_progress("comparing rows", band + number / len(pairs), BANDS, "passes")
            one, other = divmod(pair, rows)
            if groups.find_leader(one) == groups.find_leader(other):
                continue
            if comparison.is_near_duplicate(one, other):
                groups.join(one, other)
            else:
                tested.append(pair)
        refused = np.union1d(refused, np.array(tested, dtype=np.int64))


def _find_candidates(
    keys: NDArray[np.uint32],
    next_keys: NDArray[np.uint32],
    prints: NDArray[np.uint8],
    job: JobContext,
) -> NDArray[np.int64]:
    """Return pairs with equal keys and similar sketches, as first * rows + second, sorted."""
    # Rows that share the next band's key as well become neighbors.
    order = np.lexsort((next_keys, keys))
    same = keys[order[1:]] == keys[order[:-1]]
    position = np.arange(1, len(order))
    began = np.maximum.accumulate(np.where(same, 0, position))
    later = order[1:][same]
    earlier = [order[:-1][same], order[began[same]]]
    pairs = []
    for column in earlier:
        first, second = np.minimum(column, later), np.maximum(column, later)
        for start in range(0, len(first), 100_000):
            job.check()
            one, other = first[start : start + 100_000], second[start : start + 100_000]
            equal = (prints[one] == prints[other]).reshape(-1, _PARTS, _PER_PART).sum(axis=2)
            agree = (equal.sum(axis=1) >= _AGREEING) & (equal >= _AGREEING_IN_PART).all(axis=1)
            pairs.append(one[agree].astype(np.int64) * len(prints) + other[agree])
    return np.unique(np.concatenate(pairs)) if pairs else np.zeros(0, dtype=np.int64)
