"""A filter of system calls, assembled by hand: classic BPF as seccomp(2) takes it."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from launcher.isolation.model import Denied
from launcher.isolation.syscalls import MACHINES, Machine, machine, no_new_privileges, syscall

_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
"""linux/bpf_common.h, the few that are needed."""

_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
"""linux/seccomp.h"""

_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16
"""Offsets in `struct seccomp_data`. The low half of an argument comes first: both machines are
little-endian, and every argument compared here is an `int` to the kernel."""

_X32: Final = 0x40000000
"""A second numbering of the calls on x86_64, which would go round the comparisons."""

_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C
_AF_UNIX: Final = 1
_AF_VSOCK: Final = 40
_TYPE_BITS: Final = 0xF
_SOCK_DGRAM: Final = 2
_SOCK_RAW: Final = 3
_SECCOMP_SET_MODE_FILTER: Final = 1

_SECCOMP: Final = {MACHINES["x86_64"].audit: 317, MACHINES["aarch64"].audit: 277}


@dataclass(frozen=True, slots=True)
class Condition:
    """The call is denied when an argument, masked, has one of the values."""

    argument: int
    values: tuple[int, ...]
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class CallFilter:
    """One call that is answered with `error`; all conditions must hold."""

    number: int
    error: int
    conditions: tuple[Condition, ...] = ()


def denials(denied: Collection[Denied], on: Machine) -> list[CallFilter]:
    """The calls behind what is denied."""
    found = []
    for what in sorted(denied, key=lambda item: item.value):
        found += _denials(what, on)
    return found


def _denials(what: Denied, on: Machine) -> list[CallFilter]:
    match what:
        case Denied.TERMINAL_INPUT:
            return [CallFilter(on.ioctl, errno.EPERM, (Condition(1, (_TIOCSTI, _TIOCLINUX)),))]
        case Denied.KEYRING:
            return [CallFilter(number, errno.EPERM) for number in (on.add_key, on.request_key, on.keyctl)]
        case Denied.VSOCK:
            return [CallFilter(on.socket, errno.EAFNOSUPPORT, (Condition(0, (_AF_VSOCK,)),))]
        case Denied.HANDLES:
            return [CallFilter(number, errno.EPERM) for number in (on.open_by_handle_at, on.bpf)]
        case Denied.UNIX_SOCKETS:
            family = Condition(0, (_AF_UNIX,))
            # The kernel makes a datagram socket of a raw one.
            unconnected = Condition(1, (_SOCK_DGRAM, _SOCK_RAW), _TYPE_BITS)
            return [
                CallFilter(on.socket, errno.EPERM, (family,)),
                CallFilter(on.socketpair, errno.EPERM, (family, unconnected)),
            ]
        case Denied.IO_URING:
            return [CallFilter(on.io_uring_setup, errno.ENOSYS)]
        case _:
            assert_never(what)


def assemble(denied: Sequence[CallFilter], on: Machine) -> bytes:
    """The program. Calls of another architecture, and of x32, are refused whole."""
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, on.audit, 1, 0),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for denial in denied:
        program += _block(denial)
    program.append(_instruction(_RETURN, _ALLOW))
    return b"".join(program)


def _block(denial: CallFilter) -> list[bytes]:
    """Return the error if all holds; else go on behind the block with the number loaded again."""
    end = [_instruction(_RETURN, _ERRNO | denial.error), _instruction(_LOAD, _NUMBER)]
    inner: list[bytes] = []
    for condition in reversed(denial.conditions):
        inner = _condition(condition, past=len(inner) + 1) + inner
    return [_instruction(_JUMP_EQUAL, denial.number, 0, len(inner) + 1), *inner, *end]


def _condition(condition: Condition, past: int) -> list[bytes]:
    """Fall through when it holds; jump over `past` further instructions when it does not."""
    code = [_instruction(_LOAD, _ARGUMENTS + 8 * condition.argument)]
    if condition.mask is not None:
        code.append(_instruction(_AND, condition.mask))
    left = len(condition.values)
    for value in condition.values:
        left -= 1
        code.append(_instruction(_JUMP_EQUAL, value, left, 0 if left else past))
    return code


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def install(denied: Collection[Denied]) -> None:
    """Filter this process and all that it becomes and starts. Raises: OSError."""
    on = machine()
    load(assemble(denials(denied, on), on))


def load(program: bytes) -> None:
    """Put an assembled program in force, without a way back. Raises: OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    no_new_privileges()
    syscall(_SECCOMP[machine().audit], _SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(header))
