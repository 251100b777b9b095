"""CUDA graphs of engines: what is captured, and what is launched again, in the order that TensorRT asks for."""

from hypothesis import given
from hypothesis import strategies as st

from edge_ad.runtime.sessions.replay import Replays


class Stream:
    """Stands for a card: notes what it was asked to do."""

    def __init__(self, most=16):
        self.done = []
        self.replays = Replays(self.capture, lambda one: self.done.append(("launch", one)), self.discard, most)
        self.shapes = None

    def capture(self, enqueue):
        before = len(self.done)
        enqueue()
        (captured,) = [key for _, key in self.done[before:]]
        del self.done[before:]
        self.done.append(("capture", captured))
        return captured

    def discard(self, one):
        self.done.append(("discard", one))

    def run(self, shapes, buffers="x"):
        if shapes != self.shapes:
            self.replays.shapes_changed(0)
            self.shapes = shapes
        key = (shapes, buffers)
        self.replays.run(0, key, lambda: self.done.append(("run", key)))


def test_the_second_run_is_captured_and_later_ones_launched():
    stream = Stream()
    for _ in range(4):
        stream.run("A")
    a = ("A", "x")
    assert stream.done == [("run", a), ("capture", a), ("launch", a), ("launch", a), ("launch", a)]


def test_no_run_is_captured_right_after_a_change_of_shapes():
    stream = Stream()
    for shapes in "ABAA":
        stream.run(shapes)
    assert stream.done == [
        ("run", ("A", "x")), ("run", ("B", "x")), ("run", ("A", "x")), ("capture", ("A", "x")), ("launch", ("A", "x")),
    ]  # fmt: skip


@given(calls=st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("xyz")), max_size=40), most=st.integers(1, 4))
def test_every_run_happens_once_and_no_graph_is_launched_that_is_gone(calls, most):
    stream = Stream(most)
    alive, previous = set(), None
    for shapes, buffers in calls:
        before = len(stream.done)
        stream.run(shapes, buffers)
        new = stream.done[before:]
        assert [key for what, key in new if what in ("run", "launch")] == [(shapes, buffers)]
        for what, key in new:
            if what == "capture":
                assert previous == shapes  # something of these shapes was the last that ran
                alive.add(key)
            elif what == "launch":
                assert key in alive
            elif what == "discard":
                alive.remove(key)
        assert len(alive) <= most
        previous = shapes
