"""``quickchange serve`` on the command line: what it refuses, and that it comes up and goes down."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from quickchange.cli import main, make_parser
from quickchange.commands.serve import make_settings


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--port", "70000"], "70000"),
        (["--ahead", "nan"], "--ahead"),
        (["--max-sessions", "0"], "at least 1"),
        (["--resume-seconds", "-1"], "--resume-seconds"),
        (["--threads", "0"], "--threads"),
        (["--token", "short"], "16 printable"),
        (["--c2pa-key", "key.pem"], "belong together"),
        (["--c2pa-key", "no.pem", "--c2pa-certificate", "no.pem"], "no such file"),
        (["--recordings", "/nowhere/at/all"], "--recordings"),
        (["--model", "/nowhere"], "no model directory"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *options]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


def test_only_this_machine_unless_told_otherwise() -> None:
    def hosts(*options: str) -> tuple[str, ...]:
        return make_settings(make_parser().parse_args(["serve", *options])).hosts

    assert make_parser().parse_args(["serve"]).host == "127.0.0.1"
    assert {"127.0.0.1", "localhost", "::1"} <= set(hosts())
    assert "studio.example" in hosts("--allow-host", "studio.example")
    assert "evil.example" not in hosts("--host", "0.0.0.0")  # a name that was made to point here
    assert socket.gethostname() in hosts("--host", "0.0.0.0")


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKCHANGE_TOKEN", "0123456789abcdef")
    assert make_settings(make_parser().parse_args(["serve"])).token == "0123456789abcdef"


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "quickchange", "serve", "--port", "0", "--max-sessions", "1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_comes_up_says_where_and_goes_down() -> None:
    process = start("--token", "0123456789abcdef")
    assert process.stdout is not None
    line = process.stdout.readline()
    link = re.match(r"http://127\.0\.0\.1:\d+/\?token=0123456789abcdef", line)
    assert link, line
    with httpx2.Client() as client:
        assert client.get(link[0], follow_redirects=True).status_code == 200
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode == 0


def test_a_damaged_model_ends_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    process = start("--model", str(tmp_path))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert str(tmp_path) in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--port", str(taken.getsockname()[1]))
        _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "choose another --host or --port" in error
