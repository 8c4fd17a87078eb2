"""The soak on the embedded log: input that is complete, and input that grows while it is read."""

from __future__ import annotations

from pathlib import Path

from said import Said, in_files, topics_of
from soak_phase import BOUNDED_LIFE_S, BOUNDED_SHARE, Soak, read_the_rest
from streams_under_load import Feeder, FileLog, bursts
from worker_process import CommittedReader


def soak_files(soak: Soak) -> Said:
    """Both phases on the embedded log; returns the reference."""
    folder, feed = soak.folder, list(bursts(soak.messages))
    complete = folder / "complete"
    log = FileLog(complete)
    for burst in feed:
        log.write(burst)
    phase, began_s = soak.begin("files, undisturbed")
    config = soak.settings("reference", "files")
    worker = soak.worker("reference", config, "--input", str(complete), "--output", str(folder / "reference" / "out"))
    read_the_rest(phase, worker)
    reference = in_files(folder / "reference" / "out")
    soak.judge(phase, began_s, reference, reference)
    soak.tell(", ".join(f"{topic} {count:,}" for topic, count in topics_of(reference)))
    for bounded in (True, False):
        kill_on_files(soak, reference, complete, bounded)
    return reference


def kill_on_files(soak: Soak, reference: Said, complete: Path, bounded: bool) -> None:
    name = "files, complete" if bounded else "files, growing"
    phase, began_s = soak.begin(name)
    output = soak.folder / name / "out"
    config = soak.settings(name, "files")
    kills = round(soak.args.kills * BOUNDED_SHARE)
    if bounded:
        where = complete
        worker = soak.worker(name, config, "--input", str(where), "--output", str(output))
    else:
        where = soak.folder / name / "in"
        kills = soak.args.kills - soak.phases[-2].kills
        worker = soak.worker(name, config, "--input", str(where), "--output", str(output), "--follow")
    reader = CommittedReader(output)
    reader.start()
    state = soak.folder / name / "state"
    try:
        if bounded:
            ended = lambda: worker.starts > 0 and worker.wait(0) == 0  # noqa: E731
            soak.kill_until(phase, worker, state, kills, ended, BOUNDED_LIFE_S)
        else:
            feeder = Feeder(list(bursts(soak.messages)), FileLog(where).write, over_s=kills * 3.0)
            feeder.start()
            soak.kill_until(phase, worker, state, kills)
            soak.tell(f"{name}: {feeder.fed:,} records fed during the kills")
            worker.end()
            feeder.finish()
    finally:
        worker.end()
    worker = soak.worker(name, config, "--input", str(where), "--output", str(output))
    read_the_rest(phase, worker)
    phase.surprises += reader.finish()
    soak.judge(phase, began_s, reference, in_files(output))
