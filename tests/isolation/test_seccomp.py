"""The filter's program, run by a small machine of its own: what it answers to each call."""

from __future__ import annotations

import errno
import struct
from typing import Final

import pytest

from launcher.isolation.inside.seccomp import assemble, denials
from launcher.isolation.model import Denied
from launcher.isolation.syscalls import MACHINES, Machine

ALLOWED: Final = 0x7FFF0000
GETPID: Final = 39
OPENAT: Final = 257


def answer(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What classic BPF gives back: 0 where the call is allowed, else the errno."""
    padded = [value % 2**64 for value in (*arguments, 0, 0, 0, 0, 0, 0)][:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return 0 if value == ALLOWED else value & 0xFFFF
            case _:
                raise AssertionError(code)


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def filtered(
    machine: Machine, number: int, *arguments: int, denied: tuple[Denied, ...] = tuple(Denied)
) -> int:
    return answer(assemble(denials(denied, machine), machine), machine.audit, number, *arguments)


def test_typing_into_a_terminal_is_refused_and_asking_for_its_size_is_not(machine: Machine) -> None:
    for request in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 7 << 40):
        assert filtered(machine, machine.ioctl, 3, request) == errno.EPERM
    for request in (0x5413, 0x5401, 0x5411, 0x541B):
        assert filtered(machine, machine.ioctl, 3, request) == 0
    assert filtered(machine, machine.ioctl, 0x5412, 0) == 0


def test_keyrings_handles_and_bpf_are_refused(machine: Machine) -> None:
    for number in (
        machine.keyctl,
        machine.add_key,
        machine.request_key,
        machine.bpf,
        machine.open_by_handle_at,
    ):
        assert filtered(machine, number) == errno.EPERM


def test_sockets_are_refused_by_family(machine: Machine) -> None:
    assert filtered(machine, machine.socket, 40, 1) == errno.EAFNOSUPPORT
    assert filtered(machine, machine.socket, 1, 1) == errno.EPERM
    assert filtered(machine, machine.socket, 1 | 1 << 32, 1) == errno.EPERM
    for family in (2, 10, 16, 17):
        assert filtered(machine, machine.socket, family, 1) == 0


def test_of_socket_pairs_only_connected_streams_are_allowed(machine: Machine) -> None:
    close_on_exec, non_blocking = 0o2000000, 0o4000
    for flags in (0, close_on_exec, non_blocking, close_on_exec | non_blocking):
        assert filtered(machine, machine.socketpair, 1, 1 | flags) == 0
        assert filtered(machine, machine.socketpair, 1, 5 | flags) == 0
        assert filtered(machine, machine.socketpair, 1, 2 | flags) == errno.EPERM
        assert filtered(machine, machine.socketpair, 1, 3 | flags) == errno.EPERM


def test_io_uring_looks_as_if_it_were_not_there(machine: Machine) -> None:
    assert filtered(machine, machine.io_uring_setup) == errno.ENOSYS


def test_calls_of_another_architecture_are_refused_whole() -> None:
    machine, other = MACHINES["x86_64"], 0x40000003
    program = assemble(denials(Denied, machine), machine)
    assert answer(program, other, 54, 3, 0x5412) == errno.ENOSYS
    assert answer(program, other, 20) == errno.ENOSYS
    assert answer(program, machine.audit, GETPID) == 0


def test_calls_under_the_numbers_of_x32_are_refused_whole() -> None:
    machine = MACHINES["x86_64"]
    program = assemble(denials(Denied, machine), machine)
    assert answer(program, machine.audit, 0x40000000 | machine.keyctl) == errno.ENOSYS
    assert answer(program, machine.audit, 0x40000000 | GETPID) == errno.ENOSYS


@pytest.mark.parametrize("denied", list(Denied))
def test_what_is_not_denied_is_allowed(machine: Machine, denied: Denied) -> None:
    refused = denials([denied], machine)
    others = tuple(item for item in Denied if item is not denied)
    assert refused
    for denial in refused:
        arguments = [0] * 6
        for condition in denial.conditions:
            arguments[condition.argument] = condition.values[0]
        assert filtered(machine, denial.number, *arguments, denied=(denied,)) == denial.error
        # A raw pair of UNIX sockets is refused by nothing else.
        assert filtered(machine, denial.number, *arguments, denied=others) == 0


def test_with_everything_denied_ordinary_calls_are_allowed(machine: Machine) -> None:
    for number in (0, 1, 2, 3, OPENAT, 59, 60, 61, 434, 439):
        if number not in {denial.number for denial in denials(Denied, machine)}:
            assert filtered(machine, number) == 0
