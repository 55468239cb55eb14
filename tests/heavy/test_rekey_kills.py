"""No kill in the middle of a change of key, a backup or a restore leaves a vault that does not open."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

ATTEMPTS: Final = 900
"""Some of the random moments come after the end; well over 300 kills are left."""


@pytest.mark.heavy
def test_a_vault_opens_with_every_record_whenever_a_change_of_it_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    done = subprocess.run(
        [sys.executable, "-m", "tests.heavy.rekey_kills", str(tmp_path / "home"), str(ATTEMPTS), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    counted: dict[str, int] = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\nseed {seed}: every kill left a vault that opens, with every record")
        for name, count in counted.items():
            print(f"{count:6} {name}")
    assert counted["rekey kills"] >= 300
    assert counted["rekey kills at a random moment"] >= 50
    assert (
        min(counted["rekey kills that left the old key"], counted["rekey kills that left the new key"]) >= 50
    )
    for name in ("backup kills", "restore kills", "kills of the restore of a damaged vault"):
        assert counted[name] >= 20
