from descant.conditioning.long_texts import fits, longest_beginning


def test_a_text_of_which_nothing_fits_becomes_empty():
    assert longest_beginning("warm piano", [(1, lambda text: 2 + len(text))]) == ""


def test_the_beginning_fits_all_limits_and_ends_with_a_word_where_one_fits():
    limits = [(9, len), (2, lambda text: len(text.split()))]
    assert longest_beginning("  a warm piano", limits) == "a warm"
    assert longest_beginning("extraordinarily", limits) == "extraordi"


def test_the_beginning_fits_although_a_word_lowers_the_length():
    """A stop word counts as nothing when it is complete."""
    limits = [(1, lambda text: len([word for word in text.split() if word != "the"]))]
    beginning = longest_beginning("piano the drums", limits)
    assert fits(beginning, limits)
    assert beginning == "piano the"
