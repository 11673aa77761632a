"""Worker processes: answers in order, faults that cost one item, and nothing left behind."""

import itertools
import os
import pathlib
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from pipelines.config import PrepareConfig
from pipelines.core import machine
from pipelines.core.elements import Made, Ref, Source
from pipelines.core.errors import ConfigError, IncompleteError
from pipelines.images.limits import Limits
from pipelines.images.reject_image import out_of_memory
from pipelines.images.source_policy import DEFAULT
from pipelines.job import prepare
from pipelines.workers import memory_limit, pool, worker_process
from pipelines.workers.pool import Workers
from pipelines.workers.worker_process import TaskLostError, WorkerError
from tests.support.files import images
from tests.support.files.images import draw_photo


@pytest.fixture(scope="module")
def two() -> Workers:
    return Workers(2, "tests.support.workers.light_tasks")


@pytest.mark.slow
def test_answers_come_for_each_item_in_order(two):
    futures = [f for start in range(0, 90, 9) for f in two.submit("echo", (), [(i,) for i in range(start, start + 9)])]
    answers = [future.result() for future in futures]
    assert [value for value, _ in answers] == list(range(90))
    assert 1 <= len({process for _, process in answers}) <= 2


def test_a_program_that_changed_its_folder_gets_workers_that_are_there(tmp_path, monkeypatch):
    """As a notebook does between two calls: relative paths mean other files then."""
    monkeypatch.chdir(tmp_path)
    here = pool.shared(1, "test-of-folders")
    assert pool.shared(1, "test-of-folders") is here
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    there = pool.shared(1, "test-of-folders", module="tests.support.workers.slow_tasks")
    assert there is not here
    assert there._folder == str(tmp_path / "other")


def folder_of(workers):
    return os.readlink(f"/proc/{workers.submit('echo', (), [(0,)])[0].result()[1]}/cwd")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not tell the folder of a process")
def test_one_fork_server_starts_workers_in_every_folder(tmp_path):
    given = "tests.support.workers.light_tasks", (("OF", "folders"),)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    here, there = (Workers(1, *given, str(tmp_path / name)) for name in ("one", "other"))
    assert folder_of(here) == str(tmp_path / "one")
    server = worker_process._fork_servers[given]
    assert folder_of(there) == str(tmp_path / "other")
    assert worker_process._fork_servers[given] is server
    gone = Workers(1, *given, str(tmp_path / "gone"))
    assert folder_of(gone) == os.readlink(f"/proc/{server._process.pid}/cwd")


def test_a_worker_without_requests_is_ended_and_the_next_request_gets_another(monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.2)
    alone = Workers(1, "tests.support.workers.light_tasks")
    first = alone.submit("echo", (), [(1,)])[0].result()[1]
    end = time.monotonic() + 60
    while psutil.pid_exists(first) and time.monotonic() < end:
        time.sleep(0.01)
    assert not psutil.pid_exists(first)
    with alone.held():
        [second] = alone.submit("echo", (), [(1,)])
        time.sleep(1)
        [third] = alone.submit("echo", (), [(1,)])
        assert second.result() == third.result() != (1, first)
    answers = [f.result() for f in alone.submit("both", ("shared",), [(1,), (2,)])]  # what is shared is sent again
    assert answers == [(1, "shared"), (2, "shared")]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the system does not tell the folder of a process")
@pytest.mark.slow
def test_a_fork_server_starts_where_the_killed_one_did(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workers = pool.shared(1, "test-of-folders", module="tests.support.workers.light_tasks")
    assert folder_of(workers) == str(tmp_path)
    kill(worker_process._fork_servers[workers._kind]._process.pid)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert folder_of(workers) == str(tmp_path)


def test_no_items_are_no_request(two):
    assert two.submit("echo", (), []) == []
    assert two.submit("echo", (), [("next",)])[0].result()[0] == "next"


def test_shared_arguments_follow_the_items_own(two):
    with pytest.raises(WorkerError, match="takes 1 positional argument but 2 were given"):
        two.submit("echo", ("shared",), [("own",)])[0].result()


@pytest.mark.parametrize("fault", ["die", "leave", "half_an_answer"])
def test_a_worker_that_dies_costs_one_item(two, fault):
    before = two.submit("echo", (), [("before",)])
    lost = two.submit(fault, (), [(0,)])
    after = two.submit("echo", (), [(i,) for i in range(20)])
    with pytest.raises(TaskLostError, match="crashed or ran out of memory") as told:
        lost[0].result()
    assert told.value.reason == "crashed"
    assert before[0].result()[0] == "before"
    assert [future.result()[0] for future in after] == list(range(20))


def kill(process: int) -> None:
    killed = psutil.Process(process)
    killed.kill()
    psutil.wait_procs([killed], timeout=10)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_is_idle_costs_no_image(tmp_path):
    draw_photo(tmp_path / "small.jpg", 1, (40, 30))
    source = Source("small.jpg", str(tmp_path / "small.jpg"), "cat", "", "", 1.0)
    spec = PrepareConfig(input="in", allow_outside=True, output="out", size=(8, 8)).record_spec
    alone = Workers(1, "tests.support.workers.faulty_tasks")

    kill(alone.submit("echo", (), [(0,)])[0].result()[1])
    ref = alone.submit("fingerprint", (spec.limits, DEFAULT), [(source,)], deadline=60)[0].result()
    kill(alone.submit("echo", (), [(0,)])[0].result()[1])
    made = alone.submit("make", (spec,), [(ref, 0, 0, "train", False)], deadline=60)[0].result()

    assert isinstance(ref, Ref)
    assert isinstance(made, Made)
    assert len(made.framed) > 8 * 8 * 3


def test_an_item_is_given_up_where_the_second_worker_is_gone_too(monkeypatch):
    """Not tried for ever: this pool's workers are killed when they are ready, before anything is sent to them."""
    start, started = worker_process.start, []

    def killed(*given):
        started.append(start(*given))
        kill(started[-1]._process)
        return started[-1]

    monkeypatch.setattr(worker_process, "start", killed)
    [future] = Workers(1, "tests.support.workers.light_tasks").submit("echo", (), [(0,)])
    assert future.exception(timeout=60).reason == "crashed"
    assert len(started) >= 2


def test_of_a_request_of_many_items_only_the_one_is_lost(two):
    futures = two.submit("sleep", (), [(0,), (0,), (3600,), (0,)], deadline=0.5)
    outcomes = [future.exception() for future in futures]
    assert [type(e) for e in outcomes] == [type(None), type(None), TaskLostError, type(None)]
    assert outcomes[2].reason == "timeout"
    assert str(outcomes[2]) == "It took longer than 0.5 seconds (--image-timeout)."


def test_requests_of_other_kinds_that_wait_behind_a_lost_one_keep_their_kind(two):
    lost = two.submit("sleep", (), [(3600,)], deadline=0.5) + two.submit("sleep", (), [(3600,)], deadline=0.5)
    behind = [(two.submit("echo", (), [(i,)]), two.submit("sleep", (), [(0,)])) for i in range(9)]
    assert [future.exception().reason for future in lost] == ["timeout", "timeout"]
    assert [(echo.result()[0], sleep.result()) for [echo], [sleep] in behind] == [(i, None) for i in range(9)]


def calls(file: Path) -> list[str]:
    """The processes that made a call, one for each."""
    return file.read_text().splitlines()


@pytest.mark.parametrize("fault", ["hang", "die", ""])
def test_an_item_is_tried_a_second_time_where_that_is_asked_for(two, tmp_path, fault):
    file = tmp_path / "calls"
    asked = [("improve", (file, fault)), *[("echo", (i,)) for i in range(20)]]
    futures = [two.submit(task, (), [item], 0.5, lambda result: result == "bad")[0] for task, item in asked]
    assert futures[0].result() == "good"
    assert [future.result()[0] for future in futures[1:]] == list(range(20))
    first, second = calls(file)
    assert fault == "" or first != second  # what was lost is tried in another process


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "outcome"), [("hang", "timeout"), ("die", "crashed"), ("", "bad")])
def test_an_item_is_not_tried_a_third_time(two, tmp_path, fault, outcome):
    file = tmp_path / "calls"
    [future, after] = two.submit("note", ("bad", fault), [(file,), (tmp_path / "other",)], 0.5, lambda r: r == "bad")
    for one in (future, after):
        error = one.exception()
        assert (one.result() if error is None else error.reason) == outcome
    assert len(calls(file)) == 2


def test_an_item_is_tried_once_where_nothing_else_is_asked_for(two, tmp_path):
    for number, fault in enumerate(("hang", "die", "")):
        file = tmp_path / fault / "calls"
        file.parent.mkdir(exist_ok=True)
        [future] = two.submit("improve", (), [(file, fault)], 0.5)
        assert (future.exception() is None) == (number == 2)
        assert len(calls(file)) == 1


def test_time_in_the_queue_is_not_counted(two):
    """Six items of 0.3 s by two workers: the last waits longer than its deadline for its turn."""
    for future in [f for _ in range(6) for f in two.submit("sleep", (), [(0.3,)], deadline=0.6)]:
        assert future.result() is None


def test_large_requests_and_large_answers_pass_each_other():
    """Neither end may wait for the other to read: the worker sends an answer while it is sent the next request."""
    large = [bytes([i]) * (5 << 20) for i in range(6)]
    alone = Workers(1, "tests.support.workers.light_tasks")
    futures = [alone.submit("echo", (), [(data,)])[0] for data in large]
    assert [future.result(timeout=60)[0] for future in futures] == large


class Pickled:
    """Counts how often it is sent."""

    times = 0

    def __reduce__(self):
        Pickled.times += 1
        return int, ("7",)


def test_shared_arguments_are_sent_to_a_worker_once():
    alone, shared = Workers(1, "tests.support.workers.light_tasks"), (Pickled(),)
    before = Pickled.times
    futures = [f for i in range(9) for f in alone.submit("both", shared, [(i,), (-i,)])]
    assert [future.result() for future in futures] == [(own, 7) for i in range(9) for own in (i, -i)]
    assert Pickled.times == before + 1
    assert alone.submit("leave", shared, [(0,)])[0].exception().reason == "crashed"
    assert alone.submit("both", shared, [(1,)])[0].result() == (1, 7)  # another process, which has nothing
    assert Pickled.times == before + 2


def test_each_request_gets_its_own_shared_arguments(two):
    asked = [(own, shared) for shared in ("a", "a", "b", "a", "b", "b") for own in range(3)]
    futures = [two.submit("both", (shared,), [(own,)])[0] for own, shared in asked]
    assert [future.result() for future in futures] == asked


@pytest.mark.slow
def test_a_program_reads_one_folder_after_the_other_with_the_same_workers(tmp_path):
    """A worker keeps settings that equal those it has; the folder that files have to lie in is one of them."""
    workers = Workers(1, "pipelines.job.worker_tasks")
    for name in ("one", "two"):
        draw_photo(tmp_path / name / "a.png", 1, (8, 8))
        source = Source("a.png", str(tmp_path / name / "a.png"), "a", "", "", 1.0)
        limits = Limits(inside=str(tmp_path / name))
        ref = workers.submit("fingerprint", (limits, DEFAULT), [(source,)])[0].result()
        assert isinstance(ref, Ref), ref
    assert Limits(inside="/one").noted() == Limits(inside="/two").noted()  # a moved input is no other run


def test_the_process_of_a_lost_worker_is_gone():
    [future] = Workers(1, "tests.support.workers.light_tasks").submit("echo", (), [(0,)])
    process = psutil.Process(future.result()[1])
    alone = Workers(1, "tests.support.workers.light_tasks")
    [first] = alone.submit("echo", (), [(0,)])
    hung = psutil.Process(first.result()[1])
    assert alone.submit("sleep", (), [(3600,)], deadline=0.2)[0].exception().reason == "timeout"
    psutil.wait_procs([hung], timeout=10)
    assert not hung.is_running()
    assert process.is_running()


def test_an_exception_in_a_task_is_told_with_its_trace(two):
    with pytest.raises(WorkerError, match=r"(?s)Task 'fail' failed .*Traceback.*ValueError: seventeen"):
        two.submit("fail", (), [("seventeen",)])[0].result()


def test_workers_that_cannot_start_say_why():
    with pytest.raises(WorkerError, match=r"(?s)No worker process can be started.*No module named 'no_such_tasks'"):
        Workers(1, "no_such_tasks").submit("echo", (), [(0,)])[0].result()


@pytest.mark.slow
def test_a_killed_fork_server_is_replaced():
    pair = Workers(2, "tests.support.workers.light_tasks")
    pair.submit("echo", (), [(0,)])[0].result()
    killed = worker_process._fork_server(("tests.support.workers.light_tasks", ()))._process
    killed.kill()
    killed.wait()
    futures = [pair.submit("die", (), [(0,)])[0] for _ in range(3)]
    assert [f.exception().reason for f in futures] == ["crashed"] * 3
    assert pair.submit("echo", (), [("still",)])[0].result()[0] == "still"


def test_a_fork_server_that_another_thread_has_replaced_is_no_other_error():
    """One thread is told that it cannot start a worker while another one closes what the fork server said."""
    server = worker_process._ForkServer(("tests.support.workers.light_tasks", ()))
    server.kill()
    with pytest.raises(worker_process.WorkerError, match="No worker process can be started"):
        server.fork("")


def test_a_fork_server_that_answers_no_more_is_replaced_before_it_has_ended(monkeypatch):
    """A killed process closes its files first, and can be waited for only later."""
    kind = ("tests.support.workers.light_tasks", ())
    first = worker_process._fork_server(kind)
    with monkeypatch.context() as patch:
        patch.setattr(first._process, "poll", lambda: None)
        first._process.kill()
        worker = worker_process.start(kind)
    assert worker_process._fork_server(kind) is not first
    assert worker.send("echo", (), [("still",)])
    assert worker.receive(60)[1][0] == "still"


@pytest.mark.slow
def test_no_worker_outlives_the_program():
    """Whatever ends it: even one that is stuck in a task."""
    code = (
        "from pipelines.workers.pool import Workers; w = Workers(1, 'tests.support.workers.light_tasks'); "
        "print(w.submit('echo', (), [(0,)])[0].result()[1], flush=True); w.submit('sleep', (), [(3600,)]); input()"
    )
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    worker = psutil.Process(int(program.stdout.readline()))
    time.sleep(0.2)
    program.kill()
    program.communicate()
    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert gone


@pytest.mark.parametrize("killed", [False, True])
def test_what_workers_leave_in_their_temporary_folder_goes_with_the_program(tmp_path, killed):
    """However the program ends, and although its workers are killed."""
    code = (
        "from pipelines.workers.pool import Workers; w = Workers(1, 'tests.support.workers.light_tasks'); "
        "print(*w.submit('leave_a_file', (), [()])[0].result(), flush=True); input()"
    )
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process, left = program.stdout.readline().split()
    children = psutil.Process(program.pid).children(recursive=True)
    assert int(process) in [child.pid for child in children]
    assert pathlib.Path(left).is_file()
    assert tmp_path in pathlib.Path(left).parents
    if killed:
        program.kill()
    program.communicate("\n" if not killed else None)
    # The fork server removes the folder after the last worker has ended.
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert list(tmp_path.iterdir()) == []


def test_a_program_leaves_nothing_open_that_python_warns_of(tmp_path):
    code = (
        "from pipelines.workers.pool import Workers; w = Workers(1, 'tests.support.workers.light_tasks'); "
        "w.submit('echo', (), [(0,)])[0].result(); w.submit('sleep', (), [(3600,)])"
    )
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


# A program that is killed after it asked for a worker, while the fork server still imports; and whose worker writes
# files without an end.
LEFT = {
    "importing": "from pipelines.workers import worker_process as w; "
    "w._fork_server(('tests.support.workers.slow_tasks', ())); "
    "import threading; threading.Thread(target=w.start, args=(('tests.support.workers.slow_tasks', ()),)).start(); "
    "import time; time.sleep(1); print(w._temporary_folder(), flush=True); time.sleep(99)",
    # The folder is asked for first: two threads that ask at the same time would make two.
    "writing": "from pipelines.workers import pool, worker_process as w; folder = w._temporary_folder(); "
    "p = pool.Workers(1, 'tests.support.workers.slow_tasks'); "
    "[lost] = p.submit('leave_files_for_ever', (), [()]); import os, time\n"
    "while len(os.listdir(folder)) < 99 and not lost.wait(0.01): pass\n"
    "print(folder, flush=True); time.sleep(99)",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["importing", pytest.param("writing", marks=pytest.mark.slow)])
def test_a_killed_program_leaves_no_temporary_folder_at_any_moment(moment, tmp_path):
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    program = subprocess.Popen(
        [sys.executable, "-c", LEFT[moment]],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    folder = program.stdout.readline().strip()
    children = psutil.Process(program.pid).children(recursive=True)
    assert tmp_path in pathlib.Path(folder).parents
    program.kill()
    program.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    end = time.monotonic() + 20
    while os.listdir(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_forks_are_of_a_process_with_one_thread():
    """Anything else is not safe to fork."""
    Workers(1, "pipelines.job.worker_tasks").submit("fingerprint", (None,), [])
    [ready] = Workers(1, "tests.support.workers.faulty_tasks").submit("echo", (), [(0,)])
    ready.result()
    replaced = worker_process._fork_server(("tests.support.workers.faulty_tasks", ()))
    assert psutil.Process(replaced._process.pid).num_threads() == 1


def test_usual_count(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 5)
    assert pool.usual_count(3) == 3
    assert pool.usual_count(0) == 5


@pytest.mark.slow
def test_a_decoder_that_hangs_dies_or_raises_anything_costs_one_image(tmp_path, monkeypatch):
    names = [f"{fault}-in-{stage}" for fault in ("hangs", "crashes", "surprises") for stage in ("fingerprint", "make")]
    for i, name in enumerate([*names, *(f"good-{i}" for i in range(26))]):
        draw_photo(tmp_path / "in" / "ab"[i % 2] / f"{name}.jpg", i, (40, 30))
    faulty = Workers(2, "tests.support.workers.faulty_tasks")
    shared = pool.shared
    monkeypatch.setattr(
        pool, "shared", lambda count, role, *paths: faulty if role == "decoders" else shared(count, role, *paths)
    )
    config = PrepareConfig(
        input=str(tmp_path / "in"),
        output=str(tmp_path / "out"),
        size=(8, 8),
        max_reject_rate=0.2,
        image_timeout=1.0,
        splits={"train": 1.0},
    )
    result = prepare.prepare(config)
    assert sum(result.contract.splits["train"].stored.values()) == 26
    told = {os.path.basename(r.uri).removesuffix(".jpg"): (r.stage, r.reason) for r in result.summary.rejects}
    assert told == {
        "hangs-in-fingerprint": ("fingerprint", "timeout"),
        "hangs-in-make": ("decode", "timeout"),
        "crashes-in-fingerprint": ("fingerprint", "crashed"),
        "crashes-in-make": ("decode", "crashed"),
        "surprises-in-fingerprint": ("fingerprint", "unexpected-error"),
        "surprises-in-make": ("decode", "unexpected-error"),
    }


@pytest.mark.slow
def test_an_analysis_that_is_killed_is_a_sentence_and_the_next_run_goes_on(tmp_path, monkeypatch):
    for i in range(20):
        draw_photo(tmp_path / "in" / "ab"[i % 2] / f"{i}.jpg", i, (40, 30))
    config = PrepareConfig(input=str(tmp_path / "in"), output=str(tmp_path / "out"), size=(8, 8))
    submit = Workers.submit

    def killed(self, task, *args):
        return (
            submit(Workers(1, "tests.support.workers.light_tasks"), "die", (), [(0,)])
            if task == "run_analysis"
            else submit(self, task, *args)
        )

    monkeypatch.setattr(Workers, "submit", killed)
    with pytest.raises(IncompleteError, match="killed or ran out of memory"):
        prepare.prepare(config)
    assert not (tmp_path / "out/contract.json").exists()
    monkeypatch.undo()
    assert sum(s.records for s in prepare.prepare(config).contract.splits.values()) == 20


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's writable memory")


@linux
def test_a_worker_gets_no_more_memory_than_it_may(two):
    asked = [(50, 100), (150, 100), (50, 100), (150, 300), (400, 300)]
    answers = [f.result() for f in two.submit("hoard", (), asked)]
    assert answers == [50, "MemoryError", 50, 150, "MemoryError"]


@linux
@pytest.mark.slow
def test_a_lower_limit_of_the_system_stays():
    """As `ulimit -d` sets it: a worker asks for no more, and what takes more is out of memory."""
    code = (
        "from pipelines.workers.pool import Workers; w = Workers(1, 'tests.support.workers.light_tasks'); "
        "print([f.result() for f in w.submit('hoard', (), [(50, 1 << 20), (9 << 10, 1 << 20)])])"
    )
    path, low = os.pathsep.join(p or os.getcwd() for p in sys.path), 8 << 30
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (low, low)),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[50, 'MemoryError']\n", done.stderr


def test_the_programs_own_memory_is_not_bounded():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    memory_limit.bound(1 << 20)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@linux
def test_an_image_that_takes_too_much_memory_is_a_reject_and_the_next_is_read(tmp_path):
    """100 million bytes as RGB: 50 kB of PNG, and 400 kB of a TIFF that Pillow reads."""
    flat = Image.new("RGB", (6000, 6000))
    files = {"large.png": images.flat_png(6000, 6000), "large.tif": images.encode(flat, "TIFF", compression="tiff_lzw")}
    draw_photo(tmp_path / "small.jpg", 1, (40, 30))
    spec = PrepareConfig(input="in", allow_outside=True, output="out", size=(8, 8), image_memory=64 << 20).record_spec
    alone = Workers(1)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        for path, reason in ((name, "out-of-memory"), ("small.jpg", "")):
            source = Source(path, str(tmp_path / path), "cat", "", "", 1.0)
            ref = alone.submit("fingerprint", (spec.limits, DEFAULT), [(source,)])[0].result()
            made = alone.submit("make", (spec,), [(ref, 0, 0, "train", False)])[0].result()
            assert getattr(made, "reason", "") == reason
            if reason:
                assert made.detail == out_of_memory(64 << 20)


def test_a_bound_that_nothing_fits_in_is_refused():
    with pytest.raises(ConfigError, match=r"--image-memory should be from 16777216 to \d+\. Received: 1048576\."):
        PrepareConfig(input="in", output="out", image_memory=1 << 20)


@pytest.mark.slow
@linux
def test_large_images_take_turns_and_small_ones_do_not_wait():
    pair = [Workers(1, "tests.support.workers.light_tasks"), Workers(1, "tests.support.workers.light_tasks")]
    large = memory_limit.LARGE + 1

    def held(pixels: int, seconds: float, wait: float) -> list[tuple[float, float]]:
        asked = [alone.submit("hold_turn", (), [(pixels, seconds, wait)] * 2) for alone in pair]
        return sorted(future.result() for futures in asked for future in futures)

    lost = pair[0].submit("die_in_turn", (), [()])[0]  # whose turn ends with it
    assert lost.exception().reason == "crashed"
    assert all(after[0] >= before[1] for before, after in itertools.pairwise(held(large, 0.2, 9)))
    for pixels, wait in ((memory_limit.LARGE, 9), (large, 0.01)):  # at the limit, or tired of waiting
        first, second, *_ = held(pixels, 0.5, wait)
        assert second[0] < first[1]
