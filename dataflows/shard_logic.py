"""A shard inside Bytewax: opens its store at its first item, answers batches, and gives the engine a token at each epoch's end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic

from bytewax.operators import StatefulBatchLogic

from dataflows.batches import KnowledgeBatch, OutputBatch
from dataflows.knowledge.reporting import Reporter
from dataflows.quarantine import Quarantine
from dataflows.route import Accounting, ShardBatch, to_sink
from dataflows.tally import Tally
from operators.encode import encode, is_written
from operators.pseudonym import Pseudonyms
from state.shard import Shard
from state.step import Emission
from state.store_error import StoreError

IDLE = timedelta(seconds=1)
LIVE_US = 60 * 86_400_000_000
"""A stream whose newest arrival is older than this is a history being read: the wall clock says nothing about it."""
MARGIN_US = 10_000_000
"""How far the wall clock stays behind itself: a record that has arrived but is not read yet must not be overtaken by a timer."""

ShardFactory = Callable[[int], Shard]
ReporterFactory = Callable[[int], Reporter]
Addressed = tuple[str, OutputBatch | KnowledgeBatch]


SETTLE_FROM, SETTLED_AT = 0.4, 0.95
"""Between these shares of a checkpoint interval changed customers are written behind, little by little."""


class ShardLogic(StatefulBatchLogic[ShardBatch, Addressed, bytes]):
    """The engine's view of one shard. `factory` opens shard n; the token in `resume` is applied as soon as n is known. `reporter`
    makes what tells the knowledge keys of it, where something is learned across customers.

    `interval_s` is between checkpoints. In its second half changed customers are written behind, a few with each batch: so the
    checkpoint finds few, and no batch has to write many.
    """

    def __init__(
        self,
        resume: bytes | None,
        factory: ShardFactory,
        sink_partitions: int,
        live: bool,
        interval_s: float,
        quarantine: Quarantine,
        stopping: Callable[[], bool] = lambda: False,
        reporter: ReporterFactory | None = None,
        *,
        tally: Tally,
        accounting: Accounting,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._resume = resume
        self._factory = factory
        self._sink_partitions = sink_partitions
        self._live = live
        self._quarantine = quarantine
        self._stopping = stopping
        self._tally = tally
        self._accounting = accounting
        self._received: dict[int, int] = {}
        self._routed: dict[int, int] = {}
        self._make_reporter = reporter
        self._reporter: Reporter | None = None
        self._shard: Shard | None = None
        self._unproven = False
        self._clocks: dict[int, tuple[int, bool]] = {}
        self._interval_s = interval_s
        self._began_s = monotonic()
        """When the newest checkpoint was taken."""
        self._unsettled = 0
        """How many changed customers there were when they began to be written behind."""

    def on_batch(self, values: list[ShardBatch]) -> tuple[Iterable[Addressed], bool]:
        shard = self._shard
        if shard is None:
            shard = self._shard = self._factory(values[0].shard)
            shard.restore(self._resume)
            self._reporter = self._make_reporter(values[0].shard) if self._make_reporter is not None else None
        if self._unproven:
            # A source item of a later epoch: the engine has committed the one of our last token.
            self._unproven = False
            shard.proven()
            self._tally.committed()
        self._tally.beat()
        reporter = self._reporter
        emissions: list[Emission] = []
        reports: list[KnowledgeBatch] = []
        for batch in values:
            self._routed[batch.partition] = batch.routed
            if reporter is not None:
                reporter.before(batch)
            said: list[Emission] = []
            if batch.events:
                said += self._apply(shard, batch)
                self._tally.took([event for event in batch.events if event.customer_id])
                self._received[batch.partition] = (
                    self._received.get(batch.partition, 0) + len(batch.events) - batch.broadcast
                )
            said += shard.advance(batch.partition, batch.clock_us)
            if reporter is not None:
                reports += reporter.report(said, batch.partition, proof=True)
                reports += reporter.news(batch, shard.counters.customers)
            emissions += said
            self._clocks[batch.partition] = (batch.clock_us, batch.caught_up)
        self._settle(shard)
        return self._outputs(emissions, reports, proof=True), StatefulBatchLogic.RETAIN

    def _settle(self, shard: Shard) -> None:
        passed = (monotonic() - self._began_s) / self._interval_s
        if passed < SETTLE_FROM:
            self._unsettled = shard.changed_customers
        else:
            shard.settle(int(self._unsettled * max(0.0, SETTLED_AT - passed) / (SETTLED_AT - SETTLE_FROM)))

    def _apply(self, shard: Shard, batch: ShardBatch) -> list[Emission]:
        try:
            return shard.apply(batch.events, batch.partition)
        except (StoreError, OSError):
            raise
        except Exception as error:
            if shard.applying is None:
                raise
            raise self._quarantine.add(shard.applying, error) from error

    def on_notify(self) -> tuple[Iterable[Addressed], bool]:
        """On an idle live stream the wall clock stands in for the arrival clock, so that timers fire though nothing comes. Not in a stop:
        sources read no more then, and what arrives meanwhile is older than the clock."""
        emissions: list[Emission] = []
        now_us = int(datetime.now(UTC).timestamp() * 1e6) - MARGIN_US
        if self._shard is not None and not self._stopping():
            for partition, (clock_us, caught_up) in self._clocks.items():
                if caught_up and 0 < now_us - clock_us < LIVE_US:
                    emissions += self._shard.advance(partition, now_us)
        return self._outputs(emissions, self._reports(emissions), proof=False), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Addressed], bool]:
        """A stop is no end of the input: what is held back for sorting stays held."""
        emissions = self._shard.finish() if self._shard is not None and not self._stopping() else []
        return self._outputs(emissions, self._reports(emissions), proof=False), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return datetime.now(UTC) + IDLE if self._live else None

    def snapshot(self) -> bytes:
        if self._shard is None:
            assert self._resume is not None, "the engine asks for a snapshot only of a shard that it awoke"
            return self._resume
        started_s = monotonic()
        self._check(self._shard)
        self._unproven = True
        self._began_s = started_s
        token = self._shard.checkpoint()
        self._tally.snapshot_took(monotonic() - started_s)
        return token

    def _check(self, shard: Shard) -> None:
        """Law 11 over the whole way, before anything that lacks a record could be committed."""
        lost = sum(abs(routed - self._received.get(partition, 0)) for partition, routed in self._routed.items())
        difference = lost + abs(self._accounting.difference) + abs(shard.counters.difference)
        self._tally.conservation[shard.number] = difference
        assert difference == 0, (
            f"law 11: {difference} records were lost or counted twice on the way to shard {shard.number}"
        )

    def _reports(self, emissions: list[Emission]) -> list[KnowledgeBatch]:
        """Of what no source item caused: it belongs to no partition, and says nothing of how far one is."""
        return self._reporter.report(emissions, -1, proof=False) if self._reporter is not None else []

    def _outputs(self, emissions: list[Emission], reports: list[KnowledgeBatch], *, proof: bool) -> list[Addressed]:
        self._tally.said(emissions)
        outputs = [encode(emission, self._pseudonyms) for emission in emissions if is_written(emission)]
        addressed: list[Addressed] = list(to_sink(outputs, self._sink_partitions, proof=proof))
        return addressed + [(report.key, report) for report in reports]
