"""Why a step of the set-up fails on this machine, and what helps. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from launcher.isolation.steps import Step


@dataclass(frozen=True, slots=True)
class Host:
    """What the system says of itself. None where it says nothing."""

    apparmor_restricts: bool | None
    """kernel.apparmor_restrict_unprivileged_userns"""
    user_namespaces: int | None
    """user.max_user_namespaces"""
    unprivileged_clone: bool | None
    """kernel.unprivileged_userns_clone, of Debian's older kernels"""
    filtered: bool
    """Whether a filter of system calls was already there when the launcher was started."""


@dataclass(frozen=True, slots=True)
class Cause:
    """In words for a person, each one sentence."""

    text: str
    remedy: str


_REFUSED: Final = (errno.EPERM, errno.EACCES)
_IN_NAMESPACE: Final = (
    Step.NAMESPACES,
    Step.IDENTITY,
    Step.PROPAGATION,
    Step.HIDE,
    Step.MASK,
    Step.TERMINALS,
    Step.LINK,
    Step.ROUTES,
)
"""Where AppArmor's profile for unprivileged namespaces refuses: it allows to make them, not to use them."""


def explain(step: Step, number: int, host: Host) -> Cause:
    """The likeliest cause of a failed step."""
    refused = number in _REFUSED
    if step is Step.SYSTEM:
        return Cause(
            "this system has none of the means", "use Linux, or give <set no_sandbox> to run without"
        )
    if host.apparmor_restricts and refused and step in _IN_NAMESPACE:
        return Cause(
            "AppArmor lets programs make user namespaces but not use them, as Ubuntu 23.10 and newer do",
            "run 'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0' where that is acceptable",
        )
    if step is Step.NAMESPACES:
        return _no_namespaces(number, host)
    if step is Step.PROCESSES and refused:
        return Cause(
            "parts of /proc are masked here, as in containers, so no new one can be mounted",
            "start the container with '--security-opt systempaths=unconfined'",
        )
    if step is Step.OVERLAY:
        return Cause(
            "the kernel is older than 5.11, or something is mounted below the home folder",
            "give <set home> ro",
        )
    if step is Step.READ_ONLY and number == errno.ENOSYS:
        return Cause("the kernel is older than 5.12", "use a newer kernel, or run without <set sandbox>")
    if step is Step.SCOPE and number in (errno.ENOSYS, errno.EOPNOTSUPP):
        return Cause(
            "the kernel's Landlock is too old, or not enabled",
            "use a kernel from 6.12 on with 'landlock' among the modules of its 'lsm=' option",
        )
    if step is Step.CARVE and number in (errno.ENOSYS, errno.EOPNOTSUPP):
        return Cause(
            "the kernel has no Landlock, or it is not enabled",
            "use a kernel from 5.13 on with 'landlock' among the modules of its 'lsm=' option",
        )
    if step in (Step.SCOPE, Step.CARVE) and refused:
        return Cause(
            "a filter of system calls refuses Landlock",
            "allow the landlock calls in the container's seccomp profile",
        )
    if step is Step.FILTER and number == errno.EINVAL:
        return Cause("the kernel has no filters of system calls", "use a kernel with CONFIG_SECCOMP_FILTER")
    if step is Step.FOLDER:
        return Cause("the working folder cannot be entered after the set-up", "change to another folder")
    return Cause("the system refused it", "run <doctor> to see what works here")


def _no_namespaces(number: int, host: Host) -> Cause:
    if host.user_namespaces == 0 or number == errno.ENOSPC:
        return Cause(
            "user.max_user_namespaces allows no more user namespaces",
            "run 'sudo sysctl user.max_user_namespaces=10000'",
        )
    if host.unprivileged_clone is False:
        return Cause(
            "kernel.unprivileged_userns_clone is off",
            "run 'sudo sysctl kernel.unprivileged_userns_clone=1'",
        )
    if number in _REFUSED and host.filtered:
        return Cause(
            "a filter of system calls refuses namespaces, as Docker's default profile does",
            "start the container with a seccomp profile that allows unshare, clone and mount",
        )
    if number == errno.EINVAL:
        return Cause("the kernel was built without user namespaces", "use a kernel with CONFIG_USER_NS")
    return Cause("the system allows no user namespaces", "ask who administers it to allow them")
