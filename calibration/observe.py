"""Sessions that let somebody see what goes in and out of a graph, while a detector uses them as ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_ad.bundle import Graph, Precision, TensorSpec
from edge_ad.bundle_files import Bundle
from edge_ad.calibration.layers import observed_tensors
from edge_ad.files import link_or_copy
from edge_ad.runtime.sessions.base import Array, Feed, Handle, HostTensor, Session, to_host

#: Called with the graph's name, its inputs and everything it gave.
Watch = Callable[[str, Mapping[str, Array], Mapping[str, Array]], None]


class ObservedSession:
    """A session whose every run is shown to `watch`; outputs that `graph` does not have are shown to it alone."""

    def __init__(self, name: str, inner: Session, graph: Graph, watch: Watch, max_rows: int | None = None):
        self.graph = graph
        self.provider = inner.provider
        self.precision: Precision = inner.precision
        self.max_rows = inner.max_rows if max_rows is None else max_rows
        self._name = name
        self._inner = inner
        self._watch = watch
        self._own = [spec.name for spec in graph.outputs]

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See `Session.run`."""
        given = {name: to_host(feed) for name, feed in feeds.items()}
        found = self._inner.run(given)
        self._watch(self._name, given, found)
        return {name: found[name] for name in (self._own if outputs is None else outputs)}

    def run_kept(self, feeds: Mapping[str, Feed], outputs: Sequence[str] | None = None) -> dict[str, Handle]:
        """See `Session.run_kept`; the device is the host here."""
        return {name: HostTensor(array) for name, array in self.run(feeds, outputs).items()}

    def iterate(
        self,
        fixed: Mapping[str, Feed],
        state: Mapping[str, Feed],
        steps: Sequence[Mapping[str, Array]],
        carry: Mapping[str, str],
    ) -> dict[str, Handle]:
        """See `Session.iterate`."""
        current: dict[str, Feed] = dict(state)
        for step in steps:
            found = self.run({**fixed, **current, **step})
            current = {name: found[output] for output, name in carry.items()}
        return {output: HostTensor(to_host(current[name])) for output, name in carry.items()}


def observing_graph(bundle: Bundle, name: str, folder: Path) -> tuple[Path, Graph, list[str]]:
    """A copy of a graph, in `folder`, that also gives every activation that its layers read or give.

    Returns the file, the graph's entry with these outputs after its own, and the names of all these activations, among
    which may be inputs of the graph. Needs the onnx package.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = bundle.graph(name)
    model = onnx.load(str(bundle.file(graph.file)), load_external_data=False)
    present = {value.name for value in (*model.graph.output, *model.graph.input)}
    observed = observed_tensors(model)
    added = [tensor for tensor in observed if tensor not in present]
    model.graph.output.extend(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None) for tensor in added)
    path = folder / Path(graph.file).name
    onnx.save(model, str(path))
    if graph.data is not None:  # the copy looks for its weights beside itself
        link_or_copy(bundle.file(graph.data), folder / Path(graph.data).name)
    extra = tuple(TensorSpec(name=tensor, dtype="float32", shape=()) for tensor in added)
    return path, graph.model_copy(update={"outputs": (*graph.outputs, *extra)}), observed
