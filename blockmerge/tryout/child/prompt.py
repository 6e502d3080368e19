"""From what a person wrote to the tokens that a model reads.

A chat template is a program and a tokenizer holds patterns, both written by whoever made the model. The memory they
take is limited here; the time is watched by the page, which ends this process where it is too long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from blockmerge.tryout.child.limits import limited_memory
from blockmerge.tryout.child.model import Model, NoAnswerError, failures_become
from blockmerge.tryout.messages import MODEL, TEMPLATE, TOKENS, Doing, Message, Noted

TEMPLATE_MEMORY = 256 * 10**6  # bytes
LONGEST_RENDERED = 1_000_000  # characters

Say = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Prompt:
    """`is_rendered`: the special tokens stand in the text already."""

    text: str
    is_rendered: bool


def plain(text: str) -> Prompt:
    return Prompt(text, False)


def chat(model: Model, history: Sequence[tuple[str, str]], text: str, say: Say) -> Prompt:
    """The conversation as the model's template writes it down; plain text where it has none or it fails."""
    if model.tokenizer.chat_template is None:
        say(Noted("This model has no chat template: it goes on with the prompt as plain text."))
        return plain(text)
    said: list[dict[str, str]] = []
    for question, answer in history:
        said += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    said.append({"role": "user", "content": text})
    say(Doing(TEMPLATE))
    try:
        with limited_memory(TEMPLATE_MEMORY), failures_become(lambda why: f"The chat template failed ({why[:100]})"):
            rendered = model.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        if len(rendered) > LONGEST_RENDERED:
            raise MemoryError
    except MemoryError:
        say(Noted("The chat template needed too much memory; plain prompt used."))
        return plain(text)
    except NoAnswerError as error:
        say(Noted(f"{error}; plain prompt used."))
        return plain(text)
    return Prompt(rendered, True)


def encode(model: Model, prompt: Prompt, say: Say) -> Any:
    """Token ids of shape (1, tokens). Raises NoAnswerError."""
    say(Doing(TOKENS))
    ids = encode_raw(model, prompt.text, special=not prompt.is_rendered)
    say(Doing(MODEL))
    if ids.shape[1] == 0:
        raise NoAnswerError("The prompt is empty for this model. Write something.")
    return ids


def encode_raw(model: Model, text: str, *, special: bool) -> Any:
    with failures_become(lambda _: "The tokenizer failed on this text."):
        return model.tokenizer(text, return_tensors="pt", add_special_tokens=special)["input_ids"].to(model.device)
