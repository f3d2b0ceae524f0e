"""bench/gpu_check/machine_code.py on a listing as cuobjdump prints it."""

from __future__ import annotations

from gpu_check.machine_code import kernels_of, registers_of, shortened

LISTING = """
\t\tFunction : two_at_once
        /*0000*/                   LDG.E.EF.128 R4, desc[UR6][R2.64] ;   /* 0x0000000402047981 */
        /*0010*/              @!P0 LDG.E.128 R8, desc[UR6][R2.64+0x10] ; /* 0x0000100402087981 */
        /*0020*/                   IADD3 R2, R2, 0x20, RZ ;              /* 0x0000002002027810 */
        /*0030*/                   FADD R12, R5, R12 ;                   /* 0x0000000c050c7221 */
        /*0040*/                   LDG.E.128 R16, desc[UR6][R2.64] ;     /* 0x0000000402107981 */
        /*0050*/                   DADD R20, R8, R18 ;                   /* 0x0000000008147229 */
        /*0060*/                   NOP ;                                 /* 0x0000000000007918 */
\t\tFunction : spills
        /*0000*/                   LDG.E R4, desc[UR6][R2.64] ;          /* 0x0000000402047981 */
        /*0010*/                   STL.64 [R1+0x8], R4 ;                 /* 0x0000000801007387 */
        /*0020*/                   LDL R4, [R1+0x8] ;                    /* 0x0000000001047983 */
"""

USAGE = """
 Function two_at_once:
  REG:24 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:552 TEXTURE:0 SURFACE:0 SAMPLER:0
"""


def test_vectors_are_counted_up_to_the_first_use() -> None:
    kernel, other = kernels_of(LISTING.splitlines())
    assert (kernel.loads, kernel.first, kernel.instructions) == ("L2 u L1 u", 2, 6)
    assert (other.loads, other.first, other.local) == ("", 0, 2)


def test_registers_are_those_of_the_kernel() -> None:
    assert registers_of(USAGE.splitlines()) == {"two_at_once": 24}


def test_names_are_short() -> None:
    name = "void normdrop::cuda::normalise_rows<float, true, (int)256>(normdrop::cuda::A<float>)"
    assert shortened(name) == "normalise_rows<float, true, 256>"
