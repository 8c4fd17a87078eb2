"""Trains the dictionary with which blocks of profiles are compressed (state/still.py), on simulated customers of two ages.

    python bench/dictionary.py NUMBER [--moving] [--bytes B] [--customers N] [--days D D …] [--seed S]

The blocks are those of what seldom changes, or with --moving those of what changes with every event (state/frozen.py). Writes
state/dictionaries/NUMBER.zdict and prints what blocks of another world take with it, and without any. A dictionary that blocks on
some disk were made with is never changed nor deleted: a better one gets the next number, and `DICTIONARY` or `MOVING` in state/still.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lived import lived

from simulation.settings import WorldSettings
from state import frozen, still

OTHER_WORLD = 1
"""Added to the seed."""


def blocks(customers: int, days: int, seed: int, moving: bool) -> list[bytes]:
    """What would be compressed of each customer of a world, as it is encoded."""
    frozen.MOVING = still.NO_DICTIONARY  # the one that is to be made may not be there yet
    of = lived("whole", WorldSettings(customers, days, seed))
    if moving:
        return [still.decompressed(msgspec.msgpack.decode(raw[1:], type=frozen.Fields).moving) for raw in of.freeze()]
    found = []
    for customer in of.customers:
        found.append(still.decompressed(still.freeze_still(customer)))
        states = {
            name: state
            for name, state in of.step.freeze_states(customer).items()
            if getattr(state[1], frozen.SELDOM, False)
        }
        if states:
            found.append(still.decompressed(still.freeze_states(customer, states)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("--moving", action="store_true")
    parser.add_argument("--bytes", type=int, default=4096)
    parser.add_argument("--customers", type=int, default=50)
    parser.add_argument("--days", type=int, nargs="+", default=[60, 400])
    parser.add_argument("--seed", type=int, default=46)
    args = parser.parse_args()
    path = still.dictionary_path(args.number)
    if path.exists():
        parser.error(f"{path} is there already, and blocks may have been made with it: take the next number")
    samples = [block for days in args.days for block in blocks(args.customers, days, args.seed, args.moving)]
    level = still.LEVELS[still.MOVING if args.moving else still.DICTIONARY]
    dictionary = zstandard.train_dictionary(args.bytes, samples, level=level)
    path.write_bytes(dictionary.as_bytes())
    others = [
        block for days in args.days for block in blocks(args.customers // 2, days, args.seed + OTHER_WORLD, args.moving)
    ]
    for name, dictionaries in (("with it", {"dict_data": dictionary}), ("without", {})):
        compressor = zstandard.ZstdCompressor(level=level, write_content_size=False, **dictionaries)
        bytes_mean = sum(len(compressor.compress(block)) for block in others) / len(others)
        print(
            f"{name}: {bytes_mean:.0f} of {sum(map(len, others)) / len(others):.0f} bytes, mean of {len(others)} blocks"
        )


if __name__ == "__main__":
    main()
