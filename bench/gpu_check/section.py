"""One section in its own process: ``python -m gpu_check.section NAME FINDINGS SECONDS [--dry]``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_check.bits import check_bits
from gpu_check.card import DryCard, dry_backend, open_card
from gpu_check.dropout_profile import profile_dropout
from gpu_check.findings import SKIPPED, Findings, Skip
from gpu_check.host_time import measure_host_times
from gpu_check.measure import describe_plan, run_bench
from gpu_check.operation_tests import check_operations
from gpu_check.safety import check_safety
from gpu_check.sanitizer import check_with_sanitizer
from gpu_check.sections import BENCHES, PEERS, peers_in


def run_section(name: str, dry: bool, against: Sequence[str], findings: Findings) -> None:
    """Run a section; what cannot be had here is left out with its reason."""
    backend = dry_backend() if dry else "cuda"
    card: DryCard | None = None
    try:
        card = open_card(dry)
    except Skip as reason:
        findings.add("arrays on the device", SKIPPED, str(reason))
    if name == "tests":
        check_operations(backend, dry, findings)
        check_bits(card, backend, findings)
    elif name == "safety":
        if card is not None:
            check_safety(card, findings)
        check_with_sanitizer(backend, dry, findings)
    elif name in BENCHES and card is not None:
        run_timed(name, card, against, findings)
    findings.save()


def run_timed(name: str, card: DryCard, against: Sequence[str], findings: Findings) -> None:
    """Run a section of times; the short things first, lest they fall to the end of the time."""
    if card.dry:
        print("  the cases of a run on a GPU:")
        print("\n".join(describe_plan(name, tiny=False)))
    if name == "dropout":
        measure_host_times(card, findings)
        profile_dropout(card.dry, findings)
    run_bench(name, card, against, findings)


def main() -> None:
    parser = argparse.ArgumentParser(prog="gpu_check.section")
    parser.add_argument("name")
    parser.add_argument("findings", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--against", type=peers_in, default=PEERS)
    options = parser.parse_args()
    ends_at = time.monotonic() + options.seconds
    findings = Findings(options.name, options.findings, ends_at)
    run_section(options.name, options.dry, options.against, findings)


if __name__ == "__main__":
    main()
