"""Thresholds and ranges that a person would otherwise guess."""
