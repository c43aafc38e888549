"""Servers of our own, on loopback: PostgreSQL as Debian has it, and Optuna's proxy."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

_PROXY = """
import sys
from optuna.storages import JournalStorage, run_grpc_proxy_server
from optuna.storages.journal import JournalFileBackend
run_grpc_proxy_server(JournalStorage(JournalFileBackend(sys.argv[1])), port=int(sys.argv[2]))
"""


def free_port() -> int:
    """A port on which nobody listens; not one of those that the system gives away meanwhile, should a server be restarted."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start_proxy(journal: pathlib.Path, port: int) -> subprocess.Popen:
    """Optuna's proxy before a journal."""
    command = [sys.executable, "-c", _PROXY, str(journal), str(port)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def postgres_programs() -> pathlib.Path | None:
    """Where PostgreSQL's programs are."""
    found = [*pathlib.Path("/usr/lib/postgresql").glob("*/bin"), *map(pathlib.Path, os.get_exec_path())]
    return next((path for path in found if (path / "postgres").exists() and (path / "initdb").exists()), None)


class Postgres:
    """A server with databases of its own.

    Args:
        programs: Where PostgreSQL's programs are.
        folder: An empty folder.
    """

    def __init__(self, programs: pathlib.Path, folder: pathlib.Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()
        # It refuses to run as root, and should not outlive whoever started it, however that ends.
        self._user = ["setpriv"]
        if os.geteuid() == 0:
            self._user += ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
            for parent in list(folder.parents)[:3]:
                parent.chmod(parent.stat().st_mode | 0o711)
        self._run("initdb", "-D", str(folder / "data"), "-U", "tester", "-A", "trust", "-N")
        self._databases = 0
        self._server: subprocess.Popen | None = None

    def start(self) -> None:
        """Starts it; it is ready then.

        Raises:
            RuntimeError: It has ended at once.
        """
        options = ["-p", str(self.port)]
        for setting in ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off"):
            options += ["-c", setting]
        command = [*self._user, "--pdeathsig=QUIT", str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]
        log = self.folder / "log"
        with log.open("ab") as file:
            self._server = subprocess.Popen(command, stdout=file, stderr=file, cwd=self.folder)
        while subprocess.run([self.programs / "pg_isready", *self._place], stdout=subprocess.DEVNULL).returncode:
            if self._server.poll() is not None:
                raise RuntimeError(f"PostgreSQL has ended: {log.read_text()[-1000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops it at once; all connections break."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()

    def database(self) -> str:
        """The URL of a new database."""
        self._databases += 1
        name = f"studies_{self._databases}"
        self._run("createdb", *self._place, "-U", "tester", name)
        return f"postgresql+psycopg2://tester@127.0.0.1:{self.port}/{name}"

    @property
    def _place(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port)]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
