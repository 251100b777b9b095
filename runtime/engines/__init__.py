"""TensorRT and TensorRT-RTX engines from a bundle's ONNX graphs, at the edge too: no PyTorch, no onnx package."""
