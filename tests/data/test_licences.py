import pytest

from descant.data.licences import licence_of, parse_licence, stated_licence


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("CC BY-NC-SA 3.0", "CC-BY-NC-SA-3.0"),
        ("https://creativecommons.org/licenses/by-nd/4.0/", "CC-BY-ND-4.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 2.5", "CC-BY-NC-SA-2.5"),
        ("cc by", "CC-BY"),
        ("CC0", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Public Domain", "public domain"),
        ("GPL-2.0-or-later", "GPL-2.0"),
        ("GNU General Public License v3.0, 29 June 2007", "GPL-3.0"),
        ("MIT", "MIT"),
        ("The MIT License", "MIT"),
        ("Nutzung nur mit Genehmigung", None),
        ("© 2019, all rights reserved", "all rights reserved"),
        ("by a friend", None),
        ("free", None),
        ("", None),
    ],
)
def test_licences_are_read_as_people_write_them(text, spdx):
    assert parse_licence(text) == spdx


def test_the_licence_is_looked_for_in_tags_of_its_names():
    assert licence_of({"title": "MIT", "License": "CC0"}) == "CC0-1.0"
    assert licence_of({"title": "MIT"}) is None


def test_words_about_rights_that_are_no_known_licence_are_kept_as_they_are():
    tags = {"copyright": "© 2019 Ada", "Licence": " by agreement "}
    assert licence_of(tags) is None
    assert stated_licence(tags) == "by agreement"
    assert stated_licence({"copyright": "© 2019 Ada", "license": ""}) == "© 2019 Ada"
    assert stated_licence({"title": "MIT"}) == ""
