"""The report's page in a browser, and the memory of the live page.

    python bench/report.py page [--transactions 10000]   weight, time until it can be used, time of a redraw
    python bench/report.py watch [--signals 1000000]     memory of `segone watch` while signals come, and how many it reads a second

`page` drives the system's Chromium (Debian: apt-get install chromium). One customer of a made-up log gets so many transactions;
the run's signals are those of a replay. `watch` starts the real command on a folder of so many signals, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "report")]

FIRST_S = 1_704_067_200  # 2024-01-01
LOADS = 7
MCCS = ("5411", "5812", "5541", "5912", "4111", "5651", "5732", "7832", "8011", None)


def transactions(count: int, seed: int) -> list[bytes]:
    """One customer's two years: purchases of ten kinds, some of them odd."""
    draw = random.Random(seed)
    step_s = 2 * 365 * 86_400 // count
    lines = []
    for number in range(count):
        booked = datetime.fromtimestamp(FIRST_S + number * step_s, UTC).isoformat()
        amount = draw.lognormvariate(3.2, 0.8) * (100 if number % 997 == 996 else 1)
        body = {
            "transaction_id": f"t-{number:08d}-{draw.getrandbits(64):016x}",
            "customer_id": "c-1",
            "account_id": "a-1",
            "booked_at": booked,
            "amount": f"{amount:.2f}",
            "currency": "EUR",
            "direction": "debit" if number % 20 else "credit",
            "channel": "card_present",
            "mcc": draw.choice(MCCS),
            "merchant_name": f"Shop {draw.randrange(200)}",
            "country": "DE",
            "balance_after": f"{1000 + draw.gauss(0, 300):.2f}",
        }
        lines.append(json.dumps(body).encode())
    return lines


def bench_page(count: int) -> None:
    from browser import ARGUMENTS, CHROMIUM
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "in" / "in.transactions.jsonl").write_bytes(b"\n".join(transactions(count, 1)) + b"\n")
        segone("replay", folder / "in", "--out", folder / "run")
        started_s = time.monotonic()
        segone("report", folder / "run", "--customer", "c-1", "--out", folder / "page.html")
        made_s = time.monotonic() - started_s
        size = (folder / "page.html").stat().st_size
        ready_ms, redraw_ms, click_ms = [], [], []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for _ in range(LOADS):
                page = browser.new_page(viewport={"width": 1300, "height": 900})
                page.goto((folder / "page.html").as_uri())
                page.wait_for_selector("html[data-ready]")
                ready_ms.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime"))
                redraw_ms.append(page.evaluate(timed("shown.timeline.draw()")))
                click_ms.append(page.evaluate(timed("shown.open(shown.episodes[0].key)")))
                page.close()
            browser.close()
    print(f"{count:,} transactions: {size / 1e6:.2f} MB, made in {made_s:.1f} s (a process of its own)")
    for label, values in (("can be used after", ready_ms), ("redraw", redraw_ms), ("a click on a flag", click_ms)):
        print(
            f"{label:<20}{statistics.median(values):8.1f} ms (median of {LOADS}; {min(values):.1f} to {max(values):.1f})"
        )


def timed(script: str) -> str:
    return f"(() => {{ const start = performance.now(); {script}; return performance.now() - start; }})()"


def bench_watch(count: int) -> None:
    from cli_samples import as_line, signal

    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        path = run / "signals.anomaly" / "0.jsonl"
        path.parent.mkdir()
        committed = path.with_suffix(".committed")
        committed.write_text("0")
        path.touch()
        command = [sys.executable, "-m", "dataflows.cli", "watch", str(run), "--port", "0"]
        watch = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        found = re.search(r"http://\S+", watch.stdout.readline())
        assert found is not None
        print(f"{'signals':>12}{'resident MB':>14}")
        print(f"{0:>12,}{resident_mb(watch.pid):>14.1f}")
        started_s, written = time.monotonic(), 0
        for part in range(1, 11):
            with path.open("ab") as file:
                for number in range(written, count * part // 10):
                    changes = {"id": f"{number:032x}", "customer_id": f"c-{number % 100_003}", "episode": f"t-{number}"}
                    file.write(as_line(signal(**changes)) + b"\n")
            written = count * part // 10
            committed.write_text(str(path.stat().st_size))
            while (read := signals_shown(found.group())) < written:
                time.sleep(0.2)
            print(f"{read:>12,}{resident_mb(watch.pid):>14.1f}")
        print(f"{count / (time.monotonic() - started_s):,.0f} signals/s, writing them included")
        watch.terminate()
        watch.wait()


def signals_shown(address: str) -> int:
    """What the live page has counted, taken from the page itself."""
    text = urllib.request.urlopen(address).read().decode()
    found = re.search(r'"signals":(\d+)', text)
    assert found is not None
    return int(found.group(1))


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def segone(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "dataflows.cli", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the report's page and the live page.")
    parser.add_argument("what", choices=("page", "watch"))
    parser.add_argument("--transactions", type=int, default=10_000)
    parser.add_argument("--signals", type=int, default=1_000_000)
    args = parser.parse_args()
    if args.what == "page":
        bench_page(args.transactions)
    else:
        bench_watch(args.signals)


if __name__ == "__main__":
    main()
