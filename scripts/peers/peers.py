#!/usr/bin/env python3
"""PyTorch (eager and compiled), PyG and DGL beside `waata bench`, on the same graph and ids, in one run.

    PYTHON=venv/bin/python scripts/peers/peers.py                     # everything on the CPU
    scripts/peers/peers.py attention adam --allocators tuned          # two families, the tuned allocator alone
    scripts/peers/peers.py --device cuda --out record.json

Family by family: waata, the peers with the tuned allocator, those with the stock one, waata again, and so on for some
rounds, so that all meet the same machine: the memory of a rented one may be half again as fast from one minute to the next.
After the first round the peers within three tenths of the best go on. A time is the median of the rounds' medians, a best
time the least of all repetitions, and a ratio the best peer's over waata's. Peers that do less work are measured beside
them. Needs what requirements.txt lists and, for the tuned allocator, libjemalloc2.
"""

import argparse
import json
import os
import platform
import re
import statistics
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
    p.add_argument("--rounds", type=int, default=3, help="of waata and its peers by turns, for each family")
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


def of_allocator(record, name):
    """What was measured with an allocator and does the same work as waata."""
    return [p for p in record["peers"] if p["allocator"] == name and "less work" not in p["peer"]]


def contenders(measured):
    """A regular expression of the peers worth another round: within three tenths of their case's best."""
    best = {case: min(p["ms"] for p in of_case) for case, of_case in by_key((p["case"], p) for p in measured).items()}
    near = {f"{p['case']} {p['peer']}" for p in measured if p["ms"] <= 1.3 * best[p["case"]]}
    return f"^({'|'.join(map(re.escape, sorted(near)))})$"


def peers(given, family, sizes, inputs, name, record, match):
    env = allocator(name)
    if env is None:
        return record["problems"].append("no libjemalloc.so.2: the peers run with the stock allocator only")
    # The stock allocator is there to be named: three repetitions.
    seconds = given.seconds if name == "tuned" or given.device == "cuda" else 0.0
    command = [given.python, "-W", "ignore", HERE / "worker.py", family, "--sizes", json.dumps(sizes), "--inputs", inputs]
    command += ["--device", given.device, "--threads", given.threads, "--seconds", seconds, "--match", match]
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
    rows = []
    for name, runs in by_key((case["name"], case) for report in record["waata"] for case in report["cases"]).items():
        row = {"case": name, "waata_ms": median(runs), "waata_best_ms": least(runs)}
        row["share_of_limit"] = statistics.median(run["share_of_limit"] for run in runs)
        for kind in ("tuned", "stock"):
            measured = by_key((p["peer"], p) for p in of_allocator(record, kind) if p["case"] == name)
            if not measured:
                row[kind] = None
                continue
            peer, of_peer = min(measured.items(), key=lambda item: median(item[1]))
            row[kind] = {
                "peer": peer,
                "ms": median(of_peer),
                "ratio": median(of_peer) / median(runs),
                "best_ratio": min(map(least, measured.values())) / least(runs),
            }
        if row["tuned"] or row["stock"]:
            rows.append(row)
    return rows


def by_key(pairs):
    groups = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def median(runs):
    return statistics.median(run["ms"] for run in runs)


def least(runs):
    return min(run["min_ms"] for run in runs)


def table(rows):
    """`best`: the ratio of the least times."""
    lines = [f"{'case':<34}{'waata ms':>10}{'best':>10}{'tuned ms':>10}{'ratio':>7}{'best':>7}{'stock ms':>10}{'ratio':>7}  best peer"]
    for row in rows:
        text = f"{row['case']:<34}{row['waata_ms']:>10.3f}{row['waata_best_ms']:>10.3f}"
        tuned, stock = row["tuned"], row["stock"]
        text += f"{tuned['ms']:>10.2f}{tuned['ratio']:>7.1f}{tuned['best_ratio']:>7.1f}" if tuned else f"{'-':>10}{'-':>7}{'-':>7}"
        text += f"{stock['ms']:>10.2f}{stock['ratio']:>7.1f}" if stock else f"{'-':>10}{'-':>7}"
        lines.append(f"{text}  {(tuned or stock)['peer']}")
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
        "rounds": given.rounds,
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
            for turn in range(given.rounds):
                for name in given.allocators.split(","):
                    cases = {case["name"] for case in first["cases"]}
                    measured = [p for p in of_allocator(record, name) if p["case"] in cases]
                    match = contenders(measured) if turn and measured else given.match
                    peers(given, family, first["sizes"], inputs, name, record, match)
                record["waata"].append(waata(given, family))
    record["ratios"] = ratios(record)
    print(table(record["ratios"]))
    if given.out:
        given.out.write_text(json.dumps(record, indent=1) + "\n")
    for problem in record["problems"]:
        print(f"problem: {problem}", file=sys.stderr)


main()
