"""Everything that computes runs in one thread."""

import threading
import weakref

import pytest

from app.computing import ComputingThread


def test_functions_run_one_after_the_other_in_one_thread():
    computing = ComputingThread()
    gate, order = threading.Event(), []

    def first():
        assert gate.wait(5)
        order.append("first")
        return threading.get_ident()

    begun = computing.submit(first)
    second = computing.submit(lambda: order.append("second") or threading.get_ident())
    assert not begun.done() and not second.done()
    gate.set()
    assert begun.result(5) == second.result(5) == computing.run(threading.get_ident)
    assert order == ["first", "second"]
    assert begun.result() != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(), KeyboardInterrupt()])
def test_what_is_raised_reaches_who_asked_and_the_thread_goes_on(error):
    computing = ComputingThread()

    def fail():
        raise error

    with pytest.raises(type(error)):
        computing.run(fail)
    assert computing.run(lambda: 1) == 1


def test_each_step_of_a_generator_runs_there_and_so_does_its_end():
    computing = ComputingThread()
    here, ends = computing.run(threading.get_ident), []

    def count():
        try:
            yield None, threading.get_ident()
            yield 2, threading.get_ident()
        finally:
            ends.append(threading.get_ident())

    assert list(computing.steps(count())) == [(None, here), (2, here)]
    steps = computing.steps(count())
    next(steps)
    assert ends == [here]
    steps.close()
    assert ends == [here, here]


def test_others_take_their_turn_between_two_steps():
    computing = ComputingThread()
    steps = computing.steps(k for k in range(2))
    assert next(steps) == 0
    assert computing.run(lambda: "between") == "between"
    assert list(steps) == [1]


def test_steps_that_nobody_ended_may_be_collected_there():
    computing, ended = ComputingThread(), []

    def count():
        try:
            yield 1
        finally:
            ended.append(threading.get_ident())

    left = [computing.steps(count())]
    assert next(left[0]) == 1
    here = computing.submit(lambda: left.clear() or threading.get_ident()).result(5)
    assert ended == [here]


def test_an_error_in_a_step_ends_it():
    computing = ComputingThread()

    def fail():
        yield 1
        raise ValueError("no")

    steps = computing.steps(fail())
    assert next(steps) == 1
    with pytest.raises(ValueError, match="no"):
        next(steps)


def test_nothing_of_what_ran_stays_in_memory():
    class Large:
        pass

    computing = ComputingThread()
    large = Large()
    gone = weakref.ref(large)
    assert computing.run(lambda large=large: large) is large
    del large
    computing.run(lambda: None)  # by then the call before has ended
    assert gone() is None
