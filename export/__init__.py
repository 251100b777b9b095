"""From a training run to a bundle: fuse, ONNX graphs, prototypes, manifest, verification."""
