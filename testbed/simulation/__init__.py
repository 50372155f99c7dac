"""The device in simulated time: the estimator, policies and queue rules of the agent. No sockets, no real clock."""
