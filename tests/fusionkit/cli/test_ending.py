"""Exit codes and last words: faults, a full disk behind standard output, Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from fusionkit.cli.ending import run_to_the_end
from fusionkit.errors import FusionkitError

SLOW = """\
import sys, time
from fusionkit.cli.ending import run_to_the_end
def command():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(SECONDS)
        if FAILS:
            raise RuntimeError("release unlocked lock")  # as locks of Python do it
run_to_the_end(command)
"""


def ending(command) -> int:
    with pytest.raises(SystemExit) as end:
        run_to_the_end(command)
    return end.value.code


def test_success_and_a_mistake(capsys):
    def fail():
        raise FusionkitError("expected two sources")

    assert ending(lambda: print("done")) == 0
    assert ending(fail) == 2
    out, err = capsys.readouterr()
    assert out == "done\n"
    assert err == "error: expected two sources\n"


@pytest.mark.parametrize("name", ["n" * 300, "loop", "file/below"])
def test_a_path_that_cannot_be_used_is_one_line(name, tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert ending(lambda: (tmp_path / name).read_bytes()) == 2
    errors = capsys.readouterr().err
    assert name in errors
    assert len(errors.splitlines()) == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_to_the_end(lambda: 1 / 0)
    with pytest.raises(FileNotFoundError):  # the output can be written, so it is no fault of it
        run_to_the_end(lambda: open("/nowhere/file"))  # noqa: PTH123, SIM115


def test_a_fault_of_the_device_is_no_full_disk():
    said = {}
    for number in (errno.ENOSPC, errno.EIO):
        code = (
            "import os\nfrom fusionkit.cli.ending import run_to_the_end\n"
            f"def fail():\n    raise OSError({number}, os.strerror({number}))\nrun_to_the_end(fail)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 2
        assert os.strerror(number) in done.stderr
        said[number] = done.stderr
    assert "space" in said[errno.ENOSPC]
    assert "space" not in said[errno.EIO].replace(os.strerror(errno.EIO), "")


@pytest.fixture
def start():
    processes = []

    def start(seconds: float, fails: bool = False) -> subprocess.Popen[str]:
        code = SLOW.replace("SECONDS", str(seconds)).replace("FAILS", str(fails))
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell without job control lets its children ignore SIGINT.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "ending\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("fails", [False, True], ids=["", "turned into another error"])
def test_one_interruption_cleans_up_and_says_so_in_a_line(start, fails):
    process = start(0, fails)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1


def test_a_second_interruption_stops_at_once(start):
    process = start(60)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == -signal.SIGINT


@pytest.mark.parametrize("text", ["short", "x" * 100_000], ids=["at the end", "while printing"])
def test_a_full_disk_behind_standard_output_is_one_line(text):
    code = (
        f"from fusionkit.cli.ending import run_to_the_end\nrun_to_the_end(lambda: print({text!r}))"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_a_full_disk_behind_both_ends_with_the_code(tmp_path):
    code = "from fusionkit.cli.ending import run_to_the_end\nrun_to_the_end(lambda: print(1))"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        assert (
            subprocess.run([sys.executable, "-c", code], stdout=full, stderr=full).returncode == 2
        )
