"""The peers' simple work by hand: consume, look up in a dict, produce. No durable state, no transactions, nothing after a crash.

python bench/speed_loop.py BOOTSTRAP TOPIC_OUT EVENTS
"""

from __future__ import annotations

import sys
import time

import orjson
from confluent_kafka import Consumer, Producer
from speed_simple import TOPIC_IN, Profile, line_of

BATCH = 1000


def main() -> None:
    bootstrap, topic_out, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic_out, "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC_IN])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    profiles: dict[str, Profile] = {}
    done, began_s = 0, time.process_time()
    while done < events:
        messages = consumer.consume(BATCH, 1.0)
        for message in messages:
            if message.error() is not None:
                raise SystemExit(str(message.error()))
            payment = orjson.loads(message.value())
            customer_id = payment["customer_id"]
            profile = profiles.get(customer_id)
            if profile is None:
                profile = profiles[customer_id] = Profile()
            producer.produce(topic_out, line_of(payment, profile), message.key())
        producer.poll(0)
        done += len(messages)
    producer.flush()
    print(orjson.dumps({"events": done, "cpu_s": time.process_time() - began_s}).decode())
    consumer.close()


if __name__ == "__main__":
    main()
