"""The inspection station."""
