"""CUDA tensors without a GPU: their devices and dtypes are real, and values are never computed.

PyTorch's FakeTensorMode refuses operations on tensors of two devices. On a build for CPUs autograd needs
more: a device guard and streams for CUDA, which `install` registers in this process. It writes into
PyTorch's own tables, so call it in a process that only runs such tests.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from unittest import mock

import peft.peft_model
import torch
import torch.cuda.amp.common
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers.utils import import_utils

from lora_studio.engine.kernels import numerical_equivalence
from lora_studio.engine.training import checkpoint_files

#: Machine code of the functions that the tables point to, for the calling convention of x86-64 Linux.
_RETURN_CUDA = "b801000000c3"  # DeviceType::CUDA, or the device cuda:0
_RETURN_TWO = "b802000000c3"
_RETURN_TRUE, _RETURN_FALSE, _RETURN = "b801000000c3", "31c0c3", "c3"
_RETURN_STREAM = "0fb7c631d2c3"  # the default stream of the device in the second argument
_RETURN_SAME_STREAM = "4889f0c3"

#: Slots of the virtual functions, in the order of c10/core/impl/DeviceGuardImplInterface.h.
_GUARD = {
    0: _RETURN_CUDA, 1: _RETURN_CUDA, 2: _RETURN_CUDA, 5: _RETURN_STREAM, 6: _RETURN_STREAM,
    7: _RETURN_STREAM, 8: _RETURN_STREAM, 9: _RETURN_SAME_STREAM, 11: _RETURN, 12: _RETURN,
    13: _RETURN, 15: _RETURN_TWO,
}  # fmt: skip

#: In ATen/detail/AcceleratorHooksInterface.h: isBuilt and hasPrimaryContext.
_HOOKS = {2: _RETURN_TRUE, 4: _RETURN_FALSE}

_CUDA, _META = 1, 14  # DeviceType

_INDEXING = (
    torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default,
)  # fmt: skip
_H100 = SimpleNamespace(major=9, minor=0, total_memory=80 * 10**9)
_keep: list[Any] = []


def explain_unsupported() -> str:
    """Return why this computer can't pretend to have CUDA; "" if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "fake CUDA tensors need x86-64 Linux"
    return "this PyTorch has CUDA" if torch.backends.cuda.is_built() else ""


def install() -> None:
    """Give this process a device guard for two CUDA devices that do nothing."""
    libraries = Path(torch.__file__).parent / "lib"
    c10 = ctypes.CDLL(str(libraries / "libc10.so"))
    registry = (ctypes.c_void_p * 32).in_dll(c10, "_ZN3c104impl26device_guard_impl_registryE")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    _keep.append(code)
    # The guard of the meta device does nothing either: all other functions are its own.
    guard = (ctypes.c_void_p * 1)(_copy_table(registry[_META], 24, _GUARD, code))
    _keep.append(guard)
    registry[_CUDA] = ctypes.addressof(guard)
    get_hooks = ctypes.CDLL(str(libraries / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    get_hooks.restype = ctypes.c_void_p
    hooks = get_hooks()
    table = _copy_table(hooks, 60, _HOOKS, code)
    ctypes.cast(hooks, ctypes.POINTER(ctypes.c_void_p))[0] = table


def _copy_table(instance: int | None, size: int, functions: dict[int, str], code: mmap.mmap) -> int:
    """Return the address of an object's table of virtual functions, with some of them replaced."""
    pointer = ctypes.POINTER(ctypes.c_void_p)
    original = ctypes.cast(ctypes.cast(instance, pointer)[0], pointer)
    table = (ctypes.c_void_p * size)(*(original[slot] for slot in range(size)))
    _keep.append(table)
    base = ctypes.addressof(ctypes.c_char.from_buffer(code))
    for slot, instructions in functions.items():
        content, begin = bytes.fromhex(instructions), code.tell()
        code.write(content.ljust(16, b"\x90"))
        table[slot] = base + begin
    return ctypes.addressof(table)


class DeviceWaits(TorchDispatchMode):
    """Answers what can't be computed, and lists what makes the processor wait for the device.

    Scalars read as 1.0, 1 or True, and tensors in copies to main memory as ones. `waits` has an entry for
    each scalar or tensor that is copied from a GPU, and `uploads` one for each tensor that is copied to it from memory that isn't pinned: the driver
    may wait there as well. An index in main memory counts as copied; one on another GPU raises RuntimeError,
    as in PyTorch's real kernels.
    """

    def __init__(self) -> None:
        """Start with empty lists."""
        super().__init__()
        self.waits: list[str] = []
        self.uploads: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if not _involves_cuda(args, named):
            with unset_fake_temporarily():
                return function(*args, **named)
        if function is torch.ops.aten._local_scalar_dense.default:
            self._note(args[0].device, torch.device("cpu"), str(function), blocking=True)
            return (
                {True: 1.0, False: 1}[args[0].is_floating_point()]
                if args[0].dtype != torch.bool
                else True
            )
        if function in _INDEXING:
            self._check_indices(args[0], args[1], str(function))
        result = function(*args, **named)
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if function is torch.ops.aten._to_copy.default else args[1]
            blocking = not (named.get("non_blocking") or (len(args) > 2 and args[2]))
            if source.numel():
                self._note(source.device, result.device, str(function), blocking=blocking)
            if source.device.type == "cuda" and function is torch.ops.aten._to_copy.default:
                return _fill_with_ones(result)
        return result

    def clear(self) -> None:
        """Forget what was noted so far."""
        self.waits.clear()
        self.uploads.clear()

    def _check_indices(self, values: torch.Tensor, indices: Any, name: str) -> None:
        for index in tree_leaves(indices):
            if not isinstance(index, torch.Tensor) or index.device == values.device:
                continue
            if index.device.type != "cpu":
                raise RuntimeError(f"an index on {index.device} for a tensor on {values.device}")
            self._note(index.device, values.device, name, blocking=True)

    def _note(
        self, source: torch.device, target: torch.device, name: str, *, blocking: bool
    ) -> None:
        if source.type == "cuda" and target.type == "cpu":
            self.waits.append(f"{name} in {_find_caller()}")
        elif source.type == "cpu" and target.type == "cuda" and blocking:
            self.uploads.append(f"{name} in {_find_caller()}")


def _find_caller() -> str:
    """Return the innermost line of the program on the stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and "/lora_studio/" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return "a library"
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"


def _fill_with_ones(copy: torch.Tensor) -> torch.Tensor:
    """Return ones in place of a fake tensor in main memory; one on a GPU stays fake."""
    if copy.device.type != "cpu":
        return copy
    with unset_fake_temporarily():
        return torch.ones(tuple(copy.shape), dtype=copy.dtype)


def _involves_cuda(args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Return whether an operation reads a fake tensor or creates one on a GPU."""
    if any(isinstance(value, FakeTensor) for value in args):  # nearly all of them
        return True
    leaves = tree_leaves((args, named))
    return any(
        isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == "cuda")
        for leaf in leaves
    )


@contextmanager
def use_fake_cuda(*, allows_dynamic_shapes: bool = False) -> Iterator[DeviceWaits]:
    """Make tensors on GPUs fake, and let every comparison of two kernels find them equal.

    Tensors in main memory stay real until they meet one on a GPU. An operation whose result has as many
    values as others say raises, as it would wait on a GPU, unless `allows_dynamic_shapes`.
    """
    with ExitStack() as stack:
        for target, name, value in (
            (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
            (torch.cuda, "is_bf16_supported", lambda *_: True),
            (torch.cuda, "get_device_properties", lambda *_: _H100),
            (numerical_equivalence, "compute_difference", lambda *_: 0.0),
            # transformers reads no values from fake tensors, but does from those of a GPU.
            (import_utils, "is_fake_tensor", lambda _: False),
        ):
            stack.enter_context(mock.patch.object(target, name, value, create=True))
        shapes = ShapeEnv(allow_dynamic_output_shape_ops=True) if allows_dynamic_shapes else None
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True, shape_env=shapes))
        yield stack.enter_context(DeviceWaits())


@contextmanager
def use_fake_files() -> Iterator[set[str]]:
    """Write zeros in place of fake tensors into files, and read real ones; yield the devices they were on."""
    saved: set[str] = set()

    def convert(value: Any) -> Any:
        if not isinstance(value, FakeTensor):
            return value
        saved.add(str(value.device))
        with unset_fake_temporarily():
            return torch.zeros(tuple(value.shape), dtype=value.dtype)

    def save_file(tensors: dict[str, torch.Tensor], *args: Any, **named: Any) -> None:
        real = {name: convert(value) for name, value in tensors.items()}
        with unset_fake_temporarily():
            write_file(real, *args, **named)

    def save(content: Any, *args: Any, **named: Any) -> None:
        real = tree_map(convert, content)
        with unset_fake_temporarily():
            write(real, *args, **named)

    def load(*args: Any, **named: Any) -> Any:
        with unset_fake_temporarily():
            return read(*args, **named)

    def load_file(*args: Any, **named: Any) -> Any:
        with unset_fake_temporarily():
            return read_file(*args, **named)

    write_file, write = peft.peft_model.safe_save_file, torch.save
    read_file, read = checkpoint_files.load_file, torch.load
    with (
        mock.patch.object(torch, "load", load),
        mock.patch.object(checkpoint_files, "load_file", load_file),
        mock.patch.object(peft.peft_model, "safe_save_file", save_file),
        # By address, which fake tensors don't have.
        mock.patch.object(peft.peft_model, "id_tensor_storage", id),
        mock.patch.object(torch, "save", save),
    ):
        yield saved


def move_to_fake_cuda(model: torch.nn.Module, device: str = "cuda:0") -> None:
    """Replace all parameters and buffers of a real model by fake ones on a GPU; ties are kept.

    Call it within `use_fake_cuda`. The quantization states of 4-bit weights move as well.
    """
    moved: dict[int, torch.Tensor] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty(tuple(tensor.shape), dtype=tensor.dtype, device=device)

    for module in model.modules():
        for name, value in list(module._parameters.items()):
            if value is None:
                continue
            if id(value) not in moved:
                parameter = torch.nn.Parameter(move(value), requires_grad=value.requires_grad)
                for attribute in ("quant_state", "bnb_quantized", "CB", "SCB", "quant_type"):
                    if hasattr(value, attribute):
                        setattr(parameter, attribute, _move_state(getattr(value, attribute), move))
                moved[id(value)] = parameter
            module._parameters[name] = moved[id(value)]
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = move(value)


def _move_state(state: Any, move: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return move(state)
    for name, value in vars(state).items() if hasattr(state, "__dict__") else ():
        if isinstance(value, torch.Tensor):
            setattr(state, name, move(value))
        elif type(value).__name__ == "QuantState":
            _move_state(value, move)
    return state
