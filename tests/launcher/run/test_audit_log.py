import fcntl
import json
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

from launcher.run.audit_log import (
    CURRENT,
    KEPT_FILES,
    USED,
    AuditLog,
    answered_locally,
    reach,
    read_audit,
)
from launcher.run.audit_share import Limit, Share
from launcher.text import report
from proxy.model import Event, Reason
from tests.launcher.cli import ROOT

EVENT = Event("GET", "discord.com", "/api/v10/users/@me", "inject", "discord/work", None, 200)


def log(folder: Path, max_bytes: int = 5_000_000) -> AuditLog:
    folder.mkdir(mode=0o700, exist_ok=True)
    return AuditLog(folder, "r1", "team", lambda: 1_800_000_000.5, max_bytes)


def test_a_line_is_one_json_object_with_every_field(tmp_path: Path) -> None:
    log(tmp_path / "audit")(EVENT)
    (line,) = read_audit(tmp_path / "audit")
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00Z",
        "run": "r1",
        "profile": "team",
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


FILL = """
import resource, sys
from pathlib import Path
from launcher.run.audit_log import AuditLog
from proxy.model import Event
folder = Path(sys.argv[1])
log = AuditLog(folder, "r", "default", lambda: 0.0)
event = Event("GET", "discord.com", "/", "inject")
log(event)
resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / "audit.jsonl").stat().st_size + 10, -1))
try:
    log(event)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
log(event)
"""


def test_a_line_that_does_not_fit_is_an_error_and_leaves_no_part_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "No space left on device\n"
    assert [json.loads(line)["decision"] for line in read_audit(tmp_path)] == ["inject", "inject"]


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
from launcher.run.audit_log import AuditLog
from proxy.model import Event
log = AuditLog(Path(sys.argv[1]), sys.argv[2], "team", time.time, 20_000)
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


DAMAGED: Final = (
    b"\xff\xfe",
    b"5",
    b"null",
    b'{"a":1}',
    b'["time"]',
    b"",
    b'{"time": "2027',
    b"[" * 100_000,
    b'"\xed\xa0\x80"',
)


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda line: repr(line[:20]))
def test_a_damaged_line_is_left_out_and_told_of(
    damaged: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = log(tmp_path)
    audit(EVENT)
    with (tmp_path / CURRENT).open("ab") as file:
        file.write(damaged + b"\n")
    audit(EVENT)
    assert [json.loads(line)["decision"] for line in read_audit(tmp_path, report)] == ["inject", "inject"]
    assert capsys.readouterr().err == "authsome: warning: 1 damaged line of the audit left out\n"


def test_of_an_audit_without_damage_nothing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path)(EVENT)
    assert len(read_audit(tmp_path, report)) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 requests were"), (1, "1 request was"), (2, "2 requests were")],
)
def test_one_request_was_and_several_were_answered(count: int, said: str) -> None:
    assert answered_locally(count) == f"{said} answered locally"


REFUSED: Final = Event("GET", "discord.com", "/x", "refuse", "discord/work", Reason.NOT_PERMITTED, 403)


def test_a_program_cannot_push_out_what_it_and_others_did(tmp_path: Path) -> None:
    """126,000 refused requests once rolled all files over, other runs' lines too."""
    other = log(tmp_path / "audit")
    other.run = "other"
    for event in (EVENT, Event("CONNECT", "example.org", "", "tunnel"), REFUSED):
        other(event)
    hostile = log(tmp_path / "audit")
    hostile(EVENT)
    for number in range(126_000):
        hostile(Event("GET", f"h{number % 500}", f"/{number}", "refuse", None, Reason.NOT_PERMITTED, 403))
    hostile.finish()
    lines = [json.loads(line) for line in read_audit(tmp_path / "audit")]
    assert [line["decision"] for line in lines if line["run"] == "other"] == ["inject", "tunnel", "refuse"]
    assert [line["path"] for line in lines if line["decision"] == "inject"] == [EVENT.path] * 2
    mine = [line for line in lines if line["run"] == "r1" and line["decision"] == "refuse"]
    assert sum(line.get("count", 1) for line in mine) == 126_000
    assert len(list((tmp_path / "audit").glob("*.jsonl"))) == 1


def test_requests_with_a_credential_push_out_no_other_runs_either(tmp_path: Path) -> None:
    other = log(tmp_path / "audit", max_bytes=500_000)
    other.run = "other"
    other(EVENT)
    hostile = log(tmp_path / "audit", max_bytes=500_000)
    for _ in range(100_000):
        hostile(EVENT)
    hostile.finish()
    lines = [json.loads(line) for line in read_audit(tmp_path / "audit")]
    assert lines[0]["run"] == "other"
    assert sum(line.get("count", 1) for line in lines) == 100_001


def test_what_carried_a_credential_is_pushed_out_by_nothing_that_did_not(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit", max_bytes=1000)
    told = [
        EVENT,
        Event("", "", "", "export", "discord/work"),
        Event("", "", "", "circuit", "discord/work", "x"),
    ]
    for event in told:
        audit(event)
    for number in range(1000):  # of many runs, each within its share
        audit(Event("GET", "h", f'/"decision": "inject"/{number}', "pass"))
    lines = [json.loads(line) for line in read_audit(tmp_path / "audit")]
    assert [line["decision"] for line in lines][:4] == ["inject", "export", "circuit", "pass"]
    assert len([line for line in lines if line["decision"] != "pass"]) == 3
    assert sum(path.stat().st_size for path in (tmp_path / "audit").glob("*.jsonl")) < 7 * 1000
    assert stat.S_IMODE((tmp_path / "audit" / USED).stat().st_mode) == 0o600


def test_a_sum_that_could_not_be_written_is_not_lost_and_nothing_seems_kept_meanwhile(tmp_path: Path) -> None:
    audit = log(tmp_path / "audit")
    audit.share = Share(other=Limit(0, 1e9), injected=Limit(0, 1e9))
    for _ in range(99):
        audit(REFUSED)
    (tmp_path / "audit" / CURRENT).mkdir()
    for event in (REFUSED, EVENT, EVENT):
        with pytest.raises(OSError, match="directory"):
            audit(event)
    (tmp_path / "audit" / CURRENT).rmdir()
    audit(EVENT)
    lines = [json.loads(line) for line in read_audit(tmp_path / "audit")]
    assert [(line["decision"], line.get("count")) for line in lines] == [("refuse", 100), ("inject", None)]


def test_how_far_back_the_audit_reaches_is_known(tmp_path: Path) -> None:
    assert reach(tmp_path / "audit") is None
    times = iter(range(1000))
    audit = AuditLog(log(tmp_path / "audit").folder, "r1", "team", lambda: float(next(times)), 1000)
    assert reach(tmp_path / "audit") is None
    audit(EVENT)
    audit(REFUSED)
    assert reach(tmp_path / "audit") == 0.0
    for _ in range(100):
        audit(REFUSED)
    assert reach(tmp_path / "audit") == 0.0
    (tmp_path / "audit" / USED).unlink()
    oldest = json.loads(read_audit(tmp_path / "audit")[0])["time"]
    assert reach(tmp_path / "audit") == datetime.fromisoformat(oldest).timestamp() > 1
