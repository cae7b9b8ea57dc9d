#!/usr/bin/env python3
"""Counts the instructions of the hot pure parts and compares them with `instructions.tsv`.

A count says the same on a busy machine and an idle one, so a gate can judge by it, as it never could by a time. It depends on
the compiler, though, on valgrind and on whether the processor has AVX2, which valgrind passes on: where one of them is another
than the reference's, figures are printed and not compared.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "instructions.tsv"
COMMAND = "python3 benches/micro/count.py"
BUILD = ["cargo", "build", "--locked", "--release", "-p", "micro", "--bin", "count"]
VALGRIND = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
TIMES = 1000  # what a case needs to get ready is in both counts, of so many runs and of twice as many
TOLERANCE = 0.05  # counts repeat within 0.1 %; a change elsewhere may move what is inlined


def read(text):
    """What instructions.tsv holds: what it was counted with, and instructions by case."""
    lines = text.splitlines()
    ground = next((line[1:].strip() for line in lines if line.startswith("#")), None)
    cases = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return ground, {name: int(instructions) for name, instructions in cases}


def written(ground, counted):
    return f"# {ground}\n" + "".join(f"{name}\t{instructions}\n" for name, instructions in counted.items())


def referred(output):
    """The instructions of a whole program, as cachegrind tells them."""
    found = re.search(r"I\s+refs:\s+([\d,]+)", output)
    if not found:
        raise ValueError(f"cachegrind told no instructions:\n{output}")
    return int(found[1].replace(",", ""))


def rows(counted, reference):
    """A row for each case of either: its instructions, those of the reference, and the change."""
    names = [*counted, *(name for name in reference if name not in counted)]
    found = ({"name": name, "instructions": counted.get(name), "reference": reference.get(name)} for name in names)
    return [row | {"change": change(row["instructions"], row["reference"])} for row in found]


def change(now, before):
    return None if now is None or not before else now / before - 1


def faults(found):
    """Why the gate stays shut: a sentence for each case, with the cure."""
    renew = f"if that is meant, renew the reference with `{COMMAND} --write`"
    for row in found:
        name = row["name"]
        if row["reference"] is None:
            yield f"{name} has no reference: `{COMMAND} --write` writes one"
        elif row["instructions"] is None:
            yield f"{name} has a reference and is no case any more: {renew}"
        elif row["instructions"] - row["reference"] > TOLERANCE * row["reference"]:
            yield (f"{name} needs {row['change']:.1%} more instructions than its reference, and {TOLERANCE:.0%} are allowed: "
                   f"see where with `valgrind --tool=callgrind target/release/count {name} {TIMES}`; {renew} and say why")


def gains(found):
    return [row["name"] for row in found if row["change"] is not None and row["change"] < -TOLERANCE]


def judge(found, ground, reference_ground):
    """The exit code, and the sentences below the table."""
    if ground != reference_ground:
        return 0, [f"NOT COMPARED: the reference was counted with {reference_ground or 'nothing'}, this with {ground}; "
                   f"`{COMMAND} --write` on the commit before makes a reference for this one"]
    found_faults = list(faults(found))
    better = gains(found)
    kept = [f"{', '.join(better)}: less than the reference by more than {TOLERANCE:.0%}; keep it with `{COMMAND} --write`"]
    return (1 if found_faults else 0), found_faults + (kept if better else [])


def table(found):
    text = [["case", "instructions", "reference", "change"]]
    for row in found:
        numbers = [f"{row[key]:,}" if row[key] is not None else "–" for key in ("instructions", "reference")]
        text.append([row["name"], *numbers, "–" if row["change"] is None else f"{row['change']:+.1%}"])
    widths = [max(len(line[column]) for line in text) for column in range(4)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
                     for line in text)


def output_of(command):
    return subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout


def ground_here():
    """What a count depends on besides the code."""
    version = output_of(["rustc", "-vV"])
    compiler, target = version.splitlines()[0], re.search(r"^host: (.*)$", version, re.M)[1]
    processor = Path("/proc/cpuinfo")
    avx2 = processor.exists() and re.search(r"^flags\s*:.*\bavx2\b", processor.read_text(), re.M)
    return ", ".join([compiler, target, output_of(["valgrind", "--version"]).strip(), "AVX2" if avx2 else "no AVX2"])


def build():
    """The path of the program: a shared target folder is wherever cargo says."""
    told = output_of([*BUILD, "--message-format=json-render-diagnostics"])
    artifacts = (json.loads(line) for line in told.splitlines())
    return next(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "count" and a.get("executable"))


def count(program, name):
    def run(times):
        done = subprocess.run([*VALGRIND, program, name, str(times)], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"count {name}: {done.stderr}")
        return referred(done.stderr)

    return round((run(2 * TIMES) - run(TIMES)) / TIMES)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help="make these figures the reference")
    options = parser.parse_args(argv)
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: `apt-get install valgrind`")
    try:
        program, ground = build(), ground_here()
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(error.cmd)}` failed")  # it has said why
    counted = {name: count(program, name) for name in output_of([program]).split()}
    if options.write:
        REFERENCE.write_text(written(ground, counted))
    reference_ground, reference = read(REFERENCE.read_text()) if REFERENCE.exists() else (None, {})
    found = rows(counted, reference)
    code, sentences = judge(found, ground, reference_ground)
    if options.json:
        compared = ground == reference_ground
        print(json.dumps({"ground": ground, "compared": compared, "cases": found, "sentences": sentences}, indent=1))
    else:
        print("\n".join([f"instructions a run ({ground})", "", table(found), "", *sentences]).rstrip())
    return code


if __name__ == "__main__":
    sys.exit(main())
