"""`make flink-test`: Flink makes the same shards as one process, and goes on when a TaskManager is killed.

(a) on the Flink that Beam's job server starts in its own Java; (b) on a session cluster of a JobManager and two
TaskManagers, with Python workers from `python -m pipelines worker-pool`, one TaskManager killed in the middle.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import flink_cluster
from runs import LIMIT, ROOT, Bench, TestFailedError, bench, say


def main() -> None:
    libraries = pathlib.Path(sys.argv[1]).resolve()  # of Flink's distribution
    with bench("Flink") as b:
        b.prepare("local", "DirectRunner")
        b.prepare("embedded", "FlinkRunner, embedded", "--runner=FlinkRunner", "--parallelism=2")
        running = flink_cluster.running(libraries, b.folder / "flink", b.environment, 2)
        with running as cluster, worker_pool(b) as pool:
            _with_a_loss(b, cluster, pool)


@contextlib.contextmanager
def worker_pool(b: Bench) -> Iterator[str]:
    """A worker pool; gives its address."""
    log = b.folder / "pool.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "worker-pool", "--port=0"],
            cwd=b.folder,  # not where the code lies: the pool has to tell its workers
            env={**b.environment, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 120
        while "Worker pool at " not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise TestFailedError(f"The worker pool did not start:\n{log.read_text()}")
            time.sleep(0.2)
        address = log.read_text().split("Worker pool at ")[1].split(". ")[0]
        say(f"Worker pool at {address}.")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _with_a_loss(b: Bench, cluster: flink_cluster.Cluster, pool: str) -> None:
    engine = "FlinkRunner, 2 TaskManagers, 1 killed"
    flags = ("--runner=FlinkRunner", f"--flink_master=localhost:{cluster.rest}", f"--environment_config={pool}")
    say(f"{engine}: prepare {' '.join(flags)}")
    started = time.monotonic()
    # Slots for both tasks remain when one TaskManager is gone.
    process, out = b.start("cluster", *flags, "--parallelism=2")
    try:
        job = _kill_in_the_middle(process, cluster, out, started + LIMIT)
        b.finished(process, out, engine, started)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    seen = cluster.get(f"/jobs/{job}")
    restarted, managers = seen["timestamps"]["RESTARTING"], cluster.overview()["taskmanagers"]
    states = [j["state"] for j in cluster.jobs()]
    if not restarted or managers != 1 or states != ["FINISHED", "FINISHED"]:
        raise TestFailedError(f"No recovery was seen: restarted {restarted}, TaskManagers {managers}, jobs {states}")
    lost = (restarted - seen["start-time"]) / 1000
    again = (seen["end-time"] - restarted) / 1000
    say(f"The job lost it {lost:.1f} s after its start, was started again, and finished {again:.1f} s later.")


def _kill_in_the_middle(
    process: subprocess.Popen[str], cluster: flink_cluster.Cluster, out: pathlib.Path, until: float
) -> str:
    """Kills a TaskManager that is at work when some shards are staged and others are not; returns the job."""
    while time.monotonic() < until and process.poll() is None:
        staged = len(list(out.glob(".shardmill/staged/*.json")))
        jobs = cluster.jobs()
        at_work = cluster.at_work(jobs[0]["jid"]) if staged and jobs else {}
        if at_work:
            victim = max(at_work, key=lambda name: (at_work[name], name))
            cluster.kill(victim)
            say(f"Killed {victim} after {staged} of 24 shards; running tasks were on {at_work}.")
            return str(jobs[0]["jid"])
        time.sleep(0.1)
    said = out.with_name(f"{out.name}.stderr").read_text()
    raise TestFailedError(f"There was no moment to kill a TaskManager in:\n{said[-4000:]}")


if __name__ == "__main__":
    main()
