"""Vocabularies: which row of one model's embeddings means the same token as which row of the other's.

Tokens are matched by their text, never by their number: two vocabularies of one size may number their tokens otherwise,
and then an average by number would mix the meanings of words in silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Tokens = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the tokenizer files of a checkpoint say. Equal digests mean equal files; "" means that there are none.

    `tokens` is None where nobody had to read them or nobody could; `problem` is then the reason why not.
    """

    digest: str = ""
    tokens: Tokens | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RowRun:
    """Rows of a result that follow each other in every source too: `rows` is the first row of each, or None where the
    source has none."""

    start: int
    count: int
    rows: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class RowMap:
    """Where each row of the result comes from, in order; `size` is their number.

    The result has the vocabulary of source number `giver`, so every row is one of its rows.
    """

    size: int
    giver: int
    runs: tuple[RowRun, ...]
    in_all: int
    in_giver_only: int
    padding: int

    def takes_all(self, source: int) -> bool:
        """Every row of the result is a row of this source, the same one: its tensor can be copied whole."""
        return all(run.rows[source] == run.start for run in self.runs)

    def runs_for(self, sources: Sequence[int]) -> tuple[RowRun, ...]:
        """The runs for some of the sources, with the giver's rows behind them."""
        return tuple(
            RowRun(run.start, run.count, (*(run.rows[source] for source in sources), run.rows[self.giver]))
            for run in self.runs
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How vocabularies relate. `tokens` are those of every model where rows have to be matched by them; `reason` says
    why they cannot be, and `note` is a sentence for the person."""

    tokens: tuple[Tokens, ...] | None = None
    reason: str = ""
    note: str = ""
    is_same: bool = True


def compare(labels: Sequence[str], vocabularies: Sequence[Vocabulary], sizes: Sequence[int]) -> Comparison:
    """Whether rows meet by number, by token, or not at all. `sizes` are the rows of all embeddings."""
    are_equal = len(set(sizes)) == 1
    digests = {held.digest for held in vocabularies}
    if "" in digests:
        return _compare_without_files(labels, vocabularies, sizes)
    if are_equal and len(digests) == 1:
        return Comparison()
    read = [held.tokens for held in vocabularies if held.tokens is not None]
    if len(read) < len(vocabularies):
        who, held = next((name, held) for name, held in zip(labels, vocabularies, strict=True) if held.tokens is None)
        problem = held.problem or "its files were not asked for"
        return Comparison(
            reason=f"the vocabularies differ, and that of {who} cannot be read ({problem})", is_same=False
        )
    if are_equal and all(tokens == read[0] for tokens in read):
        return Comparison()
    return Comparison(tuple(read), is_same=False)


def _compare_without_files(
    labels: Sequence[str], vocabularies: Sequence[Vocabulary], sizes: Sequence[int]
) -> Comparison:
    lacking = [name for name, held in zip(labels, vocabularies, strict=True) if not held.digest]
    if len(lacking) == len(labels) == 2:
        missing = f"neither {labels[0]} nor {labels[1]} brings tokenizer files"
    else:
        missing = f"{' and '.join(lacking)} {'brings' if len(lacking) == 1 else 'bring'} no tokenizer files"
    if len(set(sizes)) == 1 and len({held.digest for held in vocabularies} - {""}) < 2:
        sentence = f"{missing[0].upper()}{missing[1:]}"
        return Comparison(note=f"{sentence}, so the rows of the embeddings are matched by number.")
    held = ", ".join(f"{name} has {size:,} rows" for name, size in zip(labels, sizes, strict=True))
    return Comparison(reason=f"{held}, and {missing}", is_same=False)


def map_rows(tokens: Sequence[Tokens], sizes: Sequence[int], giver: int) -> RowMap:
    """The rows of the result, which has the vocabulary of model number `giver`; `sizes` are the rows of all models."""
    names: list[str | None] = [None] * sizes[giver]
    for token, row in tokens[giver].items():
        if row < len(names):
            names[row] = token
    columns = [
        list(range(len(names))) if number == giver else _rows_of(names, held, size)
        for number, (held, size) in enumerate(zip(tokens, sizes, strict=True))
    ]
    rows = list(zip(*columns, strict=True))
    in_all = sum(None not in row for row in rows)
    padding = sum(token is None for token in names)
    return RowMap(len(names), giver, _runs(rows), in_all, len(names) - in_all - padding, padding)


def _rows_of(names: Sequence[str | None], tokens: Tokens, size: int) -> list[int | None]:
    found = (None if name is None else tokens.get(name) for name in names)
    return [row if row is not None and row < size else None for row in found]


def _runs(rows: Sequence[tuple[int | None, ...]]) -> tuple[RowRun, ...]:
    """Rows that follow each other in every source, joined."""
    runs: list[RowRun] = []
    start = 0
    for number in range(1, len(rows) + 1):
        expected = tuple(None if first is None else first + number - start for first in rows[start])
        if number == len(rows) or rows[number] != expected:
            runs.append(RowRun(start, number - start, rows[start]))
            start = number
    return tuple(runs)
