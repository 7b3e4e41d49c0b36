"""The paper under audit: its tables against each other, its claims against tables and runs."""
