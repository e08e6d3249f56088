"""A pretend world for the demo and the tests; production code never imports it."""
