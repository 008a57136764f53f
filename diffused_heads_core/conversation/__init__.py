"""Several people in one picture, each with a recording of their own or listening."""
