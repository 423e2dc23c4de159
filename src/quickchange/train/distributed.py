"""Several processes as one run: who takes part, figures over all of them, networks in shards (FSDP2).

``torchrun`` starts the processes. Without it there is one process, no process group, and every function here returns
at once. Every process computes its share of a step's batch; gradients are averaged while they are sharded.
"""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

M = TypeVar("M", bound=nn.Module)
# Long, because the others wait while the first process encodes the data or writes a large checkpoint.
PATIENCE = timedelta(hours=6)


def start(device: str) -> torch.device:
    """Joins the processes that torchrun started, if it did; gloo between CPUs, nccl between GPUs.

    Args:
        device: torch device; with several processes ``cuda`` becomes the process's own GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch.device(device)
    chosen = torch.device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    return chosen


def stop() -> None:
    """Leaves the group that ``start`` joined."""
    if dist.is_initialized():
        _mesh.cache_clear()
        dist.destroy_process_group()


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait until all processes have come here. Costs no wait for a GPU."""
    all_reduce_max(0)


def all_reduce_max(value: int) -> int:
    """The greatest of all processes' values. Costs no wait for a GPU."""
    if size() == 1:
        return value
    held = torch.tensor(value)
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return int(held)


def mean(values: Tensor) -> Tensor:
    """Element-wise mean over all processes."""
    if size() > 1:
        dist.all_reduce(values)
        values /= size()
    return values


@cache
def _mesh(kind: str) -> DeviceMesh:
    return init_device_mesh(kind, (size(),))


def shard(module: M) -> M:
    """Shards a network's parameters over all processes, in place: block by block where it has ``blocks``.

    Everything that training calls on the network keeps working. Call it before optimisers are made.
    """
    if size() == 1 or isinstance(module, FSDPModule):
        return module
    options: dict[str, Any] = {"mesh": _mesh(next(module.parameters()).device.type), "reshard_after_forward": True}
    # Several outputs are views; nothing here changes one in place, which is what FSDP warns of on every pass.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    for block in getattr(module, "blocks", []):
        # Keys and values of the prompt are computed before and outside the block's forward.
        fully_shard([block.attn2.to_k, block.attn2.norm_k, block.attn2.to_v], **options)
        fully_shard(block, **options)
    fully_shard(module, **options)
    for method in ("embed_time", "embed_text"):
        if hasattr(module, method):
            register_fsdp_forward_method(module, method)
    return module


def local(tensor: Tensor) -> Tensor:
    """This process's part, sharing memory; the tensor itself where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered from all processes, which must all ask for it."""
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()


def like(whole: Tensor, target: Tensor) -> Tensor:
    """``whole`` on the target's device and in its shards. No communication: every process has the whole."""
    if not isinstance(target, DTensor):
        return whole.to(target.device)
    whole = whole.to(target.to_local().device)
    return distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)


def whole_copy(module: nn.Module) -> nn.Module:
    """An unsharded copy on the CPU, for export; made from the module's ``config``. All processes must call it.

    A module that is not sharded is returned as it is.
    """
    if not any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        return module
    state = {key: full(value).cpu() for key, value in module.state_dict().items()}
    kind: Any = next(c for c in type(module).__mro__ if not issubclass(c, FSDPModule))
    with torch.device("meta"):
        copy: nn.Module = kind(getattr(module, "made_from", module.config))  # a variant may be made from another config
    copy.load_state_dict(state, assign=True)
    if hasattr(copy, "tie_weights"):
        copy.tie_weights()
    return copy.eval()
