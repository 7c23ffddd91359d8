"""How plots in the documents look."""

SETTINGS = {
    # The same lines give the same file.
    "svg.hashsalt": "descant",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
