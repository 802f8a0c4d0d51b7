"""Tables fitted to a model: the times and coefficients of few calls, from its own trajectories."""
