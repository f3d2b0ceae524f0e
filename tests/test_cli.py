"""The program: help, version, info, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import normdrop
from normdrop import _core
from normdrop.cli import main as main_module
from normdrop.cli import progress
from normdrop.cli.ending import CommandError
from normdrop.cli.main import main
from tolerances import HANG_SECONDS


def run(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "normdrop", *arguments],
        env={**os.environ, **variables},
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


@pytest.mark.parametrize("command", ["info", "bench", "compare", "demo"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: normdrop {command}" in capsys.readouterr().out


def test_info_as_json_is_the_configuration(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == normdrop.__version__
    assert found.keys() == {*normdrop.show_config("dict"), "environment_faults"}
    assert found["environment_faults"] == {}


def test_info_has_the_versions_of_what_it_computes_with(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = {"numpy": np.__version__, "ml_dtypes": ml_dtypes.__version__}
    assert {name: found[name] for name in expected} == expected
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {tuple(line.split()) for line in lines} >= set(expected.items())


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
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module.info, "read_config", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "normdrop info: interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    code = "import sys; from normdrop.cli.main import main; sys.exit(main(['info']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        program.stdout.close()
        message = program.stderr.read()
        assert (program.wait(60), message) == (0, b"")


def test_a_standard_output_that_is_full_is_told():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = [sys.executable, "-m", "normdrop", "info"]
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANG_SECONDS
        )
    assert (found.returncode, found.stderr) == (1, "normdrop info: No space left on device\n")


def test_a_standard_output_that_is_closed_is_no_error():
    code = "import os, sys; os.close(1); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", code, sys.executable, "-m", "normdrop", "info"]
    found = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=HANG_SECONDS)
    assert (found.returncode, found.stderr) == (0, "")


# A bad environment -------------------------------------------------------------------------------

BAD_VARIABLES = {
    "NORMDROP_BACKEND": ("backend", "nonsense"),
    "NORMDROP_NUM_THREADS": ("threads", "x"),
    "NORMDROP_POOL_BYTES": ("pool_limit_bytes", "x\ny"),
}


@pytest.mark.parametrize("variable", BAD_VARIABLES)
@pytest.mark.parametrize(
    "command",
    ["bench layer_norm-forward-4x16 --quick --against none", "bench --list", "demo --quick"],
)
def test_a_bad_variable_stops_a_command_in_one_line(command, variable, tmp_path):
    _, value = BAD_VARIABLES[variable]
    more = ["--out", str(tmp_path / "out")] if command.startswith("demo") else []
    found = run(*command.split(), *more, **{variable: value})
    assert (found.returncode, found.stdout) == (3, "")
    (line,) = found.stderr.splitlines()
    name = command.split()[0]
    assert line.startswith(f"normdrop {name}: {variable} must be ")
    assert line.endswith(f"got '{' '.join(value.split())}'")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("variable", BAD_VARIABLES)
def test_info_shows_what_it_can_and_the_fault(variable):
    setting, value = BAD_VARIABLES[variable]
    good = json.loads(run("info", "--json").stdout)
    found = run("info", "--json", **{variable: value})
    assert found.returncode == 3
    shown = json.loads(found.stdout)
    fault = shown["environment_faults"][setting]
    assert found.stderr == f"normdrop info: {fault}\n"
    assert fault.startswith(f"{variable} must be ")
    assert shown == {**good, setting: None, "environment_faults": {setting: fault}}


def test_info_shows_all_faults_as_text():
    values = {variable: value for variable, (_, value) in BAD_VARIABLES.items()}
    found = run("info", **values)
    assert found.returncode == 3 and len(found.stderr.splitlines()) == 1
    lines = dict(line.split(maxsplit=1) for line in found.stdout.splitlines())
    assert lines["version"] == normdrop.__version__
    for variable, (setting, _) in BAD_VARIABLES.items():
        assert lines[setting] == "unknown"
        assert f"{setting}: {variable} must be" in lines["environment_faults"]
        assert f"{variable} must be" in found.stderr


@pytest.mark.parametrize("variable", BAD_VARIABLES)
def test_a_variable_that_is_no_text_is_named(variable):
    found = run("info", **{variable: "\udcff"})  # the byte 0xff
    assert found.returncode == 3
    assert found.stderr == (f"normdrop info: {variable} must be text in UTF-8, got '\\udcff'\n")


def test_a_backend_that_is_not_built_is_a_bad_environment():
    absent = [name for name in ("cuda", "cuda-emulated") if name not in normdrop.backends()]
    if not absent:
        pytest.skip("every backend is usable here")
    found = run("info", NORMDROP_BACKEND=absent[0])
    assert found.returncode == 3 and len(found.stderr.splitlines()) == 1
    assert f"NORMDROP_BACKEND: backend '{absent[0]}' " in found.stderr


def test_comparing_files_needs_no_settings(tmp_path):
    found = run("compare", str(tmp_path), str(tmp_path), NORMDROP_BACKEND="nonsense")
    assert found.returncode == 2 and "Is a directory" in found.stderr


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (CommandError("a\nfault", 7), 7, "normdrop info: a fault\n"),
        (OSError(28, "No space left", "x.json"), 1, "normdrop info: x.json: No space left\n"),
        (MemoryError(), 1, "normdrop info: not enough memory\n"),
    ],
)
def test_what_the_surroundings_refuse_is_one_line(monkeypatch, capsys, error, status, message):
    def fail():
        raise error

    monkeypatch.setattr(main_module.info, "read_config", fail)
    assert main(["info"]) == status
    assert capsys.readouterr().err == message


def test_a_defect_keeps_its_traceback(monkeypatch):
    def fail():
        raise KeyError("a defect")

    monkeypatch.setattr(main_module.info, "read_config", fail)
    with pytest.raises(KeyError, match="a defect"):
        main(["info"])


def test_statuses_are_in_the_help_and_in_the_reference(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    reference = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
    for status in ("0 on success", "1 on failure", "2 for wrong arguments", "3 where", "130 after"):
        assert status in text and status in " ".join(reference.read_text().split())


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
