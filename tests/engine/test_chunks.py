from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.manifest import BLOCK
from blockmerge.core.layout import Place
from blockmerge.core.pairs import Source
from blockmerge.core.plan import Action, OutputShard, Plan, Step
from blockmerge.core.tensors import DType, TensorSpec
from blockmerge.engine.chunks import CHUNK, Chunk, chunks_of, chunks_of_step, count_blocks, sample_of
from blockmerge.kernels.kernel import sample_runs
from tests.engine.merges import plan_for
from tests.tiny_models import write_llama

START = 4096  # where the first tensor's bytes begin
FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)

# In elements: nothing, less than a block of any dtype, about one, and several.
SIZES = st.sampled_from([0, 1, 3, 1000, 2**18, 2**19 - 1, 2**19, 2**19 + 1, 2**20 + 7])


@st.composite
def shards(draw: st.DrawFn) -> OutputShard:
    """A shard whose tensors lie in their inputs as they lie in the output, in up to two dtypes and weights."""
    offsets = dict.fromkeys("ab", 800)
    steps = []
    for number in range(draw(st.integers(1, 8))):
        elements, dtype, own = draw(SIZES), draw(st.sampled_from(FLOATS)), draw(st.sampled_from(FLOATS[1:]))
        action = draw(st.sampled_from([Action.COPY, Action.BLEND, Action.CAST]))
        keys = "ab" if action is Action.BLEND else draw(st.sampled_from("ab"))
        sources = []
        for key in keys:
            stored = dtype if action is Action.COPY else own
            spec = TensorSpec(f"t{number}", stored, (elements,), "model.safetensors", offsets[key])
            offsets[key] += spec.nbytes
            sources.append(Source(key, spec))
        weight = draw(st.sampled_from([0.25, 0.5])) if action is Action.BLEND else 0.0
        steps.append(Step(f"t{number}", dtype, (elements,), action, tuple(sources), weight, Place(None, None, "x"), ""))
    return OutputShard("out", tuple(steps))


def step_at(shard: OutputShard, name: str) -> tuple[Step, int]:
    offset = START
    for step in shard.steps:
        if step.name == name:
            return step, offset
        offset += step.nbytes
    raise AssertionError(name)


@given(shards())
def test_chunks_cover_every_byte_once_and_in_order(shard: OutputShard) -> None:
    chunks = list(chunks_of(shard, START))

    ends = [START, *(chunk.offset + chunk.nbytes for chunk in chunks)]
    assert [chunk.offset for chunk in chunks] == ends[:-1]
    assert ends[-1] == START + shard.nbytes
    assert all(0 < chunk.nbytes <= CHUNK for chunk in chunks)


@given(shards())
def test_every_block_of_every_tensor_lies_in_one_chunk_and_where_it_belongs(shard: OutputShard) -> None:
    seen: dict[str, list[tuple[int, int]]] = {step.name: [] for step in shard.steps}
    for chunk in chunks_of(shard, START):
        offset = chunk.offset
        for piece in chunk.pieces:
            step, begin = step_at(shard, piece.name)
            assert offset == begin + piece.block * BLOCK
            assert (chunk.action, chunk.weight, chunk.dtype) == (step.action, step.weight, step.dtype)
            seen[piece.name].append((piece.block, piece.nbytes))
            offset += piece.nbytes
        assert offset == chunk.offset + chunk.nbytes

    assert count_blocks(shard.steps) == {name: len(blocks) for name, blocks in seen.items()}
    for name, blocks in seen.items():
        assert [number for number, _ in blocks] == list(range(len(blocks)))
        assert all(nbytes == BLOCK for _, nbytes in blocks[:-1])
        assert sum(nbytes for _, nbytes in blocks) == step_at(shard, name)[0].nbytes


@given(shards())
def test_a_chunk_reads_the_elements_that_it_writes(shard: OutputShard) -> None:
    for chunk in chunks_of(shard, START):
        step, begin = step_at(shard, chunk.pieces[0].name)
        first = (chunk.offset - begin) * 8 // step.dtype.bits
        for source, read in zip(step.sources, chunk.sources, strict=True):
            assert read.file == (source.model, source.tensor.file)
            assert read.offset == source.tensor.offset + first * source.tensor.dtype.bits // 8
            assert read.nbytes * 8 // read.dtype.bits == chunk.nbytes * 8 // chunk.dtype.bits


@given(shards())
def test_a_sample_reads_runs_of_its_tensor(shard: OutputShard) -> None:
    for step in (step for step in shard.steps if step.elements):
        sample = sample_of(tuple(chunks_of_step("out", step, START, "linear")))

        runs = sample_runs(step.elements)
        for source, read in zip(step.sources, sample.sources, strict=True):
            size, start = source.tensor.dtype.bits // 8, source.tensor.offset
            assert [(part.offset, part.nbytes) for part in read.parts] == [
                (start + run.start * size, (run.stop - run.start) * size) for run in runs
            ]
            assert read.nbytes == sum(part.nbytes for part in read.parts)


def chunks_for(plan: Plan) -> list[Chunk]:
    return [chunk for shard in plan.shards for chunk in chunks_of(shard, START)]


def test_neighbours_that_are_treated_alike_are_one_chunk(tmp_path: Path) -> None:
    plan = plan_for(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), 0.5)

    [chunk] = chunks_for(plan)

    assert [piece.name for piece in chunk.pieces] == [step.name for step in plan.steps]


def test_neighbours_of_other_weights_are_not_joined(tmp_path: Path) -> None:
    weights = [0.0, 0.5, 0.5, 1.0]
    plan = plan_for(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), weights)

    chunks = chunks_for(plan)

    assert [(chunk.action, chunk.weight) for chunk in chunks] == [
        (Action.COPY, 0.0),
        (Action.BLEND, 0.5),
        (Action.COPY, 1.0),
    ]


def test_neighbours_in_the_result_that_lie_apart_in_an_input_are_not_joined(tmp_path: Path) -> None:
    a, b = write_llama(tmp_path / "a", shards=2), write_llama(tmp_path / "b", seed=1)

    chunks = chunks_for(plan_for(a, b, 0.5))

    assert [[source.file[1] for source in chunk.sources] for chunk in chunks] == [
        ["model-00001-of-00002.safetensors", "model.safetensors"],
        ["model-00002-of-00002.safetensors", "model.safetensors"],
    ]


def test_joined_chunks_do_not_grow_beyond_their_size(tmp_path: Path) -> None:
    sizes = {"layers": 2, "hidden": 160, "vocab": 2048}
    a, b = write_llama(tmp_path / "a", **sizes), write_llama(tmp_path / "b", seed=1, **sizes)

    chunks = chunks_for(plan_for(a, b, 0.5))

    assert max(len(chunk.pieces) for chunk in chunks) > 1
    assert all(before.offset + before.nbytes == after.offset for before, after in pairwise(chunks))
    assert max(chunk.nbytes for chunk in chunks) <= CHUNK


def test_a_tensor_without_elements_has_no_chunk_and_no_block() -> None:
    spec = TensorSpec("empty", DType.FLOAT32, (0, 4), "model.safetensors", 8)
    step = Step("empty", DType.FLOAT32, (0, 4), Action.COPY, (Source("a", spec),), 0.0, Place(None, None, "x"), "")

    assert list(chunks_of(OutputShard("out", (step,)), START)) == []
    assert count_blocks([step]) == {"empty": 0}
