"""The command line in processes of its own that start at once.

A new Python takes four seconds of processor time until torch is imported. Here one server process imports it, and each
command is forked from it (`multiprocessing`'s forkserver), with its own folder, environment, streams and limits. What
depends on how Python itself starts, such as what is imported, needs `subprocess`.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from unittest.mock import patch

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["warm"])  # in tests/offline, which is on PYTHONPATH


def _run(words, folder, environment, streams, limits, new_session, encoding):
    for number, name in enumerate(streams):
        file = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0)  # multiprocessing gives its children none
    sys.stdout.reconfigure(encoding=encoding, errors="strict")
    sys.stderr.reconfigure(encoding=encoding)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if new_session:
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    for kind, bytes_ in limits.items():
        if kind == resource.RLIMIT_FSIZE:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
            sys.dont_write_bytecode = True  # older Pythons keep a module that was cut off at the limit
        resource.setrlimit(kind, (bytes_, bytes_))
    from latentflow.cli import main

    sys.argv = ["latentflow", *words]
    main(words)


class Command:
    """`latentflow WORDS…` at work in `folder`: as `subprocess.Popen`, with text streams in an
    `encoding`, and `limits` of `resource`."""

    def __init__(self, words, folder, *, env=None, stdin=b"", limits=None, new_session=False, encoding="utf-8"):
        self._files = tempfile.TemporaryDirectory()
        streams = [Path(self._files.name) / name for name in ("in", "out", "err")]
        for path in streams:
            path.write_bytes(stdin)
        streams[1].write_bytes(b"")
        streams[2].write_bytes(b"")
        self._out, self._err = streams[1:]
        given = (list(map(str, words)), str(folder), dict(os.environ | (env or {})), list(map(str, streams)))
        self._process = FORKED.Process(target=_run, args=(*given, limits or {}, new_session, encoding))
        self._encoding = encoding
        # A child imports the parent's main module anew. Streamlit's AppTest leaves a script there that can't be.
        with patch.dict(sys.modules, {"__main__": types.ModuleType("__main__")}):
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def communicate(self, timeout=120):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("latentflow", timeout)
        return self._out.read_text(self._encoding), self._err.read_text(self._encoding)


def run_command(words, folder, timeout=120, **options):
    """Run a command to its end; gives what `subprocess.run` gives."""
    command = Command(words, folder, **options)
    out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(list(words), command.returncode, out, err)
