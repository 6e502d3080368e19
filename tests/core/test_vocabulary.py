from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.matching import match
from blockmerge.core.pairs import Matching
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.vocabulary import RowRun, Tokens, Vocabulary, compare, map_rows
from blockmerge.errors import PlanError
from tests.core.checkpoints import checkpoint_of, layers

OWN = {"<s>": 0, "cat": 1, "dog": 2, "sun": 3}
OTHER = {"<s>": 0, "dog": 1, "cat": 2, "moon": 4}


def rows_of(tokens: Sequence[Tokens], sizes: Sequence[int], giver: int) -> list[tuple[int | None, ...]]:
    """The map written out row by row."""
    rows: list[tuple[int | None, ...]] = []
    for run in map_rows(tokens, sizes, giver).runs:
        assert run.start == len(rows)
        rows += [tuple(None if row is None else row + step for row in run.rows) for step in range(run.count)]
    return rows


def test_tokens_meet_by_text_and_the_givers_row_is_taken_elsewhere() -> None:
    assert rows_of((OWN, OTHER), (6, 5), giver=0) == [(0, 0), (1, 2), (2, 1), (3, None), (4, None), (5, None)]
    assert rows_of((OWN, OTHER), (6, 5), giver=1) == [(0, 0), (2, 1), (1, 2), (None, 3), (None, 4)]


def test_the_counts_are_those_of_the_givers_rows() -> None:
    rows = map_rows((OWN, OTHER), (6, 5), 0)

    assert (rows.size, rows.in_all, rows.in_giver_only, rows.padding) == (6, 3, 1, 2)


def test_of_several_models_rows_meet_where_all_know_the_token() -> None:
    third = {"cat": 0, "dog": 1}

    rows = map_rows((OWN, OTHER, third), (6, 5, 2), 2)

    assert rows_of((OWN, OTHER, third), (6, 5, 2), giver=2) == [(1, 2, 0), (2, 1, 1)]
    assert (rows.in_all, rows.takes_all(2), rows.takes_all(0)) == (2, True, False)
    assert rows.runs_for([0]) == (RowRun(0, 1, (1, 0)), RowRun(1, 1, (2, 1)))


def test_neighbours_are_one_run() -> None:
    tokens = {f"t{row}": row for row in range(100)}
    shifted = {f"t{row}": row + 7 for row in range(100)}

    assert map_rows((tokens, shifted), (100, 107), 0).runs == (RowRun(0, 100, (0, 7)),)


VOCABULARIES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9), max_size=8).map(
    lambda drawn: {token: row for row, token in {row: token for token, row in drawn.items()}.items()}
)


@given(VOCABULARIES, VOCABULARIES, st.integers(1, 10), st.integers(1, 10), st.sampled_from([0, 1]))
def test_every_row_of_the_giver_stands_once_and_partners_are_the_same_token(
    own: Tokens, other: Tokens, own_size: int, other_size: int, giver: int
) -> None:
    sizes = (own_size, other_size)
    rows = rows_of((own, other), sizes, giver)

    assert [row[giver] for row in rows] == list(range(sizes[giver]))
    for one, two in rows:
        if one is not None and two is not None:
            assert two < other_size
            assert one < own_size
            assert {token for token, row in own.items() if row == one} == {t for t, row in other.items() if row == two}


@pytest.mark.parametrize(
    ("own", "other", "sizes", "reason", "note"),
    [
        (Vocabulary("x"), Vocabulary("x"), (4, 4), "", ""),
        (Vocabulary("x", OWN), Vocabulary("y", dict(OWN)), (4, 4), "", ""),
        (
            Vocabulary(),
            Vocabulary(),
            (4, 4),
            "",
            "Neither A nor B brings tokenizer files, so the rows of the embeddings are matched by number.",
        ),
        (
            Vocabulary("x"),
            Vocabulary(),
            (4, 4),
            "",
            "B brings no tokenizer files, so the rows of the embeddings are matched by number.",
        ),
        (Vocabulary(), Vocabulary("x"), (4, 5), "A has 4 rows, B has 5 rows, and A brings no tokenizer files", ""),
        (
            Vocabulary("x", OWN),
            Vocabulary("y", None, "tekken.json is of a format that is not read"),
            (4, 4),
            "the vocabularies differ, and that of B cannot be read (tekken.json is of a format that is not read)",
            "",
        ),
    ],
)
def test_vocabularies_are_compared_even_at_equal_sizes(
    own: Vocabulary, other: Vocabulary, sizes: tuple[int, int], reason: str, note: str
) -> None:
    comparison = compare(("A", "B"), (own, other), sizes)

    assert (comparison.tokens, comparison.reason, comparison.note) == (None, reason, note)
    assert comparison.is_same == (not reason)


def test_equal_sizes_with_other_numbers_are_matched_by_token() -> None:
    comparison = compare(("A", "B"), (Vocabulary("x", OWN), Vocabulary("y", OTHER)), (5, 5))

    assert comparison.tokens == (OWN, OTHER)


def match_vocabularies(sizes: tuple[int, int], tokens: tuple[Tokens | None, Tokens | None], tokenizer: str) -> Matching:
    def make(size: int, digest: str, held: Tokens | None) -> object:
        shapes = {
            "model.embed_tokens.weight": (size, 8),
            **layers("model.layers"),
            "final_logits_bias": (1, size),
            "lm_head.weight": (size, 8),
            "lm_head.bias": (size,),
        }
        config = {"num_hidden_layers": 3, "vocab_size": size, "tie_word_embeddings": False}
        return checkpoint_of(shapes, config, vocabulary=Vocabulary(digest, held, "" if held else "no reader"))

    a, b = make(sizes[0], "x", tokens[0]), make(sizes[1], "y", tokens[1])
    return match(("a", "b"), {"a": a, "b": b}, tokenizer)  # type: ignore[dict-item]


@pytest.mark.parametrize(("tokenizer", "size"), [("a", 6), ("b", 5)])
def test_44_embeddings_head_and_its_bias_follow_the_tokenizer(tokenizer: str, size: int) -> None:
    matching = match_vocabularies((6, 5), (OWN, OTHER), tokenizer)

    assert matching.problems == ()
    mapped = {pair.name: pair.shape for pair in matching.pairs if pair.rows is not None}
    assert mapped == {"model.embed_tokens.weight": (size, 8), "lm_head.weight": (size, 8), "lm_head.bias": (size,)}
    columns = next(pair for pair in matching.pairs if pair.name == "final_logits_bias")
    assert [key for key, _ in columns.sources] == [tokenizer]
    assert columns.copy_reason == "its columns are tokens, and the vocabularies differ"


def test_the_counts_are_a_line_in_the_plan() -> None:
    assert match_vocabularies((6, 5), (OWN, OTHER), "a").notes == (
        "Vocabulary: 3 tokens are in both and are merged, 1 only in A and come from there, 1 only in B and are left "
        "out; 2 rows without a token come from A.",
    )


@pytest.mark.parametrize("tokenizer", ["a", "b"])
def test_a_vocabulary_that_cannot_be_read_leaves_all_rows_to_one_model(tokenizer: str) -> None:
    matching = match_vocabularies((6, 5), (OWN, None), tokenizer)

    copied = [pair for pair in matching.pairs if pair.copy_reason]
    reason = "the vocabularies differ, and that of B cannot be read (no reader)"
    assert {key for pair in copied for key, _ in pair.sources} == {tokenizer}
    assert matching.notes == (
        f"model.embed_tokens.weight, lm_head.weight, lm_head.bias: all rows are those of {tokenizer.upper()}, "
        f"as {reason}.",
    )


def test_rows_that_only_the_owner_has_cannot_stand_under_the_vocabulary_of_the_other() -> None:
    shapes = {"model.embed_tokens.weight": (5, 8), **layers("model.layers"), "lm_head.weight": (5, 8)}
    config = {"num_hidden_layers": 3, "vocab_size": 5, "tie_word_embeddings": False}
    a = checkpoint_of({**shapes, "lm_head.bias": (5,)}, config, vocabulary=Vocabulary("x", OWN))
    b = checkpoint_of(shapes, config, vocabulary=Vocabulary("y", OTHER))

    assert match(("a", "b"), {"a": a, "b": b}, "a").problems == ()
    assert match(("a", "b"), {"a": a, "b": b}, "b").problems == (
        "lm_head.bias has a row for each token of A, but the result has the vocabulary of B, where there is no such "
        "tensor. Write 'tokenizer: a' under output.",
    )
    recipe = parse_recipe("blockmerge: 1\nmodels: {a: A, b: B}\nweights: {layers: 0.5}\noutput: {tokenizer: c}\n")
    with pytest.raises(PlanError, match=r"^output\.tokenizer: 'c' is none of the models a, b\.$"):
        make_plan(recipe, {"a": a, "b": b})
