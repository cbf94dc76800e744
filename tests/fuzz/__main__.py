"""Looks for input that breaks a rule, for a while: `python -m tests.fuzz SECONDS [SEED]` (`make fuzz SECONDS=300`).

Two at a time: atheris (libFuzzer) finds its way through all that is pure by what each input reaches, and hypothesis
makes and breaks messages of the contract, with which `rpc.py` calls every method of the four programs, and events of
Realtime clients, which `realtime.py` sends over WebSockets. An input that breaks a
rule is left in build/fuzz; once the rule holds it goes into the corpus, named after its target. With a seed (`SEED=1`,
in CI) the same is tried each time, as far as the time goes, so that no change is blamed for what was there before.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import live, rpc
from tests.fuzz.rules import FOUND

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
_SLOWEST_S = 10
"""Seconds for one input, of 8 KiB at most: what takes longer does not grow with its length alone."""
_LONGEST_BYTES = 8192


def main(seconds: int, seed: int = 0) -> int:
    """Fuzz; 1 where something was found. Seed 0 is another one each time."""
    grown = FOUND / "grown"
    grown.mkdir(parents=True, exist_ok=True)
    flags = (
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={_SLOWEST_S}",
        f"-max_len={_LONGEST_BYTES}",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={FOUND}/",
    )
    command = [sys.executable, "-m", "tests.fuzz.guided", *flags, str(grown), str(CORPUS)]
    told = FOUND / "guided.log"
    with told.open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as guided:
        called, opened = live.fuzz(seconds, seed or time.time_ns())
    lines = told.read_text("utf-8", "replace")
    if guided.returncode:
        print(lines[lines.find(" === ") :], file=sys.stderr)
        print(f"fuzz: an input broke a rule; it is in {FOUND.relative_to(ROOT)}", file=sys.stderr)
        return 1
    tried = re.findall(r"number_of_executed_units: (\d+)", lines)[-1]
    calls = f"{called} calls of {len(rpc.METHODS)} methods"
    print(f"fuzz: {tried} inputs, {calls} and {opened} Realtime sessions in {seconds} s broke no rule")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
