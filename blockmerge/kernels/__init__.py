"""One pure function per merge method, found by the method's name."""

from collections.abc import Mapping

from blockmerge.kernels import (
    arcee_fusion,
    breadcrumbs,
    breadcrumbs_ties,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    karcher,
    linear,
    model_stock,
    multislerp,
    nearswap,
    nuslerp,
    passthrough,
    ram,
    ramplus_tl,
    sce,
    slerp,
    task_arithmetic,
    ties,
)
from blockmerge.kernels.kernel import Kernel

KERNELS: Mapping[str, Kernel] = {
    "linear": linear.KERNEL,
    "slerp": slerp.KERNEL,
    "nuslerp": nuslerp.KERNEL,
    "multislerp": multislerp.KERNEL,
    "karcher": karcher.KERNEL,
    "task_arithmetic": task_arithmetic.KERNEL,
    "ties": ties.KERNEL,
    "dare_linear": dare_linear.KERNEL,
    "dare_ties": dare_ties.KERNEL,
    "breadcrumbs": breadcrumbs.KERNEL,
    "breadcrumbs_ties": breadcrumbs_ties.KERNEL,
    "della": della.KERNEL,
    "della_linear": della_linear.KERNEL,
    "sce": sce.KERNEL,
    "ram": ram.KERNEL,
    "ramplus_tl": ramplus_tl.KERNEL,
    "model_stock": model_stock.KERNEL,
    "nearswap": nearswap.KERNEL,
    "arcee_fusion": arcee_fusion.KERNEL,
    "passthrough": passthrough.KERNEL,
}
