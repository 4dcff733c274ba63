"""Sound: what is heard in a file, and how a walk or a run follows it. Costs no torch."""
