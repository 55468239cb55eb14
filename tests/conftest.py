"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.launcher.forking import SERVERS
from tests.leftovers import end_leftovers, running_children
from tests.login_port import login_port, take_a_network_of_our_own
from tests.standin import StandIn

# A shell that starts the tests in the background has them, and all their children, ignore ^C; several
# tests are about what ^C does.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("authsome", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("authsome")

if "PYTEST_XDIST_WORKER" in os.environ:  # another one runs beside this one
    take_a_network_of_our_own()


def pytest_xdist_auto_num_workers() -> int:
    """More than there are processors, as many tests wait for something most of the time: 4 for 2, 7 for 4."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors * 3 // 2 + 1


def pytest_sessionfinish() -> None:
    for server in SERVERS:
        server.stop()


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Every test ends the processes that it has started, also where it fails."""
    before = running_children()
    yield
    left = end_leftovers(before | {server.pid for server in SERVERS})
    assert not left, f"left running: {left}"


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """A fresh stand-in Discord; it takes a few milliseconds to start."""
    with StandIn() as server:
        yield server


@pytest.fixture(scope="module")
def alone_at_the_login_port() -> Iterator[None]:
    """For the files in which the program listens at the port of logins, or looks whether it is free."""
    with login_port():
        yield
