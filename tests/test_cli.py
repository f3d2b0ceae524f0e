"""The program: help, version, info, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

import normdrop
from normdrop import _core
from normdrop.cli import main as main_module
from normdrop.cli import progress
from normdrop.cli.main import main
from tolerances import HANG_SECONDS


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "normdrop", *arguments],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
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


def configuration_with(monkeypatch, **changed):
    found = {**_core.config(), **changed}
    monkeypatch.setattr(_core, "config", lambda: found)


def test_info_has_the_command_that_adds_cuda(monkeypatch, capsys):
    command = "pip install --force-reinstall --no-deps . -C cmake.define.NORMDROP_CUDA=ON"
    configuration_with(monkeypatch, cuda=None, add_cuda=command)
    assert main(["info"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("cuda"))
    assert line.endswith(command)


def test_info_shows_what_there_is_of_cuda(monkeypatch, capsys):
    device = {
        "name": "Some GPU",
        "compute_capability": "9.0",
        "memory_bytes": 2**30,
        "architecture_built": True,
    }
    cuda = {
        "toolkit": "13.0.88",
        "architectures": ["90-real", "90-virtual"],
        "driver": "13.1",
        "devices": [device, {**device, "compute_capability": "7.5", "architecture_built": False}],
    }
    configuration_with(monkeypatch, cuda=cuda, add_cuda=None)
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["cuda_toolkit"] == "13.0.88"
    assert lines["cuda_architectures"] == "90-real, 90-virtual"
    assert lines["cuda_driver"] == "13.1"
    assert lines["cuda_devices"] == (
        "Some GPU (9.0, 1024 MiB); Some GPU (7.5, 1024 MiB, not built for)"
    )


def test_what_this_build_says_of_cuda_fits_its_backends():
    found = normdrop.show_config("dict")
    built = "cuda" in found["backends_built"]
    assert (found["cuda"] is not None) == built == (found["add_cuda"] is None)
    if built:
        assert found["cuda"]["toolkit"] and found["cuda"]["architectures"]
        assert bool(found["cuda"]["devices"]) == ("cuda" in found["backends_usable"])
        assert ("cuda" in found["backends_unusable"]) == ("cuda" not in found["backends_usable"])


def test_numpy_arrays_stay_on_the_cpu_where_nobody_chose(monkeypatch):
    monkeypatch.delenv("NORMDROP_BACKEND", raising=False)
    assert not json.loads(run("info", "--json").stdout)["backend"].startswith("cuda")


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
