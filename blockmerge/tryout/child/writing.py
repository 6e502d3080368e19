"""A model goes on with a text, and tells every token at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from blockmerge.tryout.child.model import Model, NoAnswerError
from blockmerge.tryout.child.prompt import Say, chat, encode, plain
from blockmerge.tryout.messages import Ended, Generate, Written

TELL_EVERY = 0.04  # seconds between two messages while tokens come
TOP_P = 0.95  # the same for every model, whatever its own generation_config says: columns are compared
NOT_A_NUMBER = (
    "This model computes NaN, not numbers, so it has no answer. "
    "Its weights are damaged: python -m blockmerge verify --read-data says where."
)


class _StoppedError(Exception):
    pass


class _Teller(BaseStreamer):
    """Hears each token from transformers and says the text so far."""

    def __init__(self, model: Model, say: Say) -> None:
        self._model = model
        self._say = say
        self._is_prompt = True
        self._told_at = 0.0
        self._first_at = 0.0
        self.ids: list[int] = []

    def put(self, value: Any) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        self.ids += value.tolist()
        now = time.monotonic()
        self._first_at = self._first_at or now
        if now - self._told_at >= TELL_EVERY:
            self.tell(now)

    def end(self) -> None:
        self.tell(time.monotonic())

    def tell(self, now: float) -> None:
        self._told_at = now
        text = self._model.tokenizer.decode(self.ids, skip_special_tokens=True)
        # A letter may be made of several tokens; the half of one is not shown.
        self._say(Written(text.rstrip("\ufffd"), len(self.ids), now - self._first_at if self.ids else 0.0))


def write(model: Model, question: Generate, say: Say, is_stopped: Callable[[], bool]) -> Ended:
    """Raises NoAnswerError."""
    as_chat = question.chat and question.template
    prompt = chat(model, question.history, question.text, say) if as_chat else plain(question.text)
    ids = encode(model, prompt, say)
    room = _room(model, ids.shape[1])
    length = min(question.length, room)
    teller = _Teller(model, say)
    torch.manual_seed(question.seed)
    with torch.inference_mode(), _watched(model.net, is_stopped):
        try:
            model.net.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=_settings(question, length),
                streamer=teller,
            )
        except _StoppedError:
            teller.tell(time.monotonic())
            return Ended("stopped")
    return Ended("length" if len(teller.ids) >= length and not _ended(model, teller.ids) else "end")


def _room(model: Model, read: int) -> int:
    if model.net.config.is_encoder_decoder:
        return model.context
    if read >= model.context:
        raise NoAnswerError(
            f"The prompt has {read:,} tokens, and this model reads {model.context:,} at most. Shorten it, "
            "or begin a new conversation."
        )
    return model.context - read


def _settings(question: Generate, length: int) -> GenerationConfig:
    # What is not said here, such as the token that ends a text, comes from the model's own settings.
    chosen: dict[str, Any] = {"max_new_tokens": length, "repetition_penalty": 1.0, "num_beams": 1}
    if question.temperature == 0:
        chosen |= {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50}
    else:
        chosen |= {"do_sample": True, "temperature": question.temperature, "top_p": TOP_P, "top_k": 0}
    return GenerationConfig(**chosen)  # type: ignore[no-untyped-call]


def _ended(model: Model, ids: list[int]) -> bool:
    ends = model.net.generation_config.eos_token_id
    return bool(ids) and ids[-1] in (ends if isinstance(ends, list) else [ends])


@contextmanager
def _watched(net: Any, is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Stop before the next layer, not the next token: that is soon also while a long prompt is read."""

    def stop(*_: object) -> None:
        if is_stopped():
            raise _StoppedError

    def check(_: object, __: object, output: Any) -> None:
        if output.logits[:, -1].isnan().any():
            raise NoAnswerError(NOT_A_NUMBER)

    layers = [layer for part in net.modules() if isinstance(part, torch.nn.ModuleList) for layer in part]
    hooks = [layer.register_forward_pre_hook(stop) for layer in (net, *layers)]
    hooks.append(net.register_forward_hook(check))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
