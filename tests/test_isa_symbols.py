"""No symbol that the linker may share carries code of a newer instruction set.

A weak symbol (an inline function, a template of the standard library) that is compiled for
AVX-512 in one object can be picked for every caller and stop an older machine. Every weak symbol
of an instruction set's objects must carry the name of that set.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import normdrop as nd
from normdrop import _core
from test_driver import ROOT, build_folder, locked

NM = shutil.which("nm")
TAGGED = ("avx512", "avx2", "baseline")
# Type information and the exception personality hold addresses, not instructions.
DATA_ONLY = re.compile(r"^(DW\.ref\.|typeinfo|vtable)")


def weak_functions(path: Path) -> list[str]:
    text = subprocess.run(
        [NM, "--demangle", "--defined-only", str(path)], capture_output=True, text=True, check=True
    ).stdout
    rows = (re.match(r"[0-9a-f]* ([A-Za-z]) (.*)", line) for line in text.splitlines())
    return [row[2] for row in rows if row and row[1] in "WVu" and not DATA_ONLY.match(row[2])]


def untagged(symbols: list[str], tag: str) -> list[str]:
    """Those without the namespace of the instruction set, also as the longest names spell it: nm
    gives up taking them apart."""
    spelt = (f"normdrop::{tag}::", f"8normdrop{len(tag)}{tag}")
    return [symbol for symbol in symbols if not any(name in symbol for name in spelt)]


@pytest.fixture(scope="module")
def objects(tmp_path_factory, announce):
    """The kernels' objects of each instruction set, built as the package builds them."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if NM is None or compiler is None or sys.platform != "linux":
        pytest.skip("needs nm and a compiler on Linux")
    if len(nd.show_config("dict")["backends_built"]) == 1:
        pytest.skip("one instruction set in this build")
    folder = build_folder("isa-symbols", tmp_path_factory)
    announce("Compiling the kernels of two instruction sets, a minute; the next run finds them.")
    flags = {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}
    built = {}
    newest = max(path.stat().st_mtime for path in [Path(__file__), *(ROOT / "csrc").rglob("*.*")])
    sources = [ROOT / "csrc/cpu/backend.cpp", *(ROOT / "csrc/cpu/kernels").glob("*.cpp")]
    # Without optimisation nothing is inlined away: every symbol that could ever leak is there.
    with locked(folder):
        folder.mkdir(exist_ok=True)
        for tag, extra in flags.items():
            command = [compiler, "-std=c++20", "-O0", "-c", f"-I{ROOT / 'csrc'}", "-w"]
            command += [f"-DNORMDROP_ISA={tag}", "-ffp-contract=off", *extra]
            for source in sources:
                target = folder / f"{tag}_{source.stem}.o"
                if not target.exists() or target.stat().st_mtime <= newest:
                    half = target.with_suffix(".new")  # what is interrupted must not look finished
                    subprocess.run([*command, str(source), "-o", str(half)], check=True)
                    half.replace(target)
                built.setdefault(tag, []).append(target)
    return built


@pytest.mark.parametrize("tag", ["avx2", "avx512"])
def test_weak_symbols_carry_their_instruction_set(objects, tag):
    leaked = {path.name: untagged(weak_functions(path), tag) for path in objects[tag]}
    assert not any(leaked.values()), leaked


def test_the_check_sees_a_leak(tmp_path):
    compiler = shutil.which("g++") or shutil.which("c++")
    if NM is None or compiler is None:
        pytest.skip("needs nm and a compiler")
    source = tmp_path / "leak.cpp"
    source.write_text(
        "inline double twice(double x) { return 2 * x; }\ndouble (*f)(double) = twice;"
    )
    target = tmp_path / "leak.o"
    subprocess.run([compiler, "-c", str(source), "-o", str(target)], check=True)
    assert untagged(weak_functions(target), "avx512") == ["twice(double)"]


def test_module_exports_nothing_but_its_entry_point():
    if NM is None or sys.platform != "linux":
        pytest.skip("needs nm on Linux")
    text = subprocess.run(
        [NM, "--dynamic", "--defined-only", "--demangle", _core.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = [line.split(maxsplit=2)[2] for line in text.splitlines()]
    assert [name for name in exported if "normdrop" in name] == []


LOOPS = """
void marked(float* y, const float* x, int n) {
#pragma omp simd
  for (int i = 0; i < n; ++i) y[i] = 2.0f * x[i] + 1.0f;
}
void plain(float* y, const float* x, int n) {
  for (int i = 0; i < n; ++i) y[i] = 2.0f * x[i] + 1.0f;
}
"""


def test_loops_are_vectors_where_the_source_says_so(tmp_path):
    """GCC's flag against all other vectors can take those of ``omp simd`` with it, unsaid."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs g++ on x86-64")
    said = re.findall(
        r"list\(APPEND kernel_flags (-f.*)\)|set\(kernel_flags (.*)\)",
        (ROOT / "CMakeLists.txt").read_text().partition('MATCHES "Clang"')[0],
    )
    flags = " ".join(" ".join(pair) for pair in said).split()
    assert "-fopenmp-simd" in flags and any("vectorize" in flag for flag in flags), flags
    source = tmp_path / "loops.cpp"
    source.write_text(LOOPS)
    command = [compiler, *flags, "-march=x86-64-v3", "-S", "-o", "-", str(source)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    marked, _, plain = text.partition("_Z5plain")
    assert "ymm" in marked and "ymm" not in plain
