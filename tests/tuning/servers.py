"""Servers of our own, on loopback: PostgreSQL as Debian has it, and Optuna's proxy."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import sys

_PROXY = """
import sys
from optuna.storages import JournalStorage, run_grpc_proxy_server
from optuna.storages.journal import JournalFileBackend
run_grpc_proxy_server(JournalStorage(JournalFileBackend(sys.argv[1])), port=int(sys.argv[2]))
"""


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_proxy(journal: pathlib.Path, port: int) -> subprocess.Popen:
    """Optuna's proxy before a journal."""
    command = [sys.executable, "-c", _PROXY, str(journal), str(port)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def postgres_programs() -> pathlib.Path | None:
    """Where PostgreSQL's programs are."""
    found = [*pathlib.Path("/usr/lib/postgresql").glob("*/bin"), *map(pathlib.Path, os.get_exec_path())]
    return next((path for path in found if (path / "pg_ctl").exists() and (path / "initdb").exists()), None)


class Postgres:
    """A server with databases of its own.

    Args:
        programs: Where PostgreSQL's programs are.
        folder: An empty folder.
    """

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()
        # It refuses to run as root.
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self._user:
            shutil.chown(folder, "postgres", "postgres")
            for parent in list(folder.parents)[:3]:
                parent.chmod(parent.stat().st_mode | 0o711)
        self._run("initdb", "-D", str(folder / "data"), "-U", "tester", "-A", "trust", "-N")
        self._databases = 0

    def start(self) -> None:
        """Starts it; it is ready then."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._control("-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        """Stops it at once; all connections break."""
        self._control("-m", "immediate", "stop")

    def database(self) -> str:
        """The URL of a new database."""
        self._databases += 1
        name = f"studies_{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tester", name)
        return f"postgresql+psycopg2://tester@127.0.0.1:{self.port}/{name}"

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self.programs / program), *arguments]
        # Into no pipe: the server would keep it open.
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
