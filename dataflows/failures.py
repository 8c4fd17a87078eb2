"""Why a command ended: one sentence for a person, whatever wrapped the error on its way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from state.settings import ConfigError
from state.store_error import OUT_OF_MEANS

RECOVERY_REFUSED = frozenset({"NoPartitionsError", "MissingPartitionsError", "InconsistentPartitionsError"})
"""What the engine says of a recovery folder of which something is gone, or whose files are not of one moment. By name, since commands
without the engine should not wait for its import."""
RECOVERY_GONE = "recovery directory"
"""How it begins to say that there is none at all: an OSError without a file name."""
PANIC = "PanicException"
"""How the engine reports a full disk of its own store, or a peer that is gone; the class has no name to import."""
STORE_FAILED = re.compile(r'SqliteFailure\(.*?(?:Some\("(?P<reason>[^"]*)"\))?\)$')
"""The same, where it reports it as a RuntimeError."""


class Unforeseen(Exception):
    """A bug of ours ended the worker. The message names kinds and places only: the error's own words might hold somebody's data."""


def foreseen(error: BaseException) -> str | None:
    """What to say of an error that is no bug of ours: the output, the store, the brokers or a peer failed. None for any other."""
    # Only here: they import the engine and the Kafka client, and `segone --help` should not wait for those.
    from dataflows.files.sink import OutputFailed
    from dataflows.files.source import InputFailed
    from dataflows.kafka.client import BrokerUnavailable, KafkaRefused
    from dataflows.quarantine import Poisoned
    from state.frozen import FrozenError
    from state.store_error import StoreError

    known = (
        InputFailed, OutputFailed, BrokerUnavailable, KafkaRefused, StoreError, ConfigError, Poisoned, FrozenError, Unforeseen,
    )  # fmt: skip
    for one in causes(error):
        if isinstance(one, known):
            return str(one)
        if type(one).__name__ in RECOVERY_REFUSED or (isinstance(one, OSError) and str(one).startswith(RECOVERY_GONE)):
            return recovery_sentence(str(one))
        if isinstance(one, OSError):
            return os_sentence(one)
        if isinstance(one, MemoryError):
            return (
                "no memory is left for this process. Nothing is damaged: give it more (limits of the container, ulimit -v), or lower "
                "[shard] hot_customers_max, then start again"
            )
        if isinstance(one, RuntimeError) and (failed := STORE_FAILED.search(str(one))):
            return engine_sentence(failed["reason"] or "unknown")
        if type(one).__name__ == PANIC:
            return (
                "another process of the cluster has ended, and this one cannot go on alone; what that one said last tells why"
                if peer_is_gone(one)
                else engine_sentence(str(one))
            )
    return None


def peer_is_gone(error: BaseException) -> bool:
    """Whether the engine only lost its connection: the cause is in another process."""
    return any(type(one).__name__ == PANIC and str(one).startswith(("Send", "Recv")) for one in causes(error))


def engine_sentence(reason: str) -> str:
    return (
        f"the engine cannot go on with its recovery folder ({reason}). See to the space left and the permissions of the state folder "
        "([state] dir), then start again: nothing that was committed is lost"
    )


def recovery_sentence(reason: str) -> str:
    return (
        f"the recovery folder ([state] dir, recovery/) is not whole ({reason}). Put back what is gone, or restore the state folder from a "
        "copy of one moment, or begin with a new one and replay the input (docs/rescale-upgrade.md: Disaster recovery)"
    )


def os_sentence(error: OSError) -> str:
    what = error.strerror or str(error)
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in OUT_OF_MEANS:
        return f"{place}{what}. Nothing is damaged: {OUT_OF_MEANS[error.errno]}, then start again"
    return f"{place}{what}; see to the path, its permissions and the space left, then start again"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it: the engine wraps some errors of its steps."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
