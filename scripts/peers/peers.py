#!/usr/bin/env python3
"""PyTorch (eager and compiled), PyG and DGL beside `waata bench`, on the same graph and ids, in one run.

    PYTHON=venv/bin/python scripts/peers/peers.py                     # everything on the CPU, about ten minutes on two cores
    scripts/peers/peers.py attention adam --allocators tuned          # two families, the tuned allocator alone
    scripts/peers/peers.py --device cuda --out record.json

Family by family: waata, then the peers with the tuned allocator, then those with the stock one, then waata once more, so
that all meet the same machine. Needs what requirements.txt lists and, for the tuned allocator, libjemalloc2. A ratio is the
best peer's median over waata's; waata's is the slower of its two runs. Peers that do less work are measured beside them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from glob import glob
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FAMILIES = ["attention", "transd", "head", "step", "ranking", "adam"]

# Freed memory stays mapped and lies in huge pages: without that, eager PyTorch spends most of its time in page faults.
TUNED = {
    "MALLOC_CONF": "oversize_threshold:1,background_thread:true,metadata_thp:auto,thp:always,"
    "dirty_decay_ms:-1,muzzy_decay_ms:-1",
    "THP_MEM_ALLOC_ENABLE": "1",
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("families", nargs="*", default=FAMILIES, metavar="FAMILY", help=", ".join(FAMILIES))
    p.add_argument("--waata", type=Path, default=ROOT / "target/release/waata")
    p.add_argument("--python", default=os.environ.get("PYTHON", sys.executable), help="interpreter that has torch")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--allocators", default="tuned,stock", help="tuned, stock or both by a comma; on a GPU stock alone")
    p.add_argument("--seconds", type=float, default=5.0, help="for the repetitions of one peer")
    p.add_argument("--waata-seconds", type=float, default=2.0, help="for the repetitions of one case of waata")
    p.add_argument("--sizes", default="", help="further flags of waata bench, such as '--learners 30000 --dim 32'")
    p.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    p.add_argument("--match", default="", help="regular expression: only peers whose case and name match")
    p.add_argument("--out", type=Path, help="record to write (JSON)")
    given = p.parse_args()
    for family in given.families:
        if family not in FAMILIES:
            p.error(f"there is no family {family}; choose from {', '.join(FAMILIES)}")
    if given.device == "cuda":
        given.allocators = "stock"
    return given


def waata(given, family, *more):
    """The document of one run; the program's own lines go to stderr."""
    command = [given.waata, "bench", family, "--device", given.device, "--threads", str(given.threads)]
    command += ["--seconds", str(given.waata_seconds), *given.sizes.split(), "--json", *more]
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, check=True, env=environment())
    return json.loads(done.stdout)


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", *TUNED)}
    return {**kept, **more}


def allocator(name):
    """The environment of an allocator; None where this machine does not have it."""
    if name == "stock":
        return environment()
    library = next(iter(sorted(glob("/usr/lib/*/libjemalloc.so.2"))), None)
    return environment(LD_PRELOAD=library, **TUNED) if library else None


def peers(given, family, sizes, inputs, name, record):
    env = allocator(name)
    if env is None:
        return record["problems"].append("no libjemalloc.so.2: the peers run with the stock allocator only")
    # The stock allocator is there to be named: three repetitions.
    seconds = given.seconds if name == "tuned" or given.device == "cuda" else 0.0
    command = [given.python, "-W", "ignore", HERE / "worker.py", family, "--sizes", json.dumps(sizes), "--inputs", inputs]
    command += ["--device", given.device, "--threads", given.threads, "--seconds", seconds, "--match", given.match]
    command += ["--no-compile"] if given.no_compile else []
    worker = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=env)
    for line in worker.stdout:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "versions" in said:
            record["versions"], record["torch_device"] = said["versions"], said["device"]
        elif "problem" in said:
            print(f"  {said['problem']}", file=sys.stderr, flush=True)
            record["problems"].append(f"{name}: {said['problem']}")
        else:
            print(f"  {said['case']:<34} {said['ms']:>10.3f} ms  {said['peer']}, {name}", file=sys.stderr, flush=True)
            record["peers"].append({**said, "allocator": name})
    if worker.wait() != 0:
        record["problems"].append(f"{family}, {name}: the worker ended with {worker.returncode}")


def ratios(record):
    """For each case of waata that a peer has: the best tuned peer and the best stock one over waata."""
    runs = {}
    for report in record["waata"]:
        for case in report["cases"]:
            runs.setdefault(case["name"], []).append(case)
    rows = []
    for name, cases in runs.items():
        of_case = [p for p in record["peers"] if p["case"] == name and "less work" not in p["peer"]]
        if not of_case:
            continue
        slower = max(cases, key=lambda c: c["ms"])
        row = {"case": name, "waata_ms": slower["ms"], "share_of_limit": slower["share_of_limit"]}
        for kind in ("tuned", "stock"):
            best = min((p for p in of_case if p["allocator"] == kind), key=lambda p: p["ms"], default=None)
            row[kind] = best and {"peer": best["peer"], "ms": best["ms"], "ratio": best["ms"] / slower["ms"]}
        rows.append(row)
    return rows


def table(rows):
    lines = [f"{'case':<34}{'waata ms':>10}{'tuned ms':>10}{'ratio':>7}{'stock ms':>10}{'ratio':>7}  best tuned peer"]
    for row in rows:
        text = f"{row['case']:<34}{row['waata_ms']:>10.3f}"
        for kind in ("tuned", "stock"):
            best = row[kind]
            text += f"{best['ms']:>10.2f}{best['ratio']:>7.1f}" if best else f"{'-':>10}{'-':>7}"
        best = row["tuned"] or row["stock"]
        lines.append(f"{text}  {best['peer']}")
    return "\n".join(lines)


def revision():
    given = os.environ.get("WAATA_REVISION")
    if given:
        return given
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None


def machine():
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    return {"cores": os.cpu_count(), "memory_bytes": memory, "system": platform.platform()}


def main():
    given = arguments()
    if not given.waata.exists():
        sys.exit(f"{given.waata} is missing: cargo build --release, or name it with --waata")
    record = {
        "schema_version": 1,
        "kind": "peers",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": revision(),
        # Folders of this machine are nobody's business.
        "command": " ".join(Path(part).name for part in sys.argv),
        "machine": machine(),
        "threads": given.threads,
        "waata": [],
        "peers": [],
        "problems": [],
    }
    with tempfile.TemporaryDirectory() as inputs:
        save = [given.waata, "bench", "--save-inputs", inputs, *given.sizes.split()]
        subprocess.run([str(c) for c in save], check=True, env=environment())
        for family in given.families:
            print(f"{family}:", file=sys.stderr, flush=True)
            first = waata(given, family)
            record["waata"].append(first)
            for name in given.allocators.split(","):
                peers(given, family, first["sizes"], inputs, name, record)
            record["waata"].append(waata(given, family))
    record["ratios"] = ratios(record)
    print(table(record["ratios"]))
    if given.out:
        given.out.write_text(json.dumps(record, indent=1) + "\n")
    for problem in record["problems"]:
        print(f"problem: {problem}", file=sys.stderr)


main()
