"""Measures the peers of one family in a process of its own, whose allocator the caller has chosen. One JSON line each."""

import argparse
import importlib
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("family")
    parser.add_argument("--sizes", type=json.loads, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--match", default="")
    given = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    # Idle threads of OpenMP go to sleep instead of spinning.
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    import torch

    from common import Setting, measure

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    say = lambda **line: print(json.dumps(line), flush=True)
    versions = {}
    for package in ["torch", "torch-geometric", "dgl", "numpy"]:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    say(versions={"python": sys.version.split()[0], **versions}, device=name)

    setting = Setting(given.sizes, given.inputs, device, not given.no_compile, given.seconds)
    peers = importlib.import_module(given.family).peers(setting)
    while True:
        # A peer that cannot run on this machine is named, and the others go on.
        try:
            case, peer, work = next(peers)
        except StopIteration:
            break
        except Exception as error:
            say(problem=f"{given.family}: {type(error).__name__}: {str(error)[:300]}")
            break
        if given.match and not re.search(given.match, f"{case} {peer}"):
            continue
        try:
            say(case=case, peer=peer, **measure(work, setting))
        except Exception as error:
            say(problem=f"{case}, {peer}: {type(error).__name__}: {str(error)[:300]}")
    for problem in setting.problems:
        say(problem=problem)


main()
