"""Turn source files into an OpenVINO graph with Veilleur's own input and output names.

nanodet.json + nanodet.bin ─▶ GraphDef ─┐
centerface.onnx ────────────────────────┼─read_model─▶ rename, cut ─▶ float32 graph of the card's contract
nothing (sprite) ───────────────────────┘
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veilleur_models import nanodet, sprite, tfjs
from veilleur_models.card import Card
from veilleur_models.errors import SourceRejectedError
from veilleur_models.quiet import silence_telemetry

if TYPE_CHECKING:
    import openvino

CENTERFACE_OUTPUTS = ("537", "538", "539")
"""Heat, size and offset; 540, the facial landmarks, is left out: nothing here needs to know a face that well."""


def graph_of(card: Card, sources: Mapping[str, bytes], scratch: Path) -> "openvino.Model":
    """Build the float32 graph of ``card``.

    Args:
        card: Says which network and which input size.
        sources: Content of the card's source files, by path.
        scratch: An existing folder for files OpenVINO wants to read by name.

    Raises:
        SourceRejectedError: The sources are not what the converter knows.
    """
    silence_telemetry()
    try:
        match card.decoder:
            case "nanodet":
                return _nanodet(card, sources, scratch)
            case "centerface":
                return _centerface(card, sources, scratch)
            case "sprite":
                return sprite.build_graph(card.input.width, card.input.height)
    except (KeyError, RuntimeError) as error:
        raise SourceRejectedError(
            f"{card.name}: its source is not the network this release converts ({type(error).__name__})"
        ) from error


def _nanodet(card: Card, sources: Mapping[str, bytes], scratch: Path) -> "openvino.Model":
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

    model = next(content for path, content in sources.items() if path.endswith(".json"))
    weights = next(content for path, content in sources.items() if path.endswith(".bin"))
    graph = tfjs.graph_of(model, weights)
    nanodet.retarget(graph, card.input.width, card.input.height)
    nanodet.keep_labels(graph)
    graph.prune((*nanodet.SCORES, *nanodet.EDGES))
    path = scratch / "nanodet.pb"
    path.write_bytes(tfjs.graphdef_of(graph))
    # read_model keeps the graph's outputs as they are; convert_model(output=…) does not.
    network = openvino.Core().read_model(path)
    return _renamed(network, card, [f"{name}:0" for name in (*nanodet.SCORES, *nanodet.EDGES)])


def _centerface(card: Card, sources: Mapping[str, bytes], scratch: Path) -> "openvino.Model":
    import openvino  # noqa: PLC0415 - only once telemetry is blocked
    from openvino.passes import ConstantFolding, Manager  # noqa: PLC0415 - only once telemetry is blocked

    path = scratch / "centerface.onnx"
    path.write_bytes(next(iter(sources.values())))
    network = openvino.Core().read_model(path)
    network.reshape(list(card.input.shape))
    network = _renamed(network, card, list(CENTERFACE_OUTPUTS))
    # The reader leaves the shape of each depthwise weight to be computed; NNCF takes such weights for data, and the
    # convolution stays in float32.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(network)
    return network


def _renamed(network: "openvino.Model", card: Card, outputs: Sequence[str]) -> "openvino.Model":
    """Keep ``outputs`` alone, in that order, under the card's names."""
    import openvino  # noqa: PLC0415 - only once telemetry is blocked

    network.inputs[0].get_tensor().set_names({card.input.name})
    results = []
    for source, contract in zip(outputs, card.outputs, strict=True):
        port = network.output(source).get_node().input_value(0)
        port.get_tensor().set_names({contract.name})
        results.append(openvino.opset13.result(port))
    return openvino.Model(results, network.get_parameters(), card.name)
