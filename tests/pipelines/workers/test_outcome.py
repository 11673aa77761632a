import threading

import pytest

from pipelines.workers.pool import Outcome


def test_result_waits_for_another_thread():
    outcome = Outcome()
    thread = threading.Timer(0.05, outcome.set_result, [7])
    thread.start()
    assert [outcome.result(timeout=60), outcome.result(), outcome.exception()] == [7, 7, None]


def test_several_threads_get_one_result():
    outcome, found = Outcome(), []
    threads = [threading.Thread(target=lambda: found.append(outcome.result())) for _ in range(4)]
    for thread in threads:
        thread.start()
    outcome.set_result(None)
    for thread in threads:
        thread.join()
    assert found == [None] * 4


def test_error_is_raised_each_time():
    outcome, error = Outcome(), KeyError("gone")
    outcome.set_exception(error)
    assert outcome.exception() is error
    for _ in range(2):
        with pytest.raises(KeyError, match="gone"):
            outcome.result()


def test_unknown_outcome_times_out():
    outcome = Outcome()
    with pytest.raises(TimeoutError):
        outcome.result(timeout=0.01)
    outcome.set_result(1)
    assert outcome.result(timeout=0) == 1
