"""The rows of embeddings and heads of several checkpoints, matched by what their tokenizers say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from blockmerge.core.heads import TOKEN_COLUMNS, TokenRows, find_vocabulary
from blockmerge.core.pairs import Pair, label
from blockmerge.core.tensors import Checkpoint
from blockmerge.core.vocabulary import Comparison, RowMap, compare, map_rows


@dataclass(frozen=True, slots=True)
class TokenMatching:
    """The models' rows for tokens: which tensors have them, and how they are matched. `giver` is the key of the model
    whose vocabulary the result has."""

    keys: tuple[str, ...]
    rows: Mapping[str, TokenRows]
    comparison: Comparison
    giver: str

    @classmethod
    def of(
        cls,
        keys: tuple[str, ...],
        checkpoints: Mapping[str, Checkpoint],
        giver: str,
        pairs: Iterable[Pair],
    ) -> "TokenMatching":
        """Layouts are looked at again only where files or shapes differ."""
        vocabularies = [checkpoints[key].vocabulary for key in keys]
        digests = {held.digest for held in vocabularies}
        if len(digests) == 1 and "" not in digests and all(_shapes_agree(pair) for pair in pairs):
            return cls(keys, {}, Comparison(), giver)
        owner = checkpoints[keys[0]]
        rows = {key: find_vocabulary(checkpoints[key], checkpoints[key].layout_beside(owner)) for key in keys}
        sizes = [rows[key].count for key in keys]
        comparison = compare([label(key) for key in keys], vocabularies, sizes) if all(sizes) else Comparison()
        return cls(keys, rows, comparison, giver)

    @property
    def takes_other_rows(self) -> bool:
        return self.giver != self.keys[0] and not self.comparison.is_same

    def match_rows(self, pair: Pair) -> Pair:
        """The pair with its rows matched by token, or with one model's tensor where that cannot be done."""
        if self.comparison.is_same or pair.copy_reason:
            return pair
        if all(
            tensor.name.endswith(TOKEN_COLUMNS) and tensor.shape[-1] == self.rows[key].count
            for key, tensor in pair.sources
        ):
            return self._copied(pair, "its columns are tokens, and the vocabularies differ")
        if not all(tensor.name in self.rows[key].names for key, tensor in pair.sources):
            return pair
        if self.comparison.tokens is None:
            return self._copied(pair, self.comparison.reason)
        return replace(pair, rows=self._row_map())

    def strangers(self, pairs: Iterable[Pair]) -> Iterable[str]:
        """Why rows of one vocabulary would stand under another: only one model has them, and it is not the giver."""
        for pair in pairs if self.takes_other_rows else ():
            (key, tensor), *others = pair.sources
            if pair.copy_reason and not others and key != self.giver and tensor.name in self.rows[key].names:
                yield (
                    f"{pair.name} has a row for each token of {label(key)}, but the result has the vocabulary of "
                    f"{label(self.giver)}, where there is no such tensor. Write 'tokenizer: {key}' under output."
                )

    def _row_map(self) -> RowMap:
        assert self.comparison.tokens is not None
        sizes = [self.rows[key].count for key in self.keys]
        return map_rows(self.comparison.tokens, sizes, self.keys.index(self.giver))

    def _copied(self, pair: Pair, reason: str) -> Pair:
        source = next(source for source in pair.sources if source[0] == self.giver)
        return replace(pair, sources=(source,), copy_reason=reason, owner_dtype=pair.sources[0].tensor.dtype)

    def notes(self, pairs: Sequence[Pair]) -> Iterable[str]:
        """What became of the vocabularies."""
        if self.comparison.note:
            yield self.comparison.note
        giver = label(self.giver)
        copied = [pair.name for pair in pairs if self.comparison.reason and pair.copy_reason == self.comparison.reason]
        if copied:
            yield f"{', '.join(copied)}: all rows are those of {giver}, as {self.comparison.reason}."
        rows = next((pair.rows for pair in pairs if pair.rows is not None), None)
        if rows is not None:
            many = "both" if len(self.keys) == 2 else "all"
            dropped = ", ".join(f"{count:,} only in {label(key)}" for key, count in self._dropped(rows))
            yield (
                f"Vocabulary: {rows.in_all:,} tokens are in {many} and are merged, {rows.in_giver_only:,} "
                f"{'only in' if len(self.keys) == 2 else 'not in all come from'} {giver}"
                f"{' and come from there' if len(self.keys) == 2 else ''}, {dropped} and are left out; "
                f"{rows.padding:,} rows without a token come from {giver}."
            )

    def _dropped(self, rows: RowMap) -> Iterable[tuple[str, int]]:
        """How many tokens of each other model the giver does not know."""
        assert self.comparison.tokens is not None
        known = self.comparison.tokens[rows.giver]
        for number, key in enumerate(self.keys):
            if number != rows.giver:
                held = self.comparison.tokens[number]
                yield key, sum(row < self.rows[key].count and token not in known for token, row in held.items())


def _shapes_agree(pair: Pair) -> bool:
    return all(tensor.shape == pair.sources[0][1].shape for _, tensor in pair.sources)
