"""Controllers: they bring the stored state toward the desired one, through the same calls that requests use."""
