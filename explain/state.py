"""Attributing hooks into a model, which is shared with scoring: one attribution at a time, and all put back after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn

from detectors.heap import return_freed_memory

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


@contextmanager
def borrowed(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """The model in eval mode, its weights without gradients, and random numbers from `seed`, for one attribution.

    Another attribution of the same model waits. Afterwards mode, requires_grad, hooks and the random state are what
    they were, also when the attribution broke off. cuDNN is off meanwhile where the model has a recurrent layer:
    cuDNN cannot go back through one in eval mode.
    """
    with _guard:
        lock = _locks.setdefault(model, threading.RLock())
    recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())
    cudnn = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    with lock, cudnn, torch.inference_mode(False), torch.random.fork_rng(devices=_cuda_devices(model)):
        torch.manual_seed(seed)
        training = [(m, m.training) for m in model.modules()]
        wanted = [(p, p.requires_grad) for p in model.parameters()]
        hooks = [(m, {kind: set(getattr(m, kind)) for kind in _HOOKS}) for m in model.modules()]
        try:
            for module, _ in training:
                module.training = False
            model.requires_grad_(False)
            yield
        finally:
            for module, was in training:
                module.training = was
            for parameter, was in wanted:
                parameter.requires_grad_(was)
            for module, before in hooks:
                for kind in _HOOKS:
                    now = getattr(module, kind)
                    for key in set(now) - before[kind]:
                        del now[key]
            return_freed_memory()  # the way back through a network takes gigabytes


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _cuda_devices(model: nn.Module) -> list[int]:
    device = device_of(model)
    return [device.index or 0] if device.type == "cuda" else []
