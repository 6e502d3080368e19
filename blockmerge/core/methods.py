"""Every merge method: what it takes and what its weight means. Kernels are in blockmerge/kernels, one per entry.

The names are mergekit's. Where it and a method's paper differ, the paper is the default and a parameter gives
mergekit's.
"""

from collections.abc import Mapping
from dataclasses import replace

from blockmerge.core.method import BaseUse, Method, Parameter, Scope, WeightKind

_NORMALIZE = Parameter("normalize", False, "divide the weights of each block by their sum")
_LAMBDA = Parameter("lambda", 1.0, "scales the sum of the differences", low=-1.0, high=2.0, per_block=True)
_RESCALE = Parameter(
    "rescale",
    "paper",
    "how what was dropped is made up for: by the chance to be kept (paper), by the sum of magnitudes (l1), or not",
    choices=("paper", "l1", "none"),
)


def _density(default: float) -> Parameter:
    return Parameter("density", default, "the part of each difference that is kept", per_block=True)


_GAMMA = Parameter("gamma", 0.01, "the part of each difference, its largest values, that is dropped", per_block=True)
_EPSILON = Parameter("epsilon", 0.15, "how far the chance to be kept varies about density", high=0.5, per_block=True)
_CHANGED = Parameter("epsilon", 1e-5, "the smallest difference that counts as a change")


def _amount(
    name: str, title: str, description: str, source: str, *parameters: Parameter, scope: Scope = Scope.CHUNK
) -> Method:
    """A method of the task arithmetic family."""
    return Method(
        name=name,
        title=title,
        description=description,
        source=source,
        kind=WeightKind.AMOUNT,
        base=BaseUse.REQUIRED,
        fewest_models=1,
        weight_low=-1.0,
        weight_high=2.0,
        parameters=(*parameters, _LAMBDA, _NORMALIZE),
        scope=scope,
        is_random=_RESCALE in parameters,
    )


_ALL = (
    Method(
        name="linear",
        title="Linear",
        description="The average of the weights.",
        source="Wortsman et al. 2022, Model soups, arXiv:2203.05482; LM_BlockMerge's plain average",
        kind=WeightKind.SHARE,
        weight_low=-1.0,
        weight_high=2.0,
        parameters=(_NORMALIZE,),
        gains_on_gpu=False,
    ),
    Method(
        name="slerp",
        title="SLERP",
        description="The arc from A to B, each tensor as one vector.",
        source="Shoemake 1985, Animating rotation with quaternion curves",
        kind=WeightKind.SHARE,
        most_models=2,
        gains_on_gpu=False,
    ),
    Method(
        name="nuslerp",
        title="NuSLERP",
        description="The arc from A to B, or with a base between their differences from it.",
        source="mergekit, nuslerp",
        kind=WeightKind.SHARE,
        base=BaseUse.OPTIONAL,
        most_models=2,
        parameters=(
            Parameter("nuslerp_flatten", True, "each tensor is one vector", scopes={False: Scope.ROWS}),
            Parameter(
                "nuslerp_row_wise",
                False,
                "without nuslerp_flatten: each column is a vector instead of each row; holds a whole tensor",
                scopes={True: Scope.TENSOR},
            ),
        ),
    ),
    Method(
        name="multislerp",
        title="Multi-SLERP",
        description="A weighted mean on the sphere of any number of models, or of their differences from a base.",
        source="Goddard 2025, goddard.blog/posts/multislerp-wow-what-a-cool-idea",
        kind=WeightKind.SHARE,
        base=BaseUse.OPTIONAL,
        parameters=(_NORMALIZE,),
    ),
    Method(
        name="karcher",
        title="Karcher mean",
        description="The point on the sphere with the least sum of squared angles to all models.",
        source="Karcher 1977, Riemannian center of mass; arXiv:2603.04972",
        kind=WeightKind.STRENGTH,
        parameters=(
            Parameter("max_iter", 10, "steps at most", low=1, high=1000),
            Parameter("tol", 1e-5, "the step, in radians, that ends it"),
        ),
    ),
    replace(
        _amount(
            "task_arithmetic",
            "Task arithmetic",
            "The base plus the weighted sum of what each model changed.",
            "Ilharco et al. 2022, arXiv:2212.04089",
        ),
        gains_on_gpu=False,
    ),
    _amount(
        "ties",
        "TIES",
        "Keeps the largest changes, elects a sign for each number, and sums the changes that agree with it.",
        "Yadav et al. 2023, arXiv:2306.01708; `normalize: true` is its disjoint mean",
        _density(0.2),
    ),
    _amount(
        "dare_linear",
        "DARE",
        "Drops changes at random and scales up the rest.",
        "Yu et al. 2023, arXiv:2311.03099",
        _density(0.5),
        _RESCALE,
    ),
    _amount(
        "dare_ties",
        "DARE with TIES",
        "Drops changes at random, scales up the rest, and sums those that agree in sign.",
        "Yu et al. 2023, arXiv:2311.03099; Yadav et al. 2023, arXiv:2306.01708",
        _density(0.5),
        _RESCALE,
    ),
    _amount(
        "breadcrumbs",
        "Model breadcrumbs",
        "Drops the largest changes and the smallest.",
        "Davari and Belilovsky 2023, arXiv:2312.06795",
        _density(0.1),
        _GAMMA,
    ),
    _amount(
        "breadcrumbs_ties",
        "Model breadcrumbs with TIES",
        "Drops the largest changes and the smallest, and sums those that agree in sign.",
        "Davari and Belilovsky 2023, arXiv:2312.06795; Yadav et al. 2023, arXiv:2306.01708",
        _density(0.1),
        _GAMMA,
    ),
    _amount(
        "della",
        "DELLA",
        "Drops changes at random, small ones rather than large ones, and sums those that agree in sign.",
        "Deep et al. 2024, arXiv:2406.11617; `normalize: true` is its mean",
        _density(0.5),
        _EPSILON,
        _RESCALE,
        scope=Scope.ROWS,
    ),
    _amount(
        "della_linear",
        "DELLA without election",
        "Drops changes at random, small ones rather than large ones, and sums the rest.",
        "Deep et al. 2024, arXiv:2406.11617",
        _density(0.5),
        _EPSILON,
        _RESCALE,
        scope=Scope.ROWS,
    ),
    Method(
        name="sce",
        title="SCE",
        description="Selects the numbers that vary most, weighs each model by its squared changes, erases minorities.",
        source="Wan et al. 2024, FuseChat, arXiv:2408.07990",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        parameters=(
            Parameter("select_topk", 1.0, "the part of the numbers that vary at all that is changed", per_block=True),
        ),
    ),
    Method(
        name="ram",
        title="RAM",
        description="Takes what one model alone changed, and averages what several did.",
        source="Reinforced Agent Merging, arXiv:2601.13572",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        parameters=(_CHANGED,),
    ),
    Method(
        name="ramplus_tl",
        title="RAM+",
        description="As RAM, with what one model alone changed scaled up, tensor by tensor.",
        source="Reinforced Agent Merging, arXiv:2601.13572",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        parameters=(
            _CHANGED,
            Parameter("r", 0.1, "how much is scaled up", high=2.0, per_block=True),
            Parameter("alpha", 0.2, "the largest share of common changes that counts", high=2.0, per_block=True),
        ),
    ),
    Method(
        name="model_stock",
        title="Model Stock",
        description="Goes from the base towards the average of the models, as far as their changes agree.",
        source="Jang et al. 2024, arXiv:2403.19522",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        parameters=(Parameter("filter_wise", False, "row by row", scopes={True: Scope.ROWS}),),
    ),
    Method(
        name="nearswap",
        title="NearSwap",
        description="Takes the model's numbers where they lie near the base's, and ever less of them the farther off.",
        source="alchemonaut 2024, huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        fewest_models=1,
        most_models=1,
        parameters=(Parameter("t", 1e-4, "up to this distance the model's number is taken whole", per_block=True),),
        gains_on_gpu=False,
    ),
    Method(
        name="arcee_fusion",
        title="Arcee Fusion",
        description="Takes only the changes that matter most: large ones, in rows that changed as a whole.",
        source="Arcee AI 2024, mergekit, arcee_fusion; the quartiles are exact, not sampled",
        kind=WeightKind.STRENGTH,
        base=BaseUse.REQUIRED,
        fewest_models=1,
        most_models=1,
        scope=Scope.ROWS,
    ),
    Method(
        name="passthrough",
        title="Passthrough",
        description="One model as it is, or scaled.",
        source="mergekit, passthrough",
        kind=WeightKind.STRENGTH,
        fewest_models=1,
        most_models=1,
        parameters=(Parameter("scale", 1.0, "every number is multiplied by it", low=-1.0, high=2.0, per_block=True),),
        gains_on_gpu=False,
    ),
)

METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}
LINEAR = METHODS["linear"]
