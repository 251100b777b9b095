"""Drawn pictures of surfaces and products: what nano is pretrained on, and the demo data set."""
