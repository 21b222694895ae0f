# SPDX-License-Identifier: Apache-2.0
"""For the ssh client and the sshd of a job's nodes: the box's first process runs the command.

It is copied to where jobs find it, and imports nothing of the package.
"""

from __future__ import annotations

import json
import os
import socket
import sys

_WITH_VALUE = tuple(f"-{letter}" for letter in "BbcDEeFIiJLlmOopQRSWw")
_FAILED = 255


def main() -> None:
    """Hand over node, command and the three standard files; end with the command's code."""
    words = sys.argv[1:]
    files = [0, 1, 2]
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "-n":
            files[0] = os.open(os.devnull, os.O_RDONLY)
        elif option in _WITH_VALUE:
            words.pop(0)
    node, *command = words
    os.chdir(os.path.dirname(os.path.abspath(__file__)))  # a socket's path must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.connect("door")
        message = json.dumps([node.rpartition("@")[2], " ".join(command)])
        socket.send_fds(door, [message.encode()], files)
        code = door.recv(16)
    sys.exit(int(code or _FAILED))


if __name__ == "__main__":
    main()
