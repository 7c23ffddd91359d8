"""General MIDI programs: a plain name, the family and a natural range for each."""

from dataclasses import dataclass

from descant.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """The name and family that captions use, and the range of MIDI keys in which the instrument sounds natural."""

    name: str
    family: str
    low: int = 40
    high: int = 88


DRUMS = Instrument(name="drums", family="drums")

# program numbers (from 0) | name | family | low-high
_TABLE = """
0 1 2 | piano | piano | 33-96
3 | honky-tonk piano | piano | 36-93
4 5 | electric piano | piano | 36-91
6 | harpsichord | piano | 36-88
7 | clavinet | piano | 40-84
8 | celesta | mallets | 60-96
9 | glockenspiel | mallets | 67-98
10 | music box | mallets | 60-96
11 | vibraphone | mallets | 53-88
12 | marimba | mallets | 48-88
13 | xylophone | mallets | 60-96
14 | tubular bells | mallets | 60-79
15 | dulcimer | mallets | 50-86
16 17 18 | organ | organ | 36-90
19 | church organ | organ | 33-88
20 | reed organ | organ | 40-86
21 23 | accordion | accordion | 50-86
22 | harmonica | wind | 58-88
24 | nylon guitar | guitar | 40-80
25 | acoustic guitar | guitar | 40-80
26 | jazz guitar | guitar | 40-80
27 | electric guitar | guitar | 40-82
28 | muted electric guitar | guitar | 40-76
29 | overdriven guitar | guitar | 40-84
30 | distorted guitar | guitar | 40-84
31 | electric guitar | guitar | 40-84
32 43 | upright bass | bass | 24-55
33 34 35 | bass guitar | bass | 24-55
36 37 | slap bass | bass | 24-55
38 39 | synth bass | bass | 24-58
40 110 | violin | strings | 55-95
41 | viola | strings | 48-84
42 | cello | strings | 36-74
44 48 49 | strings | strings | 36-88
45 | pizzicato strings | strings | 40-86
46 | harp | harp | 33-93
47 | timpani | drums | 36-57
50 51 | synth strings | synth | 36-88
52 53 | choir | choir | 45-80
54 | synth voice | synth | 48-80
56 | trumpet | brass | 54-82
57 | trombone | brass | 40-72
58 | tuba | brass | 28-58
59 | muted trumpet | brass | 54-82
60 | french horn | brass | 41-74
61 | brass section | brass | 40-80
62 63 | synth brass | synth | 40-80
64 | soprano saxophone | wind | 56-85
65 | alto saxophone | wind | 50-80
66 | tenor saxophone | wind | 45-75
67 | baritone saxophone | wind | 38-68
68 | oboe | wind | 58-88
69 | english horn | wind | 52-80
70 | bassoon | wind | 35-68
71 | clarinet | wind | 50-88
72 | piccolo | wind | 74-102
73 | flute | wind | 60-94
74 | recorder | wind | 65-94
75 | pan flute | wind | 60-90
77 | shakuhachi | wind | 58-86
78 | whistle | wind | 65-95
79 | ocarina | wind | 60-88
80 81 82 83 84 85 86 87 | synth lead | synth | 45-88
88 89 90 91 92 93 94 95 | synth pad | synth | 40-84
98 99 | synth bells | synth | 55-90
104 | sitar | guitar | 45-78
105 | banjo | guitar | 48-82
106 107 | koto | harp | 50-84
108 | kalimba | mallets | 55-88
109 | bagpipes | wind | 57-82
111 | oboe | wind | 58-86
114 | steel drums | mallets | 52-84
"""


def _read_table() -> dict[int, Instrument]:
    instruments = {}
    for line in _TABLE.strip().splitlines():
        programs, name, family, keys = (cell.strip() for cell in line.split("|"))
        low, high = (int(key) for key in keys.split("-"))
        for program in programs.split():
            instruments[int(program)] = Instrument(name=name, family=family, low=low, high=high)
    return instruments


PROGRAMS = _read_table()


def instrument_of(program: int, *, is_drums: bool = False) -> Instrument | None:
    """The instrument of a program; None for sound effects and others that prompts do not name."""
    return DRUMS if is_drums else PROGRAMS.get(program)


def programs_of(name: str) -> tuple[int, ...]:
    """The General MIDI programs with this name."""
    return tuple(program for program, instrument in PROGRAMS.items() if instrument.name == name)


def program_of(name: str) -> int:
    """The first General MIDI program with this name.

    Raises:
        ConfigError: if no instrument has this name.
    """
    for program in programs_of(name):
        return program
    raise ConfigError(f"no instrument has the name {name!r}; known: {sorted({i.name for i in PROGRAMS.values()})}")
