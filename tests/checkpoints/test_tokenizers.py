import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers

from blockmerge.checkpoints.models import open_models
from blockmerge.checkpoints.tokenizers import identify_vocabulary, read_vocabulary
from blockmerge.core.vocabulary import Vocabulary
from blockmerge.errors import BlockmergeError
from tests.tiny_models import write_llama, write_tokenizer

SPECIAL: Any = {"vocab_size": 30, "special_tokens": ["<s>"], "show_progress": False}
TEXT = ["the cat sat on the mat", "the dog ran"] * 4


def read(folder: Path, **files: Any) -> Vocabulary:
    """In the names __ is a dot; what is no bytes and no text is written as JSON."""
    names = []
    for key, content in files.items():
        name = key.replace("__", ".")
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content))
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        names.append(name)
    return read_vocabulary(folder, names)


def varint(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def sentencepiece(*pieces: str) -> bytes:
    """A ModelProto with pieces of a text, a score and a type, and a trainer's settings behind them."""
    body = b"".join(
        field(1, field(1, piece.encode()) + b"\x15\x00\x00\x80\xbf" + varint(3 << 3) + varint(1)) for piece in pieces
    )
    return body + field(2, b"\x0a\x03abc")


@pytest.mark.parametrize(
    ("model", "trainer"),
    [
        (models.BPE(), trainers.BpeTrainer(vocab_size=40, special_tokens=["<s>"], show_progress=False)),
        (
            models.WordPiece(unk_token="<s>"),
            trainers.WordPieceTrainer(vocab_size=40, special_tokens=["<s>"], show_progress=False),
        ),
        (
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=30, special_tokens=["<s>"], unk_token="<s>", show_progress=False),
        ),
        (models.WordLevel(unk_token="<s>"), trainers.WordLevelTrainer(special_tokens=["<s>"], show_progress=False)),
    ],
)
def test_a_tokenizer_json_is_read_as_the_library_does(tmp_path: Path, model: Any, trainer: Any) -> None:
    tokenizer = Tokenizer(model)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens(["<added>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert read_vocabulary(tmp_path, ["tokenizer.json"]).tokens == tokenizer.get_vocab(with_added_tokens=True)


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({"vocab__json": {"a": 0, "b": 1}, "merges__txt": "x"}, {"a": 0, "b": 1}),
        ({"vocab__json": {"a": 0}, "added_tokens__json": {"<x>": 5}}, {"a": 0, "<x>": 5}),
        (
            {"vocab__json": {"a": 0}, "tokenizer_config__json": {"added_tokens_decoder": {"7": {"content": "<x>"}}}},
            {"a": 0, "<x>": 7},
        ),
        ({"vocab__txt": "[PAD]\n##a\né\r\n"}, {"[PAD]": 0, "##a": 1, "é": 2}),
        ({"tokenizer__model": sentencepiece("<unk>", "▁the", "é" * 100)}, {"<unk>": 0, "▁the": 1, "é" * 100: 2}),
        ({"spiece__model": sentencepiece("a"), "added_tokens__json": {"<x>": 1}}, {"a": 0, "<x>": 1}),
        ({"vocab__txt": "a", "vocab__json": {"b": 0}}, {"b": 0}),
    ],
)
def test_other_formats_give_their_tokens(tmp_path: Path, files: Mapping[str, Any], tokens: dict[str, int]) -> None:
    assert read(tmp_path, **files).tokens == tokens


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"tokenizer__json": "{"}, "tokenizer.json is not valid: expecting property name"),
        ({"tokenizer__json": {"model": {}}}, "tokenizer.json has no vocabulary under 'model'"),
        ({"tokenizer__json": {"model": {"vocab": [1]}}}, "tokenizer.json has no token in row 0 of its vocabulary"),
        ({"vocab__json": {"a": "x"}}, "vocab.json gives the token 'a' no row"),
        ({"vocab__txt": b"\xff"}, "vocab.txt is not UTF-8"),
        ({"tokenizer__model": b"IQ== 0\nIg== 1\n"}, "tokenizer.model is no sentencepiece model"),
        ({"sentencepiece__bpe__model": sentencepiece("a")}, "sentencepiece.bpe.model is of a format that is not read"),
        ({"tekken__json": {}}, "tekken.json is of a format that is not read"),
        ({"qwen__tiktoken": "x"}, "qwen.tiktoken is of a format that is not read"),
    ],
)
def test_what_cannot_be_read_says_why_and_has_a_digest(tmp_path: Path, files: Mapping[str, Any], problem: str) -> None:
    vocabulary = read(tmp_path, **files)

    assert vocabulary.tokens is None
    assert vocabulary.problem.startswith(problem)
    assert vocabulary.digest


def test_a_folder_without_tokenizer_files_has_no_vocabulary(tmp_path: Path) -> None:
    assert identify_vocabulary(tmp_path, ["config.json"]) == Vocabulary()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_sentencepiece_model_or_said_not_to_be(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("pieces")

    vocabulary = read(folder, tokenizer__model=content)

    assert (vocabulary.tokens is None) == bool(vocabulary.problem)


def test_tokens_are_read_only_where_the_files_differ(tmp_path: Path) -> None:
    for key, vocab in (("a", 64), ("b", 64), ("c", 63)):
        write_tokenizer(write_llama(tmp_path / key, vocab=64), vocab=vocab)

    def tokens(*keys: str) -> list[int | None]:
        opened = open_models({key: str(tmp_path / key) for key in keys}).values()
        return [held.vocabulary.tokens and len(held.vocabulary.tokens) for held in opened]

    assert tokens("a", "b") == [None, None]
    assert tokens("a", "c") == [64, 63]


def test_a_tokenizer_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(100 * 10**6 + 1)

    with pytest.raises(BlockmergeError) as caught:
        identify_vocabulary(tmp_path, ["tokenizer.json"])

    assert str(caught.value) == (
        "tokenizer.json is 100,000,001 bytes long, at most 100,000,000 are read. Is this the right file?"
    )
