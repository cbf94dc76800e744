"""`make soak`: mixed sessions with random faults over the real processes; what was lost, what hung, what grew."""
