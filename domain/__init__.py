"""How we decide: pure values and rules, without a clock, a network or a database."""
