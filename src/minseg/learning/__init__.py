"""How a model is made: patches, networks, losses, metrics, training, inference."""
