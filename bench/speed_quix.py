"""The peers' simple work in Quix Streams, its state (RocksDB and a changelog topic) on. Runs in an environment of its own, for Quix wants
another confluent-kafka than we do (docs/bench.md).

python bench/speed_quix.py BOOTSTRAP TOPIC_OUT EVENTS exactly-once|at-least-once STATE_DIR
"""

from __future__ import annotations

import base64
import sys
import time
from typing import Any

import orjson
from quixstreams import Application
from speed_simple import TOPIC_IN, Profile, line_of

IDLE_S = 15.0


def main() -> None:
    bootstrap, topic_out, events, guarantee, state_dir = (*sys.argv[1:3], int(sys.argv[3]), *sys.argv[4:6])
    app = Application(
        broker_address=bootstrap,
        consumer_group=topic_out,
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        commit_interval=1.0,
        state_dir=state_dir,
        loglevel="WARNING",
    )
    topic_in = app.topic(TOPIC_IN, key_deserializer="bytes", value_deserializer="bytes")
    target = app.topic(topic_out, key_serializer="bytes", value_serializer="bytes")
    began_s: list[float] = []

    def work(value: bytes, state: Any) -> bytes:
        began_s or began_s.append(time.process_time())
        frozen = state.get("profile")
        profile = Profile(base64.b64decode(frozen) if frozen is not None else None)
        line = line_of(orjson.loads(value), profile)
        state.set("profile", base64.b64encode(profile.freeze()).decode())
        return line

    frame = app.dataframe(topic_in)
    frame.apply(work, stateful=True).to_topic(target)
    app.run(count=events, timeout=IDLE_S)
    print(orjson.dumps({"events": events, "cpu_s": time.process_time() - began_s[0]}).decode())


if __name__ == "__main__":
    main()
