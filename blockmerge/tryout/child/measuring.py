"""Numbers instead of words: how likely a text is, what fills a gap, how alike two sentences are."""

from typing import Any

import torch

from blockmerge.tryout.child.model import Model, NoAnswerError
from blockmerge.tryout.child.prompt import Say, chat, encode, encode_raw, plain
from blockmerge.tryout.child.writing import NOT_A_NUMBER
from blockmerge.tryout.messages import Compare, Compared, Fill, Filled, Score, Scored

LONGEST = 1_024  # tokens: each takes a number for every word that the model knows
GAP = "[MASK]"
SHOWN = 5


def score(model: Model, question: Score, say: Say) -> Scored:
    """Raises NoAnswerError."""
    if not question.context:
        return _score(model, *_split(encode(model, plain(question.text), say), 1))
    as_chat = question.chat and question.template
    prompt = chat(model, (), question.context, say) if as_chat else plain(question.context)
    return _score(model, encode(model, prompt, say), encode_raw(model, question.text, special=False))


def _split(ids: Any, at: int) -> tuple[Any, Any]:
    return ids[:, :at], ids[:, at:]


def _score(model: Model, before: Any, text: Any) -> Scored:
    if text.shape[1] == 0:
        raise NoAnswerError("The text is too short to be measured. Two words are enough.")
    most = min(LONGEST, model.context)
    both = before.shape[1] + text.shape[1]
    if both > most:
        raise NoAnswerError(f"The text has {both:,} tokens; {most:,} at most are measured. Shorten it.")
    with torch.inference_mode():
        if model.net.config.is_encoder_decoder:
            logits = model.net(input_ids=before, labels=text).logits[0]
        else:
            logits = model.net(input_ids=torch.cat([before, text], dim=1)).logits[0, before.shape[1] - 1 : -1]
        losses = torch.nn.functional.cross_entropy(logits.float(), text[0], reduction="none").double()
    loss = losses.mean().item()
    if loss != loss:
        raise NoAnswerError(NOT_A_NUMBER)
    return Scored(loss, text.shape[1])


def fill(model: Model, question: Fill, say: Say) -> Filled:
    """Raises NoAnswerError."""
    mask = model.tokenizer.mask_token
    if mask is None:
        raise NoAnswerError("This model's tokenizer has no word for a gap, so there is nothing to fill.")
    if question.text.count(GAP) != 1:
        raise NoAnswerError(f"Write {GAP} once, where a word is missing.")
    ids = _checked(model, encode(model, plain(question.text.replace(GAP, mask)), say))
    [place] = (ids[0] == model.tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    with torch.inference_mode():
        shares = model.net(input_ids=ids).logits[0, place].float().softmax(-1)
    if shares.isnan().any():
        raise NoAnswerError(NOT_A_NUMBER)
    best = shares.topk(min(SHOWN, shares.shape[0]))
    words = [model.tokenizer.decode([row]).strip() for row in best.indices.tolist()]
    return Filled(tuple(zip(words, best.values.tolist(), strict=True)))


def compare(model: Model, question: Compare, say: Say) -> Compared:
    """The cosine of the means of what the model makes of each token. Raises NoAnswerError."""
    means = []
    for text in (question.first, question.second):
        ids = _checked(model, encode(model, plain(text), say))
        with torch.inference_mode():
            means.append(model.net(input_ids=ids).last_hidden_state[0].float().mean(0))
    similarity = torch.nn.functional.cosine_similarity(means[0], means[1], dim=0).item()
    if similarity != similarity:
        raise NoAnswerError(NOT_A_NUMBER)
    return Compared(similarity)


def _checked(model: Model, ids: Any) -> Any:
    if ids.shape[1] > model.context:
        raise NoAnswerError(
            f"The text has {ids.shape[1]:,} tokens, and this model reads {model.context:,} at most. Shorten it."
        )
    return ids
