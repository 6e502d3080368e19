"""Does transformers find every tensor of a model where it expects it? Asked in a child, on the meta device.

As `python -m blockmerge.engine.loading` it is the child: folders on stdin as JSON, one line of JSON on stdout for each.
No weights are read and none of the model's own code is run.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blockmerge
from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.strict_json import shown
from blockmerge.core.buffers import is_buffer
from blockmerge.core.tensors import Checkpoint, DType
from blockmerge.errors import VerifyError

TIMEOUT = 300  # seconds
ASK_EVERY = 0.2  # seconds between looks at whether somebody cancelled

_KINDS = ("missing", "unexpected", "mismatched")
_PACKAGE_ROOT = str(Path(blockmerge.__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True)
class Loading:
    """What transformers said: tensors by kind of trouble, or that it fails, or why it could not be asked."""

    unknown: str = ""
    failure: str = ""
    troubles: Mapping[str, frozenset[str]] | None = None

    @property
    def is_clean(self) -> bool:
        return self.troubles is not None and not any(self.troubles.values())


def check_loading(
    folder: Path, parents: Sequence[Path] = (), keep_asking: Callable[[], None] = lambda: None
) -> tuple[str, ...]:
    """Warnings, where transformers cannot be asked. `keep_asking` is called several times a second, and may raise.

    Raises VerifyError with each tensor that is missing, unexpected or mismatched in the folder
    and in no parent.
    """
    [result] = _ask([folder], keep_asking)
    if result.is_clean:
        return ()
    known = _ask(parents, keep_asking) if parents else ()
    if result.failure and not any(held.failure for held in known):
        raise VerifyError(f"transformers cannot load the result: {result.failure}. Report this merge, with its recipe.")
    if result.troubles is None:
        return (f"Whether transformers can load the result was not checked: {result.unknown or result.failure}.",)
    problems: list[str] = []
    for kind in _KINDS:
        inherited = frozenset[str]().union(*(held.troubles[kind] for held in known if held.troubles is not None))
        problems += _sentences(kind, sorted(result.troubles[kind] - inherited))
    if problems:
        raise VerifyError(*problems)
    return ()


def _sentences(kind: str, names: Sequence[str]) -> Iterable[str]:
    """One for all tensors of a kind."""
    if names:
        more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
        meaning = {
            "missing": "which the model needs and would fill with random numbers",
            "unexpected": "which the model does not know and would ignore",
            "mismatched": "whose shape is not what the model needs",
        }
        yield f"transformers finds {shown(names[0])}{more} {kind}, {meaning[kind]}. Report this merge, with its recipe."


def _ask(folders: Sequence[Path], keep_asking: Callable[[], None]) -> tuple[Loading, ...]:
    request = json.dumps([str(folder) for folder in folders]) + "\n"
    with _child() as child:
        try:
            said, errors = _hear(child, request, keep_asking)
        except subprocess.TimeoutExpired:
            return (Loading(f"it took more than {TIMEOUT} seconds"),) * len(folders)
        finally:
            child.kill()
    answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "it was killed")
    answers += [{"unknown": last.rstrip(".")}] * (len(folders) - len(answers))
    return tuple(_loading(answer) for answer in answers)


def _child() -> "subprocess.Popen[str]":
    paths = [_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "blockmerge.engine.loading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    )


def _hear(child: "subprocess.Popen[str]", request: str | None, keep_asking: Callable[[], None]) -> tuple[str, str]:
    """All that the child says until it ends. Raises TimeoutExpired, or what `keep_asking` raises."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            return child.communicate(request, timeout=ASK_EVERY)
        except subprocess.TimeoutExpired:
            if time.monotonic() > until:
                raise
        request = None  # it has been sent
        keep_asking()


def _loading(answer: Mapping[str, Any]) -> Loading:
    if "missing" not in answer:
        return Loading(answer.get("unknown", ""), answer.get("failure", ""))
    return Loading(troubles={kind: frozenset(answer[kind]) for kind in _KINDS})


def describe(folder: Path) -> dict[str, Any]:
    """In the child: what transformers says of the names and shapes in this folder."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    checkpoint = open_checkpoint(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, ImportError, OSError) as error:
        return {"unknown": str(error).splitlines()[0].rstrip(".")}
    architecture = next(iter(config.architectures or ()), "")
    model_class = getattr(transformers, architecture, None)
    if model_class is None:
        return {"unknown": f"this transformers does not know {architecture or 'the architecture'}"}
    try:
        _, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict=_meta_tensors(checkpoint),
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, ImportError) as error:  # accelerate is not installed
        return {"unknown": str(error).splitlines()[0].rstrip(".")}
    except RuntimeError as error:  # where tensors are fused while loading, one that is missing ends here
        return {"failure": str(error).splitlines()[0].rstrip(".")}
    buffers = {name for name, tensor in checkpoint.tensors.items() if is_buffer(tensor)}
    return {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(set(info["unexpected_keys"]) - buffers),
        "mismatched": sorted(str(entry[0]) for entry in info["mismatched_keys"]),
    }


def _meta_tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    import torch

    return {
        name: torch.empty(tensor.shape, dtype=_torch_dtype(tensor.dtype), device="meta")
        for name, tensor in checkpoint.tensors.items()
    }


def _torch_dtype(dtype: DType) -> Any:
    import torch

    return getattr(torch, dtype.label)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints
    for folder in json.loads(sys.stdin.readline()):
        print(json.dumps(describe(Path(folder))), file=answers, flush=True)


if __name__ == "__main__":
    main()
