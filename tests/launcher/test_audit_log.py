import fcntl
import json
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.audit_log import CURRENT, KEPT_FILES, AuditLog, read_audit
from proxy.model import Event
from tests.launcher.cli import ROOT

EVENT = Event("GET", "discord.com", "/api/v10/users/@me", "inject", "discord/work", None, 200)


def log(folder: Path, max_bytes: int = 5_000_000) -> AuditLog:
    folder.mkdir(mode=0o700, exist_ok=True)
    return AuditLog(folder, "r1", lambda: 1_800_000_000.5, max_bytes)


def test_a_line_is_one_json_object_with_every_field(tmp_path: Path) -> None:
    log(tmp_path / "audit")(EVENT)
    (line,) = read_audit(tmp_path / "audit")
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00Z",
        "run": "r1",
        "provider": "discord",
        "connection": "work",
        "host": "discord.com",
        "method": "GET",
        "path": "/api/v10/users/@me",
        "decision": "inject",
        "reason": None,
        "status": 200,
    }


def test_a_query_is_never_kept_and_a_line_end_in_a_path_makes_no_second_line(tmp_path: Path) -> None:
    log(tmp_path / "audit")(Event("GET", "h", "/a\n{}\x1b?token=CANARY", "pass"))
    (line,) = read_audit(tmp_path / "audit")
    assert "CANARY" not in line
    assert "\x1b" not in line
    assert json.loads(line)["provider"] is None


def test_the_file_is_private(tmp_path: Path) -> None:
    log(tmp_path / "audit")(EVENT)
    for path in (tmp_path / "audit").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_file_is_rotated_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit", max_bytes=400)
    for number in range(50):
        audit(Event("GET", "h", f"/{number}", "pass"))
    paths = [json.loads(line)["path"] for line in read_audit(tmp_path / "audit")]
    assert paths == [f"/{number}" for number in range(50 - len(paths), 50)]
    files = sorted(path.name for path in (tmp_path / "audit").glob("*.jsonl"))
    assert files == sorted([CURRENT, *(f"audit.{number}.jsonl" for number in range(1, KEPT_FILES + 1))])
    assert all((tmp_path / "audit" / name).stat().st_size <= 400 for name in files)


def test_an_event_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit")
    (tmp_path / "audit" / CURRENT).mkdir()
    with pytest.raises(OSError, match="directory"):
        audit(EVENT)


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit")
    (tmp_path / "audit" / CURRENT).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        audit(EVENT)
    assert not (tmp_path / "elsewhere").exists()


WRITER = f"""
import sys, time
sys.path.append({str(ROOT)!r})
from pathlib import Path
from launcher.audit_log import AuditLog
from proxy.model import Event
log = AuditLog(Path(sys.argv[1]), sys.argv[2], time.time, 20_000)
for number in range(100):
    log(Event("GET", "h", f"/{{number}}", "pass"))
"""


def test_several_processes_lose_and_tear_no_line_while_files_are_rotated(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    with ExitStack() as stack:
        writers = []
        for run in range(4):
            command = [sys.executable, "-c", WRITER, str(tmp_path / "audit"), str(run)]
            writers.append(stack.enter_context(subprocess.Popen(command)))
            stack.callback(writers[-1].kill)
        assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    lines = [json.loads(line) for line in read_audit(tmp_path / "audit")]
    assert len(list((tmp_path / "audit").glob("*.jsonl"))) > 1
    for run in range(4):
        assert [line["path"] for line in lines if line["run"] == str(run)] == [f"/{n}" for n in range(100)]


def test_a_line_waits_while_another_process_rotates(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit")
    audit(EVENT)
    with (tmp_path / "audit" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=audit, args=(EVENT,))
        writer.start()
        writer.join(0.1)
        assert writer.is_alive()
        assert len((tmp_path / "audit" / CURRENT).read_text().splitlines()) == 1
    writer.join(10)
    assert len(read_audit(tmp_path / "audit")) == 2


def test_without_a_folder_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert read_audit(tmp_path / "audit") == []
