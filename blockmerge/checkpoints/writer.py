"""What a result holds beside the tensors' bytes: shard headers, the index and the side files."""

import json
from pathlib import Path

from blockmerge.checkpoints.files import copy_new, write_new
from blockmerge.checkpoints.safetensors import encode_header
from blockmerge.checkpoints.shards import INDEX
from blockmerge.core.plan import OutputShard, Plan, SideFileStep
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import SourceChangedError, StorageError

RECIPE = "blockmerge_recipe"  # the metadata key of every shard


def shard_header(shard: OutputShard, plan: Plan) -> bytes:
    """The bytes before the first tensor of this shard; the canonical recipe is in its metadata."""
    tensors = [(step.name, step.dtype, step.shape) for step in shard.steps]
    return encode_header(tensors, shard_metadata(plan))


def shard_metadata(plan: Plan) -> dict[str, str]:
    """Without "format", older transformers refuse a file."""
    return {"format": "pt", RECIPE: plan.canonical}


def index_json(plan: Plan) -> bytes:
    """The index of a result with several shards, as transformers writes it."""
    weight_map = {step.name: shard.name for shard in plan.shards for step in shard.steps}
    value = {"metadata": {"total_size": plan.nbytes}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_index(plan: Plan, folder: Path) -> None:
    """A single file needs no index, and gets none."""
    if len(plan.shards) > 1:
        write_new(folder / INDEX, index_json(plan))


def write_side_files(plan: Plan, folder: Path) -> None:
    """Copy each file from the checkpoint that the plan names; edited ones are written anew.

    Raises SourceChangedError when a file no longer has the size that the plan saw.
    """
    for step in plan.side_files:
        target = folder / step.name
        checkpoint = plan.checkpoints[step.model]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{target.parent} cannot be made: {error.strerror}. Choose another folder.") from error
        if step.edits:
            write_new(target, edited_config(checkpoint, step))
        else:
            _copy(checkpoint, step.name, target)


def edited_config(checkpoint: Checkpoint, step: SideFileStep) -> bytes:
    """The checkpoint's config with the step's edits; None removes a key, new keys come last."""
    removed = {key for key, value in step.edits.items() if value is None}
    edited = {**checkpoint.config, **step.edits}
    kept = {key: value for key, value in edited.items() if key not in removed}
    return (json.dumps(kept, indent=2) + "\n").encode()


def _copy(checkpoint: Checkpoint, name: str, target: Path) -> None:
    expected = next(file.size for file in checkpoint.side_files if file.name == name)
    if copy_new(checkpoint.folder / name, target) != expected:
        raise SourceChangedError(
            f"{name} of {checkpoint.name} changed during the merge. Let nothing change the models, then start it again."
        )
