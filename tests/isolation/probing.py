"""Prints what `probe` finds, as JSON, on a machine of the kind that the first argument says."""

from __future__ import annotations

import json
import os
import sys

from launcher.isolation.inside import enter  # noqa: F401  (imported while its file can be read)
from launcher.isolation.outside.probe import Works, probe
from tests.isolation import hosts


def main() -> None:
    kind, uid, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.chdir(folder)  # this one may lie where only root can enter
    if uid >= 0:
        hosts.become_user(uid)
    if kind:
        hosts.become(kind)
    for found in probe():
        if isinstance(found, Works):
            print(json.dumps([found.level, "works", [str(step) for step in found.missing]]))
        else:
            print(json.dumps([found.level, str(found.step), found.cause.text, found.cause.remedy]))


if __name__ == "__main__":
    main()
