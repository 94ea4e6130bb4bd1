"""Real faults: what breaks in the lab, through the interfaces by which it breaks in production."""
