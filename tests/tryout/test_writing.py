"""A model goes on with a text: seeds, stops, and models and tokenizers that mean harm."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from blockmerge.tryout.child.model import Model, NoAnswerError
from blockmerge.tryout.child.writing import write
from blockmerge.tryout.messages import Ended, Generate, Message, Noted, Written
from tests.tryout.models import ENDLESS, HUGE, LOWERCASE, POLITE, copied, loaded, with_nan, with_pattern

PROMPT = "this function returns "


@pytest.fixture(scope="module")
def lowercase() -> Model:
    return loaded(LOWERCASE)


def asked(text: str = PROMPT, *, chat: bool = False, seed: int = 7, heat: float = 0.7, length: int = 24) -> Generate:
    return Generate(text, (), chat, True, seed, heat, length)


def answer(
    model: Model, question: Generate, is_stopped: Callable[[list[Message]], bool] = lambda _: False
) -> tuple[list[Message], str, Ended]:
    """All that was said, the last text, and how it ended."""
    said: list[Message] = []
    ended = write(model, question, said.append, lambda: is_stopped(said))
    return said, [message.text for message in said if isinstance(message, Written)][-1], ended


def notes(said: list[Message]) -> list[str]:
    return [message.sentence for message in said if isinstance(message, Noted)]


def test_the_same_seed_writes_the_same_text_and_another_another(lowercase: Model) -> None:
    first, again, other = (answer(lowercase, asked(seed=seed))[1] for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_at_temperature_0_it_writes_what_transformers_writes(lowercase: Model) -> None:
    net = AutoModelForCausalLM.from_pretrained(LOWERCASE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(LOWERCASE)
    tokens = tokenizer(PROMPT, return_tensors="pt")
    expected = net.generate(**tokens, max_new_tokens=24, do_sample=False)[0, tokens["input_ids"].shape[1] :]

    _, text, ended = answer(lowercase, asked(heat=0))

    assert text == tokenizer.decode(expected, skip_special_tokens=True)
    assert ended == Ended("length")


def test_the_text_grows_by_whole_letters(lowercase: Model) -> None:
    said, text, _ = answer(lowercase, asked())

    texts = [message.text for message in said if isinstance(message, Written)]
    assert len(texts) > 1
    assert all(text.startswith(part) and "\ufffd" not in part for part in texts)


def test_a_stop_ends_it_before_the_next_token(lowercase: Model) -> None:
    def two_told(said: list[Message]) -> bool:
        return sum(isinstance(message, Written) for message in said) >= 2

    said, _, ended = answer(lowercase, asked(length=200), two_told)

    assert ended == Ended("stopped")
    assert isinstance(said[-1], Written)
    assert said[-1].tokens < 100


def test_a_stop_while_the_prompt_is_read_ends_it_too(lowercase: Model) -> None:
    assert answer(lowercase, asked("x" * 200), lambda _: True)[1:] == ("", Ended("stopped"))


def test_without_a_template_a_chat_is_plain_text(lowercase: Model) -> None:
    said, text, _ = answer(lowercase, asked(chat=True))

    assert notes(said) == ["This model has no chat template: it goes on with the prompt as plain text."]
    assert text == answer(lowercase, asked())[1]


def test_a_chat_is_written_down_as_the_template_says(tmp_path: Path) -> None:
    model = loaded(copied(tmp_path / "polite", template=POLITE))
    question = Generate("b", (("a", "yes"),), True, True, 7, 0.7, 12)

    said, text, _ = answer(model, question)

    assert notes(said) == []
    assert text == answer(model, asked("[user] a\n[assistant] yes\n[user] b\n[assistant] ", length=12))[1]


@pytest.mark.parametrize(
    ("template", "note"),
    [
        (HUGE, "The chat template needed too much memory; plain prompt used."),
        ("{{ raise_exception('No.') }}", "The chat template failed (No); plain prompt used."),
        (
            "{% if %}",
            "The chat template failed (Expected an expression, got 'end of statement block'); plain prompt used.",
        ),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", None),
    ],
)
def test_a_template_that_means_harm_is_left_out(
    tmp_path: Path, lowercase: Model, template: str, note: str | None
) -> None:
    model = loaded(copied(tmp_path / "hostile", template=template))

    said, text, _ = answer(model, asked(chat=True))

    assert len(notes(said)) == 1
    assert notes(said)[0] == note or (note is None and "unsafe" in notes(said)[0])
    assert text == answer(lowercase, asked())[1]


def test_a_template_without_end_is_not_rendered_when_told_so(tmp_path: Path) -> None:
    model = loaded(copied(tmp_path / "hostile", template=ENDLESS))

    said, _, ended = answer(model, Generate(PROMPT, (), True, False, 7, 0.7, 4))

    assert ended == Ended("length")
    assert notes(said) == []


def test_a_tokenizer_that_panics_is_a_sentence(tmp_path: Path) -> None:
    model = loaded(with_pattern(copied(tmp_path / "hostile"), "(a+)+$"))

    with pytest.raises(NoAnswerError, match=r"^The tokenizer failed on this text\.$"):
        answer(model, asked("a" * 60 + "!"))

    assert answer(model, asked("b"))[2] == Ended("length")


def test_weights_that_are_no_numbers_are_a_sentence(tmp_path: Path) -> None:
    model = loaded(with_nan(copied(tmp_path / "broken")))

    with pytest.raises(NoAnswerError, match=r"^This model computes NaN, not numbers, so it has no answer\."):
        answer(model, asked())


def test_a_prompt_that_is_longer_than_the_model_reads_is_a_sentence(lowercase: Model) -> None:
    with pytest.raises(NoAnswerError, match=r"^The prompt has 300 tokens, and this model reads 256 at most\."):
        answer(lowercase, asked("x" * 300))


def test_an_answer_ends_where_the_model_reads_no_more(lowercase: Model) -> None:
    said, _, ended = answer(lowercase, asked("x" * 250, length=100))

    assert isinstance(said[-1], Written)
    assert said[-1].tokens <= 6
    assert ended.reason in ("length", "end")


def test_a_text_of_special_tokens_is_no_html_and_no_end(lowercase: Model) -> None:
    assert answer(lowercase, asked("<|endoftext|><img src=x>"))[2].reason in ("length", "end")


def test_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    folder = copied(tmp_path / "trojan")
    canary = tmp_path / "canary"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "custom_generate").mkdir()
    for file in (folder / "evil.py", folder / "custom_generate" / "generate.py"):
        file.write_text(f"import pathlib; pathlib.Path({str(canary)!r}).touch()\ndef generate(*a, **k): pass\n")

    with suppress(NoAnswerError):  # refused is as good as ignored
        answer(loaded(folder), asked(length=2))

    assert not canary.exists()


@pytest.mark.parametrize("config", [{"hidden_size": 10**15}, {"num_attention_heads": 7}, {"vocab_size": -1}])
def test_a_config_that_does_not_fit_the_weights_is_a_sentence(tmp_path: Path, config: dict[str, int]) -> None:
    folder = copied(tmp_path / "odd")
    (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()), **config}))

    with pytest.raises(NoAnswerError, match=r"^transformers cannot load odd: "):
        loaded(folder)


def test_an_unknown_architecture_is_a_sentence() -> None:
    with pytest.raises(NoAnswerError, match=r"^This transformers does not know NoSuchForCausalLM, so lowercase cannot"):
        loaded(LOWERCASE, "NoSuchForCausalLM")


def test_a_model_without_a_tokenizer_is_a_sentence(tmp_path: Path) -> None:
    folder = copied(tmp_path / "mute")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()

    with pytest.raises(NoAnswerError, match=r"^mute has no tokenizer that transformers can read, so it cannot be tri"):
        loaded(folder)
