"""Counts to scores, without torch: metrics, averaging conventions, intervals over mines."""
