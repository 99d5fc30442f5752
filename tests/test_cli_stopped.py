"""Trainings on the command line that are stopped: by Ctrl-C, and killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from striate.cli.screen import say
from striate.cli.training import stopping_on_interrupt


def test_interrupted_it_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "striate.cli",
        "train",
        "--model",
        "nielsen_mnist",
        "--epochs",
        "2000",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(p.stat().st_size for p in tmp_path.glob("*/metrics.jsonl")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    (run,) = tmp_path.iterdir()
    assert (process.returncode, out) == (130, f"run: {run}\n")
    assert f"Go on with: striate train --resume {run}\n" in err
    assert (run / "checkpoint.safetensors").is_file()
    assert "Traceback" not in err


def test_an_interrupt_amid_a_line_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    class Interrupted(io.RawIOBase):
        """A stream whose first write is where Ctrl-C comes; what it holds then takes no other write from within."""

        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            written.append(bytes(content))
            if len(written) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return len(content)

    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Interrupted()), line_buffering=True))
    with stopping_on_interrupt() as stopped:
        assert not stopped()
        say("epoch 1")
        assert stopped()
    monkeypatch.undo()
    first, second = b"".join(written).decode().splitlines()
    assert first == "epoch 1"
    assert second.startswith("finishing the step and saving")


def test_two_interrupts_at_once_and_those_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    with stopping_on_interrupt() as stopped:
        ask: Any = signal.getsignal(signal.SIGINT)
        if (child := os.fork()) == 0:
            ask()
            os._exit(int(stopped()))
        assert os.waitpid(child, 0)[1] == 0
        ask()
        ask()  # the second one while the first is being handled
        assert stopped()
    assert capsys.readouterr().err.count("finishing the step") == 1


def test_killed_and_resumed_on_the_command_line_the_weights_are_bit_identical(tmp_path: Path) -> None:
    options = ["train", "--model", "nielsen_mnist", "--epochs", "30", "--device", "cpu", "--seed", "2", "--out"]
    command = [sys.executable, "-m", "striate.cli", *options, str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(p.stat().st_size > 5000 for p in tmp_path.glob("killed/*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    (killed,) = (tmp_path / "killed").iterdir()
    assert not (killed / "model.safetensors").exists()
    # Processes of their own: another number of threads may round otherwise.
    for arguments in (["train", "--resume", str(killed)], [*options, str(tmp_path / "calm")]):
        subprocess.run([sys.executable, "-m", "striate.cli", *arguments], check=True, capture_output=True)
    (calm,) = (tmp_path / "calm").iterdir()
    assert (calm / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
