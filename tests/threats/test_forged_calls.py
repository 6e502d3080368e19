"""Every handler of the page is a public call, whatever Gradio says of it, and is called here as a stranger would."""

import json

import pytest

from tests.threats.conftest import Running
from tests.threats.forged import payloads


# What gr.Warning says of a call that is not queued, Gradio writes to the log as a warning.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_forged_call_does_or_shows_anything(running: Running) -> None:
    job = running.bench.add("honest")
    before = running.jobs()
    wrong: list[str] = []

    for index, function in running.blocks.fns.items():
        for number, data in enumerate(payloads(len(function.inputs))):
            extra = '"event_data": {"job": [{"job": 1}]}, "trigger_id": 1' if number % 2 else '"event_data": "x"'
            body = f'{{"data": {data}, "fn_index": {index}, "session_hash": "forged", {extra}}}'
            status, text = running.post(f"/gradio_api/run/{function.api_name}", body)
            if not is_harmless(status, text):
                wrong.append(f"{function.api_name} {data[:80]}: {status} {text[:300]}")

    assert wrong == []
    assert running.jobs() == before
    assert running.bench.store.get(job) == before[0]
    assert running.ask("GET", "/healthz")[0] == 200


def is_harmless(status: int, text: str) -> bool:
    """An answer, a sentence of ours, or a refusal of the whole request."""
    if "Traceback" in text or "gradio." in text or ".py" in text:
        return False
    if status == 500:
        sentence = json.loads(text)["error"]
        return isinstance(sentence, str) and sentence.endswith((".", "…", "?"))
    return status in (200, 400, 404, 413, 422)
