"""What honest programs do: each a shell script that ends with 0 where nothing is in the way.

Every script begins in an empty folder of the project. The names are what the documentation lists.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.isolation.runs import FILES, PATH


@dataclass(frozen=True, slots=True)
class Action:
    """One of them."""

    script: str
    needs: tuple[str, ...] = ()
    """Programs that not every machine has."""


def python(script: str) -> str:
    return f"python3 -c {shlex.quote(script)}"


_PTY: Final = """
import os, pty, sys
def read(fd):
    data = os.read(fd, 1024); seen.append(data); return data
seen = []
status = pty.spawn(["sh", "-c", "test -t 0 && tty && stty size"], read)
sys.exit(status or b"/dev/pts/" not in b"".join(seen))
"""
_JOBS: Final = """
import os, pty, select, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
def until(text):
    seen, end = b"", time.time() + 20
    while text not in seen:
        if time.time() > end or not select.select([terminal], [], [], 20)[0]: sys.exit("no " + text.decode())
        seen += os.read(terminal, 1024)
os.write(terminal, b"echo rea''dy; sleep 30\\n"); until(b"ready"); time.sleep(0.2)
os.write(terminal, b"\\x1a"); until(b"Stopped")
os.write(terminal, b"fg\\n"); until(b"sleep 30"); time.sleep(0.2)
os.write(terminal, b"\\x03"); os.write(terminal, b"echo sta''tus:$?; exit 6\\n"); until(b"status:130")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 6)
"""
_SERVER: Final = """
import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for host in ("127.0.0.1", "localhost"):
    assert urllib.request.urlopen(f"http://{host}:{server.server_port}/").status == 200
server.shutdown()
"""
_SHARED: Final = """
from multiprocessing import Lock, Process, Queue, shared_memory
block = shared_memory.SharedMemory(create=True, size=100)
queue, lock = Queue(), Lock()
def write(name):
    with lock: same = shared_memory.SharedMemory(name); same.buf[0] = 7; same.close()
    queue.put("written")
child = Process(target=write, args=(block.name,)); child.start()
assert queue.get(timeout=20) == "written"; child.join(); assert block.buf[0] == 7; block.unlink()
"""
_SYSTEM_V: Final = """
import ctypes
libc = ctypes.CDLL(None)
shm = libc.shmget(0, 4096, 0o1600); assert shm >= 0; assert libc.shmctl(shm, 0, None) == 0
sem = libc.semget(0, 1, 0o1600); assert sem >= 0; assert libc.semctl(sem, 0, 0) == 0
queue = libc.msgget(0, 0o1600); assert queue >= 0; assert libc.msgctl(queue, 0, None) == 0
"""
_INOTIFY: Final = """
import ctypes, os
libc = ctypes.CDLL(None); fd = libc.inotify_init1(0)
assert libc.inotify_add_watch(fd, b".", 0x100) > 0
open("made", "w").close(); assert b"made" in os.read(fd, 1024)
"""
_RINGS: Final = """
import ctypes
buffer = ctypes.create_string_buffer(120)
assert ctypes.CDLL(None).syscall(ctypes.c_long(425), 4, buffer) >= 0
"""
_LOCKS: Final = """
import fcntl, os
with open("lock", "w") as one, open("lock", "w") as other:
    fcntl.flock(one, fcntl.LOCK_EX)
    try: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB); raise SystemExit(1)
    except BlockingIOError: pass
    fcntl.lockf(one, fcntl.LOCK_EX)
"""
_MEMORY: Final = """
import mmap, os
with open("map", "w+b") as file:
    file.truncate(8192); shared = mmap.mmap(file.fileno(), 8192); shared[:3] = b"abc"; shared.flush()
    assert open("map", "rb").read(3) == b"abc"
anonymous = os.memfd_create("x"); os.write(anonymous, b"x")
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
"""
_TIMERS: Final = """
import signal, time
fired = []
signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02); time.sleep(0.1); assert fired
"""
_SIGNALS: Final = """
import os, signal, subprocess
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
os.kill(child.pid, 0); os.killpg(child.pid, signal.SIGTERM); assert child.wait(20) == -signal.SIGTERM
handle = subprocess.Popen(["sleep", "60"]); fd = os.pidfd_open(handle.pid)
signal.pidfd_send_signal(fd, signal.SIGKILL); assert handle.wait(20) == -signal.SIGKILL
"""
_OWN_PROCESS: Final = """
import os
pid = os.getpid()
assert os.readlink("/proc/self") == str(pid) and os.path.samefile("/proc/self/cwd", ".")
for name in ("maps", "status", "environ", "cmdline", "mountinfo", "fd", "task", "limits", "io"):
    path = f"/proc/self/{name}"; os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()
open("/proc/self/oom_score_adj", "r+").close(); open("/proc/self/comm", "w").write("other")
"""
_ATTRIBUTES: Final = """
import os, time
open("f", "w").close(); os.chmod("f", 0o755); os.utime("f", (1, 1)); os.setxattr("f", "user.a", b"b")
assert os.getxattr("f", "user.a") == b"b" and os.stat("f").st_mtime == 1; os.chown("f", os.getuid(), -1)
os.posix_fallocate(os.open("g", os.O_CREAT | os.O_RDWR), 0, 100); os.statvfs(".")
"""
_EVENTS: Final = """
import ctypes, os, select, socket
one, two = socket.socketpair(); poll = select.epoll(); poll.register(two, select.EPOLLIN); one.send(b"x")
assert poll.poll(5); fd = ctypes.CDLL(None).eventfd(0, 0); os.write(fd, b"\\1" + bytes(7)); os.read(fd, 8)
passing, passed = socket.socketpair(); socket.send_fds(passing, [b"x"], [0])
assert socket.recv_fds(passed, 1, 1)[1]
"""
_LIMITS: Final = """
import os, resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); os.nice(1)
os.sched_setaffinity(0, os.sched_getaffinity(0)); os.getloadavg()
"""
_POOL: Final = """
import multiprocessing, subprocess
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
assert sum(multiprocessing.Pool(2).map(abs, [1, -2])) == 3
with ProcessPoolExecutor(2) as pool: assert list(pool.map(abs, [-1])) == [1]
with ThreadPoolExecutor(4) as pool: assert not any(pool.map(subprocess.call, [["true"]] * 8))
"""
_SQLITE: Final = """
import sqlite3
one, two = sqlite3.connect("db"), sqlite3.connect("db")
one.execute("pragma journal_mode=wal"); one.execute("create table t (a)")
one.execute("insert into t values (1)"); one.commit()
assert two.execute("select a from t").fetchall() == [(1,)]
"""
_UNIX: Final = """
import socket
for name in ("socket", "\\0own-" + __import__("os").urandom(8).hex()):
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(name); server.listen(); client.connect(name)
"""
_STATE: Final = """
import json, os, pathlib, tempfile
folder = pathlib.Path.home() / ".agent"; folder.mkdir(exist_ok=True)
with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file: json.dump({"turn": 1}, file)
os.replace(file.name, folder / "state.json"); assert json.loads((folder / "state.json").read_text())
"""
_THREADS: Final = """
import asyncio, threading
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    await asyncio.open_connection(*server.sockets[0].getsockname())
    assert (await (await asyncio.create_subprocess_exec("true")).wait()) == 0
    await asyncio.to_thread(threading.get_ident)
asyncio.run(main())
"""

_ID: Final = "git -c user.name=n -c user.email=e@x"

ACTIONS: Final = {
    "git: init, commit, branch, stash": Action(
        f"git init -q . && echo x > f && git add f && {_ID} commit -qm m && git checkout -qb b && echo y > f"
        f" && {_ID} stash -q && git log --oneline | grep -q m"
    ),
    "git: clone and push in the file system": Action(
        f"git init -q --bare o && git clone -q o c && cd c && {_ID} commit -q --allow-empty -m m"
        " && git push -q origin HEAD:main"
    ),
    "git: clone over https": Action(f"git clone -q https://{FILES}/repository c && test -e c/.git"),
    "git: config --global": Action("git config --global user.name someone && git config user.name"),
    "curl to the provider": Action(
        'curl -sSf -H "Authorization: Bearer $DISCORD_ACCESS_TOKEN" https://discord.com/api/v10/users/@me'
        " | grep -q username",
        ("curl",),
    ),
    "curl to another host": Action(f"curl -sSf https://{FILES}/ | grep -q simple", ("curl",)),
    "python: venv, and pip install of a local wheel": Action(
        "python3 -m venv --without-pip --system-site-packages v"
        " && v/bin/python -m pip install -q --no-index --no-deps ../honest-1-py3-none-any.whl"
        ' && v/bin/python -c "import honest"'
    ),
    "python: pip install from an index": Action(
        "python3 -m pip install -q --no-deps --disable-pip-version-check --target t"
        f" --index-url https://{FILES}/simple honest && test -e t/honest.py"
    ),
    "a cache in the home folder": Action("mkdir -p ~/.cache/tool && echo x > ~/.cache/tool/file"),
    "python: multiprocessing and pools": Action(python(_POOL)),
    "python: asyncio, threads, subprocesses": Action(python(_THREADS)),
    "python: shared memory and semaphores": Action(python(_SHARED)),
    "npm: pack and install": Action(
        """mkdir p q && echo '{"name":"p","version":"1.0.0"}' > p/package.json && cd p && npm pack --silent"""
        " && cd ../q && npm install --silent --offline --no-audit --no-fund ../p/*.tgz"
        " && test -e node_modules/p",
        ("npm",),
    ),
    "node: a worker and a child process": Action(
        "node -e \"new (require('worker_threads').Worker)('1',{eval:true});"
        "require('child_process').execSync('true')\"",
        ("node",),
    ),
    "make and a compiler": Action(
        "printf 'int main(void){return 0;}' > a.c && printf 'a: a.c\\n\\tcc -o a a.c\\n' > Makefile"
        " && make -s && ./a",
        ("make", "cc"),
    ),
    "a script that is executable": Action("printf '#!/bin/sh\\nexit 0\\n' > s && chmod +x s && ./s"),
    "temporary files": Action("d=$(mktemp -d) && echo x > $d/f && mv $d/f $d/g && rm -r $d"),
    "files in /dev/shm": Action("echo x > /dev/shm/honest-$$ && rm /dev/shm/honest-$$"),
    "new files in the home folder": Action("echo x > ~/new && mv ~/new ~/newer && rm ~/newer"),
    "editing a dotfile": Action("echo x >> ~/.bashrc && sed -i s/x/y/ ~/.bashrc && grep -q y ~/.bashrc"),
    "state of an agent in the home folder": Action(python(_STATE)),
    "reading ~/.ssh/known_hosts": Action("grep -q host.example ~/.ssh/known_hosts"),
    "a server on loopback that the program reaches itself": Action(python(_SERVER)),
    "a program on a terminal of its own": Action(python(_PTY)),
    "a shell with job control: ^Z, fg, ^C": Action(python(_JOBS)),
    "jobs in the background": Action("sleep 0.01 & wait $! && (sleep 30 & kill $!; wait $!; test $? = 143)"),
    "pipes and process substitution": Action("bash -c 'diff <(echo a) <(echo a)'"),
    "many processes at once": Action("seq 40 | xargs -P 8 -n 1 true"),
    "tmux, with a server of its own": Action(
        "tmux -S ./own -f /dev/null new-session -d 'echo seen > seen; sleep 20'"
        " && until test -s seen; do sleep 0.02; done && tmux -S ./own kill-server",
        ("tmux",),
    ),
    "ssh-agent, started by the program": Action(
        "ssh-keygen -qt ed25519 -N '' -f k && eval $(ssh-agent) && ssh-add -q k; s=$?; ssh-agent -k; exit $s",
        ("ssh-agent", "ssh-add", "ssh-keygen"),
    ),
    "gpg, with an agent of its own": Action(
        "GNUPGHOME=$(mktemp -d) && export GNUPGHOME && echo x |"
        " gpg --batch --passphrase '' --quick-generate-key x ed25519 default never"
        "; s=$?; gpgconf --kill all; exit $s",
        ("gpg", "gpgconf"),
    ),
    "strace": Action("strace -f -o out sh -c true && grep -q execve out", ("strace",)),
    "gdb": Action("gdb -q -batch -ex run -ex 'info inferiors' /bin/true | grep -q exited", ("gdb",)),
    "namespaces of its own": Action(
        "unshare --user --map-root-user --mount --pid --fork --mount-proc true", ("unshare",)
    ),
    "a program that does without io_uring where it must": Action(
        "echo x > f && UV_USE_IO_URING=1 node -e \"require('fs').promises.readFile('f')\"", ("node",)
    ),
    "sqlite with a write-ahead log": Action(python(_SQLITE)),
    "inotify": Action(python(_INOTIFY)),
    "unix sockets of its own": Action(python(_UNIX)),
    "epoll, eventfd, passed descriptors": Action(python(_EVENTS)),
    "System V memory, semaphores, queues": Action(python(_SYSTEM_V)),
    "file locks": Action(python(_LOCKS)),
    "links and named pipes": Action(
        "echo x > f && ln -s f s && ln f h && cat s h && mkfifo p && (echo y > p &) && grep -q y p"
    ),
    "memory maps": Action(python(_MEMORY)),
    "timers": Action(python(_TIMERS)),
    "signals between its own processes": Action(python(_SIGNALS)),
    "/proc/self": Action(python(_OWN_PROCESS)),
    "attributes of files": Action(python(_ATTRIBUTES)),
    "limits, priority, processors": Action(python(_LIMITS)),
    "locale and time zone": Action("LC_ALL=C.UTF-8 locale && TZ=Europe/Berlin date && printf '\\303\\251'"),
    "names of user and host": Action("id -u && hostname && getent hosts localhost && uname -a"),
    "facts of the system": Action(
        "cat /proc/cpuinfo /proc/meminfo /proc/mounts /proc/sys/kernel/osrelease /sys/class/net/lo/mtu"
        " && df . && nproc && ps ax | grep -q ps"
    ),
    "devices": Action(
        "head -c 9 /dev/urandom > f && echo x > /dev/null && echo > /dev/fd/1 && : < /dev/zero"
    ),
    "tar": Action("echo x > f && tar czf a.tgz f && rm f && tar xzf a.tgz && test -e f", ("tar",)),
}
"""In a project of an agent, nothing of this may fail under guard."""

OUTSIDE: Final = {
    "io_uring": Action(python(_RINGS)),
    "a file of another program in /tmp": Action('test -s "$TEMPORARY"'),
    "a service of the user on loopback": Action(
        python(
            "import os, socket\n"
            "socket.create_connection(('127.0.0.1', int(os.environ['LOOPBACK_PORT'])), 5).recv(100)"
        )
    ),
    "an abstract socket of a daemon": Action(
        python(
            "import os, socket\nc = socket.socket(1)\n"
            "c.connect('\\0' + os.environ['ABSTRACT_SOCKET']); c.recv(100)"
        )
    ),
    "a socket file of a daemon": Action(
        python("import os, socket\nc = socket.socket(1); c.connect(os.environ['PATH_SOCKET']); c.recv(100)")
    ),
    "a signal to a process outside": Action('kill -0 "$DAEMON"'),
    "another terminal of the user": Action(': >> "$TERMINAL"'),
    "files outside of the project": Action('echo x > "${TEMPORARY%/*}/outside"'),
    "files in the home folder that stay": Action("echo kept > ~/kept"),
    "authsome itself": Action('head -c 9 "$VAULT/vault.db"'),
}
"""What reaches out of the run: here the levels differ, and must as the documentation says."""


def provide(files: Path, home: Path) -> None:
    """Put what the scripts fetch into the served folder, and what they find into the home folder."""
    wheel = files / "simple" / "honest" / "honest-1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    about = "honest-1.dist-info"
    members = {
        "honest.py": "",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: honest\nVersion: 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": f"honest.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    (home / "project" / wheel.name).write_bytes(wheel.read_bytes())
    repository = str(files / "repository")
    subprocess.run(["git", "init", "-q", "--bare", repository], check=True)
    subprocess.run(["git", "-C", repository, "update-server-info"], check=True)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "known_hosts").write_text("host.example ssh-ed25519 AAAA\n")


def present(actions: Mapping[str, Action]) -> dict[str, Action]:
    """Those whose programs are on this machine."""
    return {
        name: action
        for name, action in actions.items()
        if all(shutil.which(program, path=PATH) for program in action.needs)
    }


def script(actions: Mapping[str, Action]) -> str:
    """One script that tries all: a line with the status and the name of each, and what a failed one said."""
    tries = [
        f"( d=$(mktemp -d ./a.XXXXXX) && cd $d && ( {action.script}\n) ) >said 2>&1 </dev/null"
        f'; s=$?; echo "$s {name}"; test $s = 0 || tail -n 3 said | sed "s/^/  /"'
        for name, action in actions.items()
    ]
    return "\n".join(tries)


def failed(output: str) -> set[str]:
    """The names of those that did not end with 0, from what `script` printed."""
    lines = [line.partition(" ") for line in output.splitlines() if not line.startswith("  ")]
    return {name for status, _, name in lines if status != "0"}
