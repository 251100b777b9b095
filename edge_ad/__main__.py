"""`python -m edge_ad` is `edge-ad`."""

from edge_ad.cli import main

main()
