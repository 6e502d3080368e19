"""Losses, gaps and likenesses, against the same computed by hand."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from blockmerge.tryout.child.measuring import compare, fill, score
from blockmerge.tryout.child.model import Model, NoAnswerError
from blockmerge.tryout.messages import Compare, Fill, Message, Score
from tests.engine.merges import merge, plan_for
from tests.tryout.models import CAPITALS, LOWERCASE, POLITE, copied, loaded, with_nan, write_bert

TEXT = "the list of the names"


@pytest.fixture(scope="module")
def lowercase() -> Model:
    return loaded(LOWERCASE)


def silent(_: Message) -> None:
    pass


def test_the_loss_of_a_text_is_that_of_transformers(lowercase: Model) -> None:
    net = AutoModelForCausalLM.from_pretrained(LOWERCASE, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(LOWERCASE)(TEXT, return_tensors="pt")["input_ids"]
    expected = net(input_ids=ids, labels=ids).loss.item()

    scored = score(lowercase, Score(TEXT, "", False, True), silent)

    # One sum in float32 there, in float64 here.
    assert scored.loss == pytest.approx(expected, abs=1e-5)
    assert scored.tokens == len(TEXT) - 1


def test_the_probabilities_of_two_halves_multiply_to_that_of_the_whole(lowercase: Model) -> None:
    whole = score(lowercase, Score("abcd", "x", False, True), silent)
    first = score(lowercase, Score("ab", "x", False, True), silent)
    second = score(lowercase, Score("cd", "xab", False, True), silent)

    total = first.loss * first.tokens + second.loss * second.tokens
    assert whole.loss * whole.tokens == pytest.approx(total, abs=1e-4)


def test_each_model_finds_its_own_style_likelier(lowercase: Model) -> None:
    capitals = loaded(CAPITALS)

    def loss(model: Model, text: str) -> float:
        return score(model, Score(text, "", False, True), silent).loss

    assert loss(lowercase, TEXT) < loss(capitals, TEXT)
    assert loss(capitals, TEXT.upper()) < loss(lowercase, TEXT.upper())


def test_a_quarter_of_the_example_pair_lies_between_its_parents_on_the_style_of_each(
    lowercase: Model, tmp_path: Path
) -> None:
    """The same as of the real pair in facts: on both texts the merge is second."""
    merge(plan_for(LOWERCASE, CAPITALS, 0.25), tmp_path / "merged")
    merged, capitals = loaded(tmp_path / "merged"), loaded(CAPITALS)

    def losses(text: str) -> list[float]:
        return [score(model, Score(text, "", False, True), silent).loss for model in (lowercase, merged, capitals)]

    assert losses(TEXT) == sorted(losses(TEXT))
    assert losses(TEXT.upper()) == sorted(losses(TEXT.upper()), reverse=True)


def test_in_a_chat_the_text_is_the_answer(tmp_path: Path) -> None:
    model = loaded(copied(tmp_path / "polite", template=POLITE))

    as_chat = score(model, Score("yes", "a", True, True), silent)

    assert as_chat == score(model, Score("yes", "[user] a\n[assistant] ", False, True), silent)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x", "The text is too short to be measured. Two words are enough."),
        ("x" * 300, "The text has 300 tokens; 256 at most are measured. Shorten it."),
    ],
)
def test_a_text_that_cannot_be_measured_is_a_sentence(lowercase: Model, text: str, sentence: str) -> None:
    with pytest.raises(NoAnswerError) as told:
        score(lowercase, Score(text, "", False, True), silent)

    assert str(told.value) == sentence


def test_weights_that_are_no_numbers_have_no_figure(tmp_path: Path) -> None:
    model = loaded(with_nan(copied(tmp_path / "broken")))

    with pytest.raises(NoAnswerError, match=r"^This model computes NaN"):
        score(model, Score(TEXT, "", False, True), silent)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert", "BertForMaskedLM")


def test_a_gap_is_filled_with_the_likeliest_words(bert: Path) -> None:
    net = AutoModelForMaskedLM.from_pretrained(bert)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    tokens = tokenizer("the cat [MASK] .", return_tensors="pt")
    shares = net(input_ids=tokens["input_ids"]).logits[0, 3].softmax(-1)

    filled = fill(loaded(bert, "BertForMaskedLM"), Fill("the cat [MASK] ."), silent)

    assert len(filled.words) == 5
    assert [share for _, share in filled.words] == pytest.approx(shares.topk(5).values.tolist(), abs=1e-6)
    assert filled.words[0][0] == tokenizer.decode([int(shares.argmax())]).strip()


@pytest.mark.parametrize("text", ["the cat sat .", "the [MASK] [MASK] ."])
def test_a_sentence_has_one_gap(bert: Path, text: str) -> None:
    with pytest.raises(NoAnswerError, match=r"^Write \[MASK\] once, where a word is missing\.$"):
        fill(loaded(bert, "BertForMaskedLM"), Fill(text), silent)


def test_likeness_is_the_cosine_of_the_means(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "reader", "BertModel")
    net, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    means = [
        net(input_ids=tokenizer(text, return_tensors="pt")["input_ids"]).last_hidden_state[0].mean(0)
        for text in ("the cat sat .", "a dog ran .")
    ]
    model = loaded(folder, "BertModel")

    alike = compare(model, Compare("the cat sat .", "a dog ran ."), silent).similarity

    assert alike == pytest.approx(torch.nn.functional.cosine_similarity(*means, dim=0).item(), abs=1e-6)
    assert compare(model, Compare("a cat", "a cat"), silent).similarity == pytest.approx(1, abs=1e-6)


def test_a_sentence_that_is_too_long_for_the_model_is_told(tmp_path: Path) -> None:
    model = loaded(write_bert(tmp_path / "reader", "BertModel"), "BertModel")

    with pytest.raises(NoAnswerError, match=r"^The text has 42 tokens, and this model reads 24 at most\."):
        compare(model, Compare("cat " * 40, "a"), silent)
