"""The program: help, version, info, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

import normdrop
from normdrop.cli import main as main_module
from normdrop.cli import progress
from normdrop.cli.main import main


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "normdrop", *arguments], capture_output=True, text=True, timeout=60
    )


def test_python_m_is_the_program():
    found = run("--version")
    assert (found.returncode, found.stdout) == (0, f"normdrop {normdrop.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["info", "--nonsense"], ["demo", "extra"]])
def test_wrong_arguments_are_explained(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: normdrop" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "bench", "demo"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: normdrop {command}" in capsys.readouterr().out


def test_info_as_json_is_the_configuration(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == normdrop.__version__
    assert found.keys() == normdrop.show_config("dict").keys()


def test_info_names_every_usable_backend(capsys):
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert normdrop.__version__ in shown
    assert all(name in shown for name in normdrop.backends())


def test_interruption_is_reported_as_a_shell_would(monkeypatch, capsys):
    def interrupted(mode):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module.info, "show_config", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "normdrop: interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "import sys; from normdrop.cli.main import main; sys.exit(main(['info']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        program.stdout.close()
        message = program.stderr.read()
        assert (program.wait(60), message) == (0, b"")


# Progress ----------------------------------------------------------------------------------------


def drive(shown):
    with shown:
        shown.stage("Training", 4)
        shown.advance()
        shown.advance(2)
        shown.note("one [bold]network[/bold]")


def test_progress_away_from_a_terminal_is_plain_lines():
    stream = io.StringIO()
    drive(progress.make_progress(stream))
    assert stream.getvalue() == "Training ...\n  one [bold]network[/bold]\n"


def test_progress_on_a_terminal_is_a_bar():
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    shown = progress.make_progress(stream)
    assert isinstance(shown, progress.RichProgress)
    drive(shown)
    assert "Training" in stream.getvalue() and "100%" in stream.getvalue()
    assert "[bold]network[/bold]" in stream.getvalue()
