"""One wrapper module a graph: the whole exported forward, from uint8 pixels to a score."""
