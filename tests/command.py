"""`symcompile` for the PATH of tests: every call is a fork of one process that has all imported.

An import of torch takes seconds, and git calls the command once or twice for every file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NoReturn

from children import Child, wait_until

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"x"], [0, 1, 2])
    call = [sys.argv[1:], os.getcwd(), dict(os.environ)]
    server.sendall(json.dumps(call).encode() + b"\\n")
    sys.exit(int(server.makefile().readline() or 70))
"""


@contextmanager
def command() -> Iterator[Path]:
    """A folder with the command in it, while the process behind it runs."""
    with tempfile.TemporaryDirectory(prefix="symcompile-") as name:
        folder = Path(name)
        address = str(folder / "socket")
        script = folder / "symcompile"
        script.write_text(CLIENT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        with Child(Path(__file__), address) as server:
            wait_until(lambda: server.said()[0] == "ready\n")
            yield folder


def serve(address: str) -> None:
    """Answer calls for as long as the process of the tests is there."""
    import onnx  # noqa: F401

    import symcompile.diff.compare
    import symcompile.diff.readers.artifact
    import symcompile.diff.readers.onnx_file
    import symcompile.exporters
    import symcompile.report  # noqa: F401

    tests = parent_process()
    assert tests is not None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[attr-defined]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while tests.sentinel not in select.select([listener, tests.sentinel], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                answer(connection)
            connection.close()


def answer(connection: socket.socket) -> NoReturn:
    """In a process of its own: be what the client is, run the command, tell its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    arguments, folder, environment = json.loads(connection.makefile().readline())
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(f"{status}\n".encode())
    os._exit(0)


def run(arguments: list[str]) -> Any:
    from symcompile.cli import commands as cli

    try:
        return cli.main(arguments)
    except SystemExit as error:
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    serve(sys.argv[1])
