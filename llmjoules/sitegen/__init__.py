"""The site generator: from records to static pages. Knows records only."""
