"""`segone` with a watch: the processor and wall time from the first record on go to a file, so that starting is not counted.

python bench/speed_worker.py RESULT.json run --config …
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dataflows import cli  # noqa: E402
from dataflows.batches import OutputBatch, RecordBatch  # noqa: E402
from dataflows.route import FIRST, Router, ShardBatch  # noqa: E402
from state.events import BROADCAST  # noqa: E402


def main() -> int:
    began: list[tuple[float, float]] = []
    read, route = [0], Router._route

    def watched(router: Router, batch: RecordBatch) -> Iterable[tuple[str, ShardBatch | OutputBatch]]:
        if batch.records and not began:
            began.append((time.process_time(), time.monotonic()))
        # Every source partition reads all of the market's topics: one of them counts.
        read[0] += sum(batch.source == FIRST or record.topic not in BROADCAST for record in batch.records)
        return route(router, batch)

    Router._route = watched  # type: ignore[method-assign]
    code = cli.main(sys.argv[2:])
    cpu_s, wall_s = began[0]
    found = {"events": read[0], "cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}
    Path(sys.argv[1]).write_bytes(orjson.dumps(found))
    return code


if __name__ == "__main__":
    sys.exit(main())
