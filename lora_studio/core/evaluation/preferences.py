"""How often the answers of one model were preferred to those of another: by a judge, and by people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, Protocol

from lora_studio.core import formatting
from lora_studio.core.chat import AnyChatModel, get_chat_model_key
from lora_studio.core.evaluation import statistics
from lora_studio.core.evaluation.columns import Column, ServerModel, format_model_name
from lora_studio.core.evaluation.results import EvaluationResults, Judgment
from lora_studio.core.evaluation.statistics import Interval
from lora_studio.core.messages import Text, counted, text

PreferenceFinding = Literal["better", "worse", "unclear", "too_few"]


class PreferenceVote(Protocol):
    """A vote of a person on answers of models, without their names; `winner` is None for a tie."""

    @property
    def prompt(self) -> str:
        """What was asked."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        ...

    @property
    def answers(self) -> tuple[str, ...]:
        """The answer of each model."""
        ...

    @property
    def winner(self) -> int | None:
        """The position of the better answer."""
        ...

    @property
    def chat_models(self) -> tuple[AnyChatModel, ...]:
        """The models, () if only their names are known."""
        ...


@dataclass(frozen=True)
class Preference:
    """The comparisons of a column with a baseline: `wins` are those that the column won.

    `unknown` comparisons named no winner and count nowhere. `judge` is the name of the model that
    compared, "" for people.
    """

    column: str
    baseline: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    unknown: int = 0
    judge: str = ""

    @property
    def judged_by(self) -> Text:
        """Who compared: a model, or people."""
        if self.judge:
            return text("Judge {model}", model=self.judge)
        return text("Blind votes in the Playground")

    @property
    def compared(self) -> int:
        """The number of comparisons with a result."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float:
        """The share of comparisons in which the column was preferred; a tie counts half."""
        return (self.wins + self.ties / 2) / self.compared if self.compared else 0.5

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share: Wilson's (1927), for the number of wins and losses without ties
        that would vary as much.

        With scores of 1, ½, and 0, ties reduce the variance p·(1 − p) by ties/4n, so n counts as more by
        the ratio of both: Kish's (1965) effective sample size. Without a win or a loss it is n, because too
        little is known of the variance.
        """
        if not self.compared:
            return Interval(0.0, 1.0)
        share, ties = self.share, self.ties / self.compared
        variance = share * (1 - share)
        ratio = variance / (variance - ties / 4) if self.wins and self.ties and self.losses else 1.0
        return statistics.compute_wilson_interval(share, self.compared * ratio)

    @property
    def finding(self) -> PreferenceFinding:
        """What the comparisons show, by the interval and by the sign test of wins and losses."""
        if self.compared < statistics.FEWEST_ROWS:
            return "too_few"
        p_value = statistics.mcnemar(self.wins, self.losses)
        if self.interval.contains(0.5) or p_value >= 1 - statistics.LEVEL:
            return "unclear"
        return "better" if self.share > 0.5 else "worse"

    @property
    def sentence(self) -> Text:
        """The result in words; the reader knows who is compared with whom."""
        if not self.compared:
            return text("No comparison has a result")
        low, high = (formatting.format_float(100 * end, ".0f") for end in (self.interval.low, self.interval.high))  # fmt: skip
        return text(
            "Preferred in {share} of {comparisons} ({low}–{high} %): {wins}, {losses}, {ties}",
            share=f"{formatting.format_float(100 * self.share, '.0f')} %",
            comparisons=counted(self.compared, "{n} comparison", "{n} comparisons"),
            low=low,
            high=high,
            wins=counted(self.wins, "{n} win", "{n} wins"),
            losses=counted(self.losses, "{n} loss", "{n} losses"),
            ties=counted(self.ties, "{n} tie", "{n} ties"),
        )

    def add(self, winner: str | None) -> Preference:
        """Return this with one more comparison, which `winner` won; "" is a tie, None unknown."""
        if winner is None:
            return replace(self, unknown=self.unknown + 1)
        if winner == self.column:
            return replace(self, wins=self.wins + 1)
        if winner == self.baseline:
            return replace(self, losses=self.losses + 1)
        return replace(self, ties=self.ties + 1)


@dataclass(frozen=True)
class VoteComparison:
    """What a vote says about two columns: the answer of `column`, and the winner's key, "" for a tie."""

    prompt: str
    column: str
    baseline: str
    answer: str
    winner: str


def list_preferences(
    results: EvaluationResults, votes: Iterable[PreferenceVote], baseline: str
) -> list[Preference]:
    """Return the preferences of the judge of an evaluation, then those of people in blind votes."""
    voted = count_votes(results.plan.columns, votes, baseline)
    return [*count_judgments(results), *voted]


def count_judgments(results: EvaluationResults) -> list[Preference]:
    """Return the preferences of the judge for each pair of columns, in the order of the columns."""
    judge = results.plan.judge
    order = {column.key: number for number, column in enumerate(results.plan.columns)}
    judgments = list_judgments(results)  # in the order in which replies arrived
    judgments.sort(key=lambda each: (order[each.first], order[each.second]))
    counted = _count((each.second, each.first, each.winner) for each in judgments)
    name = "" if judge is None else format_model_name(judge.model)
    return [replace(each, judge=name) for each in counted]


def list_judgments(results: EvaluationResults) -> list[Judgment]:
    """Return the judgment of each pair of columns and item; a later one replaces an earlier one."""
    keys = {column.key for column in results.plan.columns}
    latest = {
        (each.second, each.first, each.item): each
        for each in results.judgments
        if {each.first, each.second} <= keys
    }
    return list(latest.values())


def count_votes(
    columns: Sequence[Column], votes: Iterable[PreferenceVote], baseline: str
) -> list[Preference]:
    """Return the preferences of people in blind votes for each pair of columns."""
    found = list_vote_comparisons(columns, votes, baseline)
    order = {column.key: number for number, column in enumerate(columns)}
    found.sort(key=lambda each: (each.baseline != baseline, order[each.baseline], order[each.column]))  # fmt: skip
    return _count((each.column, each.baseline, each.winner) for each in found)


def list_vote_comparisons(
    columns: Sequence[Column], votes: Iterable[PreferenceVote], baseline: str
) -> list[VoteComparison]:
    """Return what each blind vote says about the columns, in the order of the votes.

    Pairs with the column `baseline` are compared with it, other pairs with the earlier column. If
    several models were compared at once, the winner was preferred to each; between two others, the vote
    says nothing. A vote for a model that isn't a column counts nowhere.
    """
    order = {column.key: number for number, column in enumerate(columns)}
    comparisons = []
    for vote in votes:
        keys = _match_columns(columns, vote)
        winner = "" if vote.winner is None else keys[vote.winner]
        known = sorted({key for key in keys if key}, key=lambda key: (key != baseline, order[key]))
        for earlier, later in combinations(known, 2):
            if vote.winner is None or winner in (earlier, later):
                answer = vote.answers[keys.index(later)]
                comparisons.append(VoteComparison(vote.prompt, later, earlier, answer, winner))
    return comparisons


def _match_columns(columns: Sequence[Column], vote: PreferenceVote) -> list[str]:
    """Return the key of the column of each model in a vote, "" for one without a column.

    Votes of earlier versions name models only by a text; one that fits several columns is left out.
    """
    if vote.chat_models:
        models = {column.model.model_dump_json(): column.key for column in columns}
        return [models.get(chat_model.model_dump_json(), "") for chat_model in vote.chat_models]
    names: dict[str, list[str]] = {}
    for column in columns:
        if not isinstance(column.model, ServerModel):
            names.setdefault(get_chat_model_key(column.model), []).append(column.key)
    matches = (names.get(name, []) for name in vote.names)
    return [keys[0] if len(keys) == 1 else "" for keys in matches]


def _count(comparisons: Iterable[tuple[str, str, str | None]]) -> list[Preference]:
    """Return a preference for each pair of a column and its baseline, in order of appearance."""
    counts: dict[tuple[str, str], Preference] = {}
    for column, baseline, winner in comparisons:
        before = counts.get((column, baseline)) or Preference(column, baseline)
        counts[column, baseline] = before.add(winner)
    return list(counts.values())
