"""Is a comparison that was killed and gone on with equal to one that nobody interrupted?

    python benchmarks/interrupted.py WHOLE KILLED --killed "one of two workers, 26 %" --output FILE

WHOLE and KILLED are output folders of the same ``python -m spikingjelly_ckd compare``. Everything that a record holds
is compared to the bit, but for times, paths and the command, and for what a preflight found where one of the two took
none. FILE gets what was compared, what differs, and the commit of each folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spikingjelly_ckd.recipes.comparison.records import ArmRecord, read_records
from spikingjelly_ckd.recipes.records import environment, write_record

NOT_COMPARED = ("step_ms", "teacher_ms", "environment", "command")


def outcome(record: ArmRecord) -> dict[str, Any]:
    """A record without what tells when, where and how fast it ran."""
    kept = {name: value for name, value in record.to_json().items() if name not in NOT_COMPARED}
    kept["history"] = [{name: value for name, value in row.items() if name != "seconds"} for row in record.history]
    kept["teacher"] = record.teacher and {name: value for name, value in record.teacher.items() if name != "source"}
    return kept


def differing(whole: Path, killed: Path) -> tuple[int, list[str]]:
    """How many runs there are in both, and those that differ, or are in one folder alone."""
    found = [
        {f"{one.arm}, seed {one.seed}": outcome(one) for one in read_records(folder)} for folder in (whole, killed)
    ]
    names = {name: None for of_folder in found for name in of_folder}
    return len(names), [name for name in names if not _alike(found[0].get(name), found[1].get(name))]


def _alike(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    if one is None or other is None:
        return False
    looked = one["preflight"] is not None and other["preflight"] is not None
    return all(value == other[name] for name, value in one.items() if looked or name != "preflight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whole", type=Path)
    parser.add_argument("killed", type=Path)
    parser.add_argument(
        "--killed", dest="kills", action="append", default=[], help="what was killed, and how far it was"
    )
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    runs, different = differing(args.whole, args.killed)
    commands = sorted({one.command for one in read_records(args.killed)})
    commits = {
        name: sorted({one.environment["git"] for one in read_records(folder)})
        for name, folder in (("whole", args.whole), ("killed", args.killed))
    }
    about = {"what": "interrupted", "runs": runs, "differing": different, "killed": args.kills}
    about |= {"commands": commands, "commits": commits}
    write_record(args.output, about | {"environment": environment()})
    print(f"{runs} runs, {len(different)} differ" + "".join(f"\n  {name}" for name in different))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
