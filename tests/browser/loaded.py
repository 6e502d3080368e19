"""A repository as anybody else loads it: by transformers, through the Hub's own client, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

_LOAD = """
import sys
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
name, out = sys.argv[1:]
model, report = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False, output_loading_info=True)
assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
AutoTokenizer.from_pretrained(name, trust_remote_code=False)
save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, out)
"""


def load_from_hub(repository: str, home: Path) -> dict[str, torch.Tensor]:
    """What transformers makes of a repository on the Hub of the environment, with an empty cache in `home`."""
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", _LOAD, repository, home / "loaded.safetensors"],
        env={**os.environ, "HF_HOME": str(home)},
        timeout=300,
        check=True,
    )
    return load_file(home / "loaded.safetensors")
