"""The vocabulary of a checkpoint, from its tokenizer's files: which token has which row of the embeddings.

Read from the first of these that is there: tokenizer.json, vocab.json, vocab.txt, a sentencepiece model; beside the
last three, added tokens come from added_tokens.json and tokenizer_config.json.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from blockmerge.checkpoints.files import read_whole
from blockmerge.checkpoints.strict_json import parse_object, shown
from blockmerge.core.vocabulary import Vocabulary
from blockmerge.errors import CheckpointError

MAX_BYTES = 100 * 10**6

_WHOLE = ("tokenizer.json",)
_PARTS = ("vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
# Formats that say which tokens there are, but not which row each has: XLM-R and mBART put the pieces of
# sentencepiece.bpe.model one row further and move the special ones, and the others' special tokens stand in code.
_UNREAD = ("sentencepiece.bpe.model", "tekken.json", "source.spm", "vocab-src.json")
_ADDED = "added_tokens.json"
_CONFIG = "tokenizer_config.json"
_PIECE, _TEXT = 1, 1  # field numbers of sentencepiece_model.proto: ModelProto.pieces, SentencePiece.piece


def identify_vocabulary(folder: Path, files: Collection[str]) -> Vocabulary:
    """A digest of the files that hold the vocabulary; its tokens are left to read_vocabulary."""
    names = vocabulary_files(files)
    if not names:
        return Vocabulary()
    digest = hashlib.sha256()
    for name in names:
        content = read_whole(folder / name, MAX_BYTES)
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return Vocabulary(digest.hexdigest())


def read_vocabulary(folder: Path, files: Collection[str]) -> Vocabulary:
    """identify_vocabulary with the tokens, or with the reason why they cannot be read."""
    known = identify_vocabulary(folder, files)
    if not known.digest:
        return known
    try:
        return Vocabulary(known.digest, _tokens(folder, vocabulary_files(files)))
    except CheckpointError as error:
        return Vocabulary(known.digest, None, " ".join(error.problems).rstrip("."))


def vocabulary_files(files: Collection[str]) -> tuple[str, ...]:
    """Those of the files that are read, in this order."""
    for name in (*_WHOLE, *_PARTS, *_UNREAD, *sorted(file for file in files if file.endswith(".tiktoken"))):
        if name in files:
            more = () if name in _WHOLE else (_ADDED, _CONFIG)
            return (name, *(other for other in more if other in files))
    return ()


def _tokens(folder: Path, names: Iterable[str]) -> Mapping[str, int]:
    tokens: dict[str, int] = {}
    for name in names:
        content = read_whole(folder / name, MAX_BYTES)
        tokens |= dict(_read(name, content))
    return tokens


def _read(name: str, content: bytes) -> Iterable[tuple[str, int]]:
    match name:
        case "tokenizer.json":
            return _tokenizer_json(parse_object(content, name))
        case "vocab.json" | "added_tokens.json":
            return _checked(parse_object(content, name), name)
        case "tokenizer_config.json":
            return _added_tokens(parse_object(content, name))
        case "vocab.txt":
            return _lines(content, name)
        case "tokenizer.model" | "spiece.model":
            return _pieces(content, name)
    raise CheckpointError(f"{name} is of a format that is not read")


def _tokenizer_json(value: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    model = value.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from _checked(vocabulary, "tokenizer.json")
    elif isinstance(vocabulary, list):  # Unigram: pairs of token and score
        for row, entry in enumerate(vocabulary):
            match entry:
                case [str(token), _]:
                    yield token, row
                case _:
                    raise CheckpointError(f"tokenizer.json has no token in row {row} of its vocabulary")
    else:
        raise CheckpointError("tokenizer.json has no vocabulary under 'model'")
    added = value.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        match entry:
            case {"id": int(row), "content": str(token)}:
                yield token, row


def _added_tokens(value: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    added = value.get("added_tokens_decoder")
    for row, entry in added.items() if isinstance(added, dict) else ():
        match entry:
            case {"content": str(token)} if row.isdecimal() and len(row) < 10:
                yield token, int(row)


def _checked(vocabulary: Mapping[str, object], name: str) -> Iterator[tuple[str, int]]:
    for token, row in vocabulary.items():
        if type(row) is not int or row < 0:
            raise CheckpointError(f"{name} gives the token {shown(token)} no row")
        yield token, row


def _lines(content: bytes, name: str) -> Iterator[tuple[str, int]]:
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name} is not UTF-8") from error
    for row, line in enumerate(lines[:-1] if lines[-1] == "" else lines):
        yield line.removesuffix("\r"), row


def _pieces(content: bytes, name: str) -> Iterator[tuple[str, int]]:
    """The pieces of a sentencepiece model, which is a protobuf message; other fields are skipped."""
    try:
        pieces = [piece for number, piece in _fields(content) if number == _PIECE]
        texts = [next(text.decode("utf-8") for field, text in _fields(piece) if field == _TEXT) for piece in pieces]
    except (ValueError, IndexError, StopIteration, RuntimeError) as error:
        raise CheckpointError(f"{name} is no sentencepiece model") from error
    if not texts:
        raise CheckpointError(f"{name} is no sentencepiece model")
    for row, text in enumerate(texts):
        yield text, row


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message as (number, bytes); a number field gives its bytes as they stand.

    Raises ValueError or IndexError for what is none. Format: https://protobuf.dev/programming-guides/encoding
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        start = at
        match key & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, start = _varint(message, at)
                at = start + length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"unknown wire type {kind}")
        if at > len(message):
            raise ValueError("a field is cut short")
        yield key >> 3, message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("a number is too long")
    return value | message[at] << shift, at + 1
