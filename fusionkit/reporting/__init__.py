"""HTML pages for people: shared templates and styles."""
