"""Asks every process of a worker how it is: `python -I probe.py /healthz`. Exit 0 if all say 200, else 1 and what they said.

For containers: an image has no curl, and a kubelet asks one port only, while each process of a local cluster has its own.
Reads SEGONE__METRICS__PORT (that of process 0) and SEGONE_PROCESSES (how many there are, by default 1).
"""

import os
import sys
import urllib.error
import urllib.request

ANSWER_S = 3.0
PORT_USUAL = 9464


def fault(port: int, path: str) -> str:
    """What is wrong with the process at a port; empty if nothing is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"port {port}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return f"port {port}: no answer ({error})"


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/healthz"
    first = int(os.environ.get("SEGONE__METRICS__PORT", PORT_USUAL))
    processes = int(os.environ.get("SEGONE_PROCESSES", "1"))
    faults = [found for port in range(first, first + processes) if (found := fault(port, path))]
    print("\n".join(faults) or "ok")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
