"""How much memory another process has needed."""

from pathlib import Path


def peak_memory(pid: int) -> int:
    """Peak resident memory of a living process since its exec, in KiB.

    Not `ru_maxrss`, which on Linux a child inherits from the process that forked it.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("the system does not tell a process's peak memory")
