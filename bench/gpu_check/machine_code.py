"""What nvcc made of the CUDA kernels: loads under way, instructions, registers, spills.

bench/gpu_check/machine_code.py [--kernel TEXT] OBJECT...

OBJECT is a file that nvcc compiled for one architecture (`-gencode arch=compute_90,code=sm_90`).
A line for each kernel whose name contains TEXT:

    loads   the order of 16-byte loads from global memory and of first uses of what they load:
            "L8 u" asks for eight vectors before it looks at one, "L1 u L1 u" waits for each
    instr   instructions of the whole kernel
    regs    registers of a thread
    local   loads and stores of local memory, which is where registers spill to

cuobjdump must be on PATH. No GPU is needed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
RESOURCES = re.compile(r"^\s*Function (\S+):\s*$")
REGISTERS = re.compile(r"REG:(\d+)")
REGISTER = re.compile(r"\bR(\d+)(\.64)?\b")
WORDS_OF_A_VECTOR = 4


@dataclass
class Kernel:
    name: str
    instructions: int = 0
    registers: int = 0
    local: int = 0
    order: list[str] = field(default_factory=list)  # "L4", "u", "L4", ...

    @property
    def loads(self) -> str:
        return " ".join(self.order)

    @property
    def first(self) -> int:
        """Vectors that are asked for before the first of them is used."""
        return int(self.order[0][1:]) if self.order else 0


class Loads:
    """Follows vectors from the load that asks for them to the first use."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.asked = 0  # since the last use
        self.owner: dict[int, int] = {}  # register: the load that writes it
        self.count = 0

    def load(self, operands: str) -> None:
        register = REGISTER.search(operands)
        if register is None:
            return
        first = int(register[1])
        self.owner |= {first + i: self.count for i in range(WORDS_OF_A_VECTOR)}
        self.count += 1
        self.asked += 1

    def use(self, operands: str) -> None:
        used = {self.owner[r] for r in registers(operands) if r in self.owner}
        if not used:
            return
        self.owner = {r: load for r, load in self.owner.items() if load not in used}
        if self.asked:
            self.kernel.order += [f"L{self.asked}", "u"]
            self.asked = 0

    def end(self) -> None:
        if self.asked:
            self.kernel.order.append(f"L{self.asked}")


def registers(operands: str) -> Iterator[int]:
    for match in REGISTER.finditer(operands):
        yield int(match[1])
        if match[2]:
            yield int(match[1]) + 1


def kernels_of(listing: Iterable[str]) -> Iterator[Kernel]:
    """The kernels of what `cuobjdump -sass` prints."""
    kernel = loads = None
    for line in listing:
        if function := FUNCTION.match(line):
            if loads is not None and kernel is not None:
                loads.end()
                yield kernel
            kernel = Kernel(function[1])
            loads = Loads(kernel)
        elif kernel is not None and loads is not None and (match := INSTRUCTION.match(line)):
            count(kernel, loads, match[1], match[2])
    if loads is not None and kernel is not None:
        loads.end()
        yield kernel


def count(kernel: Kernel, loads: Loads, operation: str, operands: str) -> None:
    kernel.instructions += operation != "NOP"
    kernel.local += operation.startswith(("LDL", "STL"))
    loads.use(operands.partition(",")[2] if operation.startswith("LD") else operands)
    if operation.startswith("LDG") and ".128" in operation:
        loads.load(operands)


def registers_of(usage: Iterable[str]) -> dict[str, int]:
    """Registers by kernel, of what `cuobjdump -res-usage` prints."""
    found = {}
    name = None
    for line in usage:
        if function := RESOURCES.match(line):
            name = function[1]
        elif name is not None and (match := REGISTERS.search(line)):
            found[name] = int(match[1])
    return found


def printed(command: list[str], text: str | None = None) -> list[str]:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def readable(names: list[str]) -> list[str]:
    """normalise_rows<float, true, 256> instead of what the linker calls it."""
    if shutil.which("c++filt") is None or not names:
        return names
    return [shortened(name) for name in printed(["c++filt"], "\n".join(names))]


def shortened(name: str) -> str:
    name = re.sub(r"(\w+::)+(\(anonymous namespace\)::)?", "", name.removeprefix("void "))
    return re.sub(r"\((bool|int)\)", "", name.partition(">(")[0] + ">" if ">(" in name else name)


def measured(objects: list[str]) -> list[Kernel]:
    kernels = []
    for path in objects:
        usage = registers_of(printed(["cuobjdump", "-res-usage", path]))
        for kernel in kernels_of(printed(["cuobjdump", "-sass", path])):
            kernel.registers = usage.get(kernel.name, 0)
            kernels.append(kernel)
    for kernel, name in zip(kernels, readable([k.name for k in kernels]), strict=True):
        kernel.name = name
    return kernels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objects", nargs="+", metavar="OBJECT")
    parser.add_argument("--kernel", default="", metavar="TEXT", help="only these kernels")
    arguments = parser.parse_args()
    if shutil.which("cuobjdump") is None:
        raise SystemExit("machine_code.py: cuobjdump must be on PATH; it comes with the toolkit")
    print(f"{'instr':>6} {'regs':>5} {'local':>6}  kernel: loads")
    for kernel in sorted(measured(arguments.objects), key=lambda kernel: kernel.name):
        if arguments.kernel in kernel.name:
            print(
                f"{kernel.instructions:6} {kernel.registers:5} {kernel.local:6}"
                f"  {kernel.name}: {kernel.loads or '-'}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
