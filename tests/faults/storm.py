"""Real commands that are killed at a chosen file operation, cheaply: ``python -m tests.faults.storm``.

This process imports everything and touches no device. For each line of JSON on its input it forks: the child runs a
command as a user would, and kills itself with SIGKILL before its ``at``-th file operation below ``out``, or is killed
after some seconds. The answer is a line of JSON with its status and how many operations there were.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from dalib.run.cli.main import main

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree"}
COMMANDS = {
    "digits": ("experiments.digits", "digits", "Digits"),
    "adapt": ("dalib.run.own.adapt", "own", "Own"),
}


def count_operations(out, at, report):
    """Kills this process before its ``at``-th operation; writes down how many there were if it ends by itself."""
    seen = [0]

    def hook(event, arguments):
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & WRITES:
                return
        elif event not in OPERATIONS:
            return
        if isinstance(arguments[0], str | bytes | os.PathLike) and os.fsdecode(arguments[0]).startswith(out):
            seen[0] += 1
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: Path(report).write_text(str(seen[0]))


def run(job):
    """In the child: the command, to its end or its death."""
    output = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    note = count_operations(job["out"], job.get("at"), job["report"])
    if job.get("seconds") is not None:
        killer = threading.Timer(job["seconds"], os.kill, (os.getpid(), signal.SIGKILL))
        killer.daemon = True
        killer.start()
    module, function, options = COMMANDS[job["command"]]
    loaded = importlib.import_module(module)
    sys.argv = [f"dalib {job['command']}", *job["arguments"]]
    status = main(getattr(loaded, function), getattr(loaded, options), "", job["arguments"])
    sys.stdout.flush()
    note()
    os._exit(status)


def serve():
    """Answers jobs until the input ends."""
    for module, _, _ in COMMANDS.values():
        importlib.import_module(module)
    for line in sys.stdin:
        job = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                run(job)
            finally:
                os._exit(70)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        report = Path(job["report"])
        operations = int(report.read_text()) if report.exists() else 0
        report.unlink(missing_ok=True)
        print(json.dumps({"status": status, "operations": operations, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    serve()
