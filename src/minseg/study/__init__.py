"""What was tried: run configurations, the run store, experiments."""
