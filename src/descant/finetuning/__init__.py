"""From a folder of music to a tuned model: scan, tokenise, train, and a page to listen to what has changed."""
