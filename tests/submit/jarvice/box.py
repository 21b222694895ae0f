# SPDX-License-Identifier: Apache-2.0
"""The first process of a job's box: builds what the job sees, runs it, and ends all it left.

    unshare --mount --pid --uts --fork --kill-child python3 -I -S box.py PLAN

PLAN is the JSON of a `Plan`. Words on standard input: a number is a signal for the command and its
group; the end of input, also when the server was killed, ends everything. At the socket `door` it
takes commands for the job's nodes, as sshd would. Without a `root` it runs outside of namespaces,
in the file system as it is. Imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TypedDict

_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE = 1, 32, 4096, 16384
_UNBINDABLE, _PRIVATE = 1 << 17, 1 << 18
_SUBREAPER = 36
_NOT_STARTED, _NO_NODE = 127, 255
_NEW_MOUNTS, _NEW_NAMES = 0x20000, 0x4000000

NODES = "/opt/JARVICE/nodes"
"""Where a box keeps what each further node has of its own: tmp, home and shm."""

_libc = ctypes.CDLL(None, use_errno=True)


class Plan(TypedDict):
    """What to build and run; `binds` are source, target and whether it may only be read.

    `login` is the environment of what comes over ssh, `tools` the folder of the socket.
    """

    root: str | None
    binds: list[tuple[str, str, bool]]
    shm: str
    nodes: list[str]
    argv: list[str]
    environment: dict[str, str]
    login: dict[str, str]
    tools: str
    uid: int
    gid: int
    report: str


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """The system call, with its error as an exception."""
    words = [word.encode() for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def enter(root: str, plan: Plan) -> None:
    """Make a root of this machine's and the job's own folders, and go there for good."""
    mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    mount("box", root, "tmpfs", data="mode=755")
    # Else a bind of the folder that holds the root would take in the root as well.
    mount("none", root, flags=_UNBINDABLE)
    targets = [target for _, target, _ in plan["binds"]] + ["/proc"]
    _fill("", root, targets)
    for source, target, read_only in plan["binds"]:
        place = root + target
        _make_place(source, place)
        mount(source, place, flags=_BIND | _RECURSIVE)
        if read_only:
            mount("none", place, flags=_BIND | _REMOUNT | _READ_ONLY)
    os.makedirs(f"{root}/proc", exist_ok=True)
    mount("proc", f"{root}/proc", "proc")
    first, *others = plan["nodes"]
    for shm in ("/dev/shm", *(f"{NODES}/{node}/shm" for node in others)):
        mount("shm", root + shm, "tmpfs", data=f"mode=1777,size={plan['shm']}")
    socket.sethostname(first)
    os.chroot(root)


def _fill(folder: str, root: str, targets: list[str]) -> None:
    """Show this machine's `folder` below `root`, with room for the targets."""
    for name in os.listdir(folder or "/"):
        path = f"{folder}/{name}"
        if path in targets:
            continue
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif any(target.startswith(f"{path}/") for target in targets):
            os.mkdir(root + path)
            _fill(path, root, targets)
        else:
            _make_place(path, root + path)
            mount(path, root + path, flags=_BIND | _RECURSIVE)


def _make_place(source: str, place: str) -> None:
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(place).touch()


def move(node: str, home: str) -> None:
    """Go to a further node: another name, and nothing of the first node's but /data."""
    if _libc.unshare(_NEW_MOUNTS | _NEW_NAMES):
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(node)
    for part, place in (("tmp", "/tmp"), ("home", home), ("shm", "/dev/shm")):
        mount(f"{NODES}/{node}/{part}", place, flags=_BIND)


class Init:
    """The first process: starts commands, passes signals on, and learns of ends."""

    def __init__(self, plan: Plan) -> None:
        """Open the door, and hear of children that end."""
        self._plan = plan
        self._sessions: dict[int, socket.socket] = {}
        self._ended, ended = os.pipe()
        os.set_blocking(ended, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ended)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.chdir(plan["tools"])  # a socket's path must be short
        self._door.bind("door")
        os.chmod("door", 0o666)
        self._door.listen(64)
        self.command = self._start(plan["argv"], plan["environment"], plan["nodes"][0], [])

    def _start(
        self, argv: list[str], environment: dict[str, str], node: str, files: list[int]
    ) -> int:
        """Start a command in a session of its own; its number."""
        child = os.fork()
        if child:
            return child
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them: inherited
                signal.signal(number, signal.SIG_DFL)
            for at, file in enumerate(files or [os.open(os.devnull, os.O_RDONLY)]):
                os.dup2(file, at)
            if self._plan["root"] is not None:
                if node != self._plan["nodes"][0]:
                    move(node, environment["HOME"])
                os.setgroups([])
                os.setgid(self._plan["gid"])
                os.setuid(self._plan["uid"])
            os.chdir(environment["HOME"])
            os.execve(argv[0], argv, environment)
        except OSError as error:
            print(f"INIT[1]: cannot run {argv[0]}: {error}", flush=True)
        finally:
            os._exit(_NOT_STARTED)

    def attend(self) -> int | None:
        """Until the command has ended, for its code, or all is to end, for None."""
        while True:
            ready, _, _ = select.select([0, self._ended, self._door.fileno()], [], [])
            if self._door.fileno() in ready:
                self._let_in()
            if 0 in ready:
                words = os.read(0, 4096).split()
                if not words:
                    return None
                for word in words:
                    self._signal(int(word))
            if self._ended in ready:
                os.read(self._ended, 4096)
                code = self._reap()
                if code is not None:
                    return code

    def _let_in(self) -> None:
        """Run what an ssh client hands over, on the node that it names."""
        caller, _ = self._door.accept()
        message, files, _, _ = socket.recv_fds(caller, 1 << 17, 3)
        if not message:  # it was killed before it said anything
            caller.close()
            return
        node, line = json.loads(message)
        for file in files:
            os.set_inheritable(file, False)
        if node in self._plan["nodes"]:
            argv = ["/bin/sh", "-c", line]
            self._sessions[self._start(argv, self._plan["login"], node, files)] = caller
        else:
            os.write(files[2], f"ssh: {node} is no node of this job\n".encode())
            caller.send(b"%d" % _NO_NODE)
            caller.close()
        for file in files:
            os.close(file)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.command, number)
        except ProcessLookupError:  # it has just been started, and leads no group yet
            os.kill(self.command, number)

    def _reap(self) -> int | None:
        """Take in all processes that have ended; the command's code if it was among them."""
        found = None
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                code = code if code >= 0 else 128 - code
                if ended[0] == self.command:
                    found = code
                if caller := self._sessions.pop(ended[0], None):
                    with caller, contextlib.suppress(OSError):  # the client may be gone
                        caller.send(b"%d" % code)
        return found


def end_all() -> None:
    """Kill what is left; whose parent has ended is a child of this process."""
    listed = Path("/proc/self/task", str(os.getpid()), "children")
    while children := listed.read_text().split():
        for child in children:
            os.kill(int(child), signal.SIGKILL)
            os.waitpid(int(child), 0)


def main() -> None:
    """Run the plan that was named."""
    plan: Plan = json.loads(Path(sys.argv[1]).read_text())
    os.umask(0o022)  # others than root pass through what is made here
    # Opened here: the job's box does not show where it lies.
    with open(plan["report"], "w") as report:
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        if plan["root"] is not None:
            enter(plan["root"], plan)
        init = Init(plan)
        print(init.command, file=report, flush=True)
        code = init.attend()
        end_all()
        print("" if code is None else code, file=report)


if __name__ == "__main__":
    main()
