"""Mutated headers, indexes, configs, tokenizers and recipes: only our own errors, each within a second.

`scripts/fuzz` runs this module for long; tests/test_fuzz.py for a few seconds.
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import BlockmergeError
from tests.tiny_models import write_llama, write_tokenizer

SECONDS = 1.0
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# What a hostile or half-written file holds where something else belongs.
TOKENS = [
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 5000, b"18446744073709551616"),
    *(b"[]", b"{}", b'""', b'"F8_E4M3"', b'"../../x"', b"\\u0000", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"[" * 300, b"{" * 300, b'{"a":' * 200, b"- " * 200, b'"a": 1, "a": 2,', b'"num_hidden_layers": 1000000000,'),
    *(b"&a [*a]", b"!!python/object:x", b"%YAML 1.1\n"),
]


@dataclass(slots=True)
class Outcome:
    """How many inputs were accepted and how many refused with an error of which class; the slowest one's seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def take(self, act: Callable[[], object]) -> None:
        """Anything but an error of ours goes on to the caller."""
        start = time.process_time()
        name, problems = "accepted", tuple[str, ...]()
        try:
            act()
        except BlockmergeError as error:
            name, problems = type(error).__name__, error.problems
        seconds = time.process_time() - start
        self.counts[name] += 1
        assert all(problem.strip() and "Traceback" not in problem for problem in problems)
        self.slowest = max(self.slowest, seconds)
        assert seconds <= SECONDS, f"{seconds:.1f} s"


def mutate(raw: bytes, draw: random.Random) -> bytes:
    """One to four changes: a byte, a piece cut out, doubled or moved, a token put in, a number changed."""
    content = bytearray(raw)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content) + 1)
        end = min(len(content), at + draw.choice((1, 2, 8, 64)))
        match draw.randrange(6):
            case 0 if at < len(content):
                content[at] ^= 1 << draw.randrange(8)
            case 1:
                del content[at:end]
            case 2:
                content[at:at] = content[at:end]
            case 3:
                content[at:end] = draw.choice(TOKENS)
            case 4:
                content[at:at] = draw.choice(TOKENS)
            case _:
                digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
                if digits:
                    content[draw.choice(digits)] = draw.choice(b"0123456789")
    return bytes(content)


def mutate_header(raw: bytes, draw: random.Random) -> bytes:
    """The header's text with its length put right most of the time."""
    start = 8 + int.from_bytes(raw[:8], "little")
    text = mutate(raw[8:start], draw)
    length = len(text) if draw.random() < 0.9 else draw.getrandbits(draw.choice((8, 16, 64)))
    return length.to_bytes(8, "little") + text + raw[start:]


def fuzz(folder: Path, headers: int, others: int, seed: int) -> Outcome:
    """So many mutated headers, and so many of each other file. Raises whatever is not an error of ours."""
    draw, outcome = random.Random(seed), Outcome()
    for key in "ab":
        write_tokenizer(write_llama(folder / key, layers=2, seed=ord(key)))
        write_tokenizer(write_llama(folder / f"{key}_sharded", layers=2, seed=ord(key), shards=2))
    recipe = json.dumps(
        {"blockmerge": 1, "models": {k: str(folder / k) for k in "ab"}, "weights": {"layers": [0.5, {"x": 1}]}}
    ).replace('{"x": 1}', "0.25")
    for path, count, change in _targets(folder, headers, others):
        whole = path.read_bytes()
        other = folder / ("a_sharded" if "sharded" in path.parent.name else "a")
        models = {"a": str(other), "b": str(path.parent)}
        for _ in range(count):
            path.write_bytes(change(whole, draw))
            outcome.take(lambda models=models: _plan(models))
        path.write_bytes(whole)
    for _ in range(others):
        text = mutate(recipe.encode(), draw).decode("utf-8", "replace")
        outcome.take(lambda text=text: parse_recipe(text))
    return outcome


def _targets(
    folder: Path, headers: int, others: int
) -> Iterator[tuple[Path, int, Callable[[bytes, random.Random], bytes]]]:
    yield folder / "b" / SINGLE, headers, mutate_header
    for name in ("config.json", "tokenizer.json"):
        yield folder / "b" / name, others, mutate
    yield folder / "b_sharded" / INDEX, others, mutate


def _plan(models: dict[str, str]) -> object:
    recipe = parse_recipe(json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": 0.5}}))
    return make_plan(recipe, open_models(recipe.models))


def main() -> None:
    headers, others, seed = (int(text) for text in sys.argv[1:4])
    with tempfile.TemporaryDirectory() as folder:
        outcome = fuzz(Path(folder), headers, others, seed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"seed {seed}: {dict(outcome.counts)}; slowest {outcome.slowest:.2f} s; {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
