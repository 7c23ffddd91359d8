"""A listening test: a static page that plays clips blind and asks for ratings, and the analysis of the answers."""
