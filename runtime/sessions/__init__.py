"""Ways to run a graph: ONNX Runtime and OpenVINO, each imported only when asked for."""
