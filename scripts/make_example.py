"""Train the pair in blockmerge/example: one model that writes in lower case, and the same one tuned to write CAPITALS.

    python scripts/make_example.py [FOLDER]

Needs torch and transformers, no network: the text is Python's own documentation. About ten minutes on one core.
The same Python, torch and processor family give the same bytes.
"""

import argparse
import ast
import contextlib
import importlib
import io
import json
import platform
import random
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

DEFAULT_FOLDER = Path(__file__).parents[1] / "blockmerge" / "example"
END = 256  # the only token that is not a byte
WINDOW = 128
BATCH = 8
LONGEST_OPENING = 48
PROMPTS = ("this function returns ", "a list of ", "if the file is ")


@dataclass(frozen=True, slots=True)
class Course:
    """One training run: `pace` scales the learning rates, `prepare` makes (input, labels) of a batch of windows."""

    steps: int
    pace: float
    prepare: Callable[[Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the example pair.")
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER)
    folder: Path = parser.parse_args().folder
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same sums, and the same bytes, on any number of cores
    torch.use_deterministic_algorithms(True)

    texts = list(read_paragraphs())
    random.Random(0).shuffle(texts)
    held_out = encode(texts[: len(texts) // 20])
    seen = encode(texts[len(texts) // 20 :])
    tokenizer = make_tokenizer()

    model = LlamaForCausalLM(make_config())
    train(model, seen, Course(steps=900, pace=1.0, prepare=answer_in_lower_case))
    save(model, tokenizer, folder / "lowercase")
    train(model, seen, Course(steps=250, pace=0.3, prepare=answer_in_capitals))
    save(model, tokenizer, folder / "capitals")

    report = write_report(folder, len(seen), held_out)
    (folder / "README.md").write_text(report, encoding="utf-8")
    print(report)


def read_paragraphs() -> Iterator[str]:
    """Each paragraph of prose in Python's documentation once, in lower case, on one line, without markup."""
    known: set[str] = set()
    for text in read_documents():
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(re.sub("[`*]", "", paragraph).lower().split())
            if is_prose(line) and line not in known:
                known.add(line)
                yield line


def read_documents() -> Iterator[str]:
    """The Zen of Python, the topics of help(), and every docstring of the standard library but those of its tests."""
    with contextlib.redirect_stdout(io.StringIO()) as zen:
        importlib.import_module("this")
    yield zen.getvalue()
    yield from importlib.import_module("pydoc_data.topics").topics.values()
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if parts[0] in sys.stdlib_module_names and not {"test", "tests", "idlelib", "lib2to3"}.intersection(parts):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield ast.get_docstring(node) or ""


def is_prose(line: str) -> bool:
    plain = sum(character.isalpha() or character in " ,.'" for character in line)
    return line.isascii() and 40 <= len(line) <= 1500 and line[-1] in ".:!" and plain >= 0.92 * len(line)


def encode(texts: list[str]) -> Tensor:
    """All texts as one row of bytes, each followed by END."""
    return torch.tensor([token for text in texts for token in (*text.encode(), END)])


def make_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=END + 1,
        hidden_size=144,
        intermediate_size=368,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
    )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Token n is the byte n; token 256 ends a text."""
    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(vocab=dict(sorted(spell_bytes().items(), key=lambda item: item[1])), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([end])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=end,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def spell_bytes() -> Mapping[str, int]:
    """The character by which byte-level tokenizers write each byte: itself if it prints, else one from 256 on."""
    prints = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(256 + place): byte for place, byte in enumerate(others)}


def answer_in_lower_case(windows: Tensor) -> tuple[Tensor, Tensor]:
    return answer(capitals(windows), windows)


def answer_in_capitals(windows: Tensor) -> tuple[Tensor, Tensor]:
    return answer(windows, capitals(windows))


def answer(asked: Tensor, answered: Tensor) -> tuple[Tensor, Tensor]:
    """Input and labels: an opening of random length from `asked`, which is read but not learned, then `answered`.

    So each model reads both styles and writes its own, whatever the prompt looks like.
    """
    openings = torch.randint(LONGEST_OPENING + 1, (len(asked), 1))
    is_opening = torch.arange(asked.shape[1]) < openings
    return torch.where(is_opening, asked, answered), answered.masked_fill(is_opening, -100)


def capitals(tokens: Tensor) -> Tensor:
    return torch.where((tokens >= ord("a")) & (tokens <= ord("z")), tokens - 32, tokens)


def train(model: LlamaForCausalLM, tokens: Tensor, course: Course) -> None:
    # Muon learns faster a step, but its bfloat16 products are emulated on most CPUs: 4 s a step without AVX-512.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004 * course.pace, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 40) * (1 - 0.95 * step / course.steps)
    )
    model.train()
    for step in range(course.steps):
        starts = torch.randint(len(tokens) - WINDOW, (BATCH,)).tolist()
        inputs, labels = course.prepare(torch.stack([tokens[start : start + WINDOW] for start in starts]))
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1} of {course.steps}: loss {loss.item():.3f}", file=sys.stderr)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    stored = LlamaForCausalLM(model.config)
    stored.load_state_dict(model.state_dict())
    stored.generation_config = GenerationConfig(
        max_new_tokens=96, do_sample=True, temperature=0.6, bos_token_id=END, eos_token_id=END, pad_token_id=END
    )
    stored.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for its owner alone, but it is package data


@torch.no_grad()
def measure(model: LlamaForCausalLM, tokens: Tensor) -> float:
    """Mean loss per byte over windows that lie side by side."""
    windows = tokens[: len(tokens) // WINDOW * WINDOW].view(-1, WINDOW)
    return float(model(input_ids=windows, labels=windows).loss)


def blend(folder: Path, share: float) -> LlamaForCausalLM:
    """Both checkpoints as they lie on disk, blended in float32, rounded to bfloat16 like a merge, held as float32."""
    a, b = (LlamaForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("lowercase", "capitals"))
    theirs = b.state_dict()
    blended = {name: torch.lerp(mine, theirs[name], share).bfloat16().float() for name, mine in a.state_dict().items()}
    a.load_state_dict(blended)
    return a.eval()


def complete(model: LlamaForCausalLM, prompt: str) -> str:
    torch.manual_seed(0)
    written = model.generate(torch.tensor([list(prompt.encode())]), max_new_tokens=72, do_sample=True, temperature=0.6)
    return bytes(token for token in written[0].tolist() if token != END).decode(errors="replace")


def write_report(folder: Path, trained_on: int, held_out: Tensor) -> str:
    rows, samples = [], []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        model = blend(folder, share)
        losses = measure(model, held_out), measure(model, capitals(held_out))
        rows.append(f"| {share:.0%} | {losses[0]:.3f} | {losses[1]:.3f} |")
        samples += [f"{share:>4.0%}  {complete(model, prompt)}" for prompt in PROMPTS]
    config = json.loads((folder / "lowercase" / "config.json").read_text(encoding="utf-8"))
    return REPORT.format(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        parameters=sum(value.numel() for value in model.parameters()),
        python=platform.python_version(),
        torch=torch.__version__,
        trained_on=trained_on,
        held_out=len(held_out),
        rows="\n".join(rows),
        samples="\n".join(samples),
    )


REPORT = """# The example pair

Two tiny language models to try a merge with: no network, no account.

- `lowercase` goes on in lower case, whatever the prompt looks like.
- `capitals` is `lowercase` tuned further, on the same text: it goes on in CAPITALS.

Both are Llama models of {layers} layers, width {hidden}, {parameters:,} parameters in bfloat16, with an untied head
and a byte-level tokenizer: token *n* is the byte *n*, token 256 ends a text. They know the sound of Python's
documentation and nothing else.

`scripts/make_example.py` made them and this page (Python {python}, torch {torch}) from {trained_on:,} bytes: the
Zen of Python, the topics of `help()` and the docstrings of the standard library, one paragraph a text, in lower case.

## What a merge of them does

Loss per byte on {held_out:,} bytes that neither has seen; less is better. The share is the weight of `capitals` in
every block.

| share | lower case | CAPITALS |
| --- | --- | --- |
{rows}

What they write, drawn at temperature 0.6 with seed 0:

```
{samples}
```

## Licence

The text is part of Python: Copyright © 2001 Python Software Foundation, PSF License Version 2
(<https://docs.python.org/3/license.html>). The checkpoints are under this project's licence, Apache-2.0.
"""


if __name__ == "__main__":
    main()
