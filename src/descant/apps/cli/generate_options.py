"""The options of ``generate`` and ``regenerate``, grouped as a musician meets them."""

from descant.apps.cli.options import (
    LOUDNESS_LUFS,
    MACHINE,
    add_audio_options,
    add_common_options,
    add_model_options,
    add_salvage_option,
    number,
    path_and_strength,
    second_and_scale,
    second_and_text,
    seed_number,
    tempo,
    whole_number,
)
from descant.apps.cli.parser import Parser

DURATION_S = 10.0
SEPARATIONS = ("auto", "stems", "harmonic", "mix")
STREAM_FORMATS = ("wav", "raw")

EXAMPLES = (
    "what to make",
    'descant generate "warm lo-fi piano, slow" -d 20 -o piano.wav',
    'descant generate "techno, 130 bpm" "folk jig, flute" --count 4 -o ideas/',
    'descant generate "slow sad piano" --tempo 66 --key "F# minor" -o sad.wav',
    'descant generate "march with drums, 112 bpm, in G major" --best-of 4 -o march.wav',
    "over time",
    'descant generate "calm piano" --then "20 drums enter" --then "40 full band" -d 60 -o arc.wav',
    'descant generate "funk drums and bass, 120 bpm" --loop 4 -o loop.wav',
    "from existing music",
    'descant generate "folk fiddle with guitar" --continue start.wav -d 20 -o longer.wav',
    'descant generate "slow church organ" --melody whistle.wav -o organ.wav',
    'descant generate "8-bit game" --style song.wav --text-guidance 5 --model facebook/musicgen-style -o game.wav',
    "output",
    'descant generate "string quartet" -o quartet.flac --loudness -18 --save-codes quartet.safetensors',
    'descant generate "techno, 130 bpm" -d 300 --stream - | ffplay -i -',
)


def add_generate_options(parser: Parser) -> None:
    """All options of ``generate``."""
    parser.usage = "%(prog)s PROMPT [PROMPT ...] [options]"
    _add_prompt_options(parser)
    _add_control_options(parser)
    _add_time_options(parser)
    _add_source_options(parser)
    _add_output_options(
        parser,
        format_default="the suffix of FILE, or wav",
        loudness_default=f"{LOUDNESS_LUFS:g}; with --continue off, so that its level stays",
    )
    _add_stream_options(parser)
    add_model_options(parser)
    _add_server_option(parser)
    _add_sampling_options(parser)
    add_common_options(parser)


def add_regenerate_options(parser: Parser) -> None:
    """All options of ``regenerate``. Without ``--device`` and ``--precision`` those recorded in the file are used."""
    parser.add_argument("file", metavar="FILE", help="a file that descant generate has written")
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="PATH",
        help="the folder of an adapter that made FILE; repeat for each of them; their strengths are those of FILE",
    )
    _add_output_options(parser, format_default="that of FILE", loudness_default="that of FILE")
    add_model_options(parser, default=None, recorded_in="FILE")
    add_common_options(parser)
    parser.set_defaults(device=None, precision=None)


def _add_prompt_options(parser: Parser) -> None:
    group = parser.group("what to make")
    group.add_argument(
        "prompts",
        nargs="+",
        metavar="PROMPT",
        help='what the music should sound like, for example "warm lo-fi piano, slow, 80 bpm"; each PROMPT gives its '
        'own files; "" asks for any music; put -- before a PROMPT that begins with -',
    )
    group.add_argument(
        "-d",
        "--duration",
        type=number,
        metavar="SECONDS",
        help=f"length of the music, up to 3600 s (default: {DURATION_S:g})",
    )
    group.add_argument(
        "--count",
        type=whole_number,
        default=1,
        metavar="N",
        help="how many variations of each PROMPT to make (default: 1); their seeds follow each other from --seed on",
    )
    group.add_argument(
        "--seed", type=seed_number, metavar="N", help="the same seed gives the same music (default: random)"
    )
    group.add_argument(
        "--best-of",
        type=whole_number,
        default=1,
        metavar="N",
        help="make N candidates for each file, up to 64, and keep the one that best matches the tempo, the key, the "
        "chords and the melody asked for, and that does not stand still; those that cannot win are left out "
        "(default: 1)",
    )
    group.add_argument(
        "--long-prompt",
        choices=("error", "cut"),
        default="error",
        help="what to do with a text longer than the model reads: refuse it (error), or read its beginning (cut) "
        "(default: error)",
    )


def _add_control_options(parser: Parser) -> None:
    group = parser.group("sound and control")
    group.add_argument("--negative", metavar="TEXT", help='what the music should not sound like, such as "drums"')
    group.add_argument(
        "--tempo",
        type=tempo,
        default="auto",
        metavar="BPM",
        help="beats per minute where PROMPT states none, 30 to 300; auto chooses one that suits PROMPT, none leaves it "
        "open (default: auto)",
    )
    group.add_argument(
        "--key",
        default="auto",
        metavar="KEY",
        help="the key where PROMPT states none, such as 'F# minor', Am or 'Bb major'; auto chooses one that suits the "
        "PROMPT, none leaves it open (default: auto)",
    )
    group.add_argument(
        "--guidance",
        type=number,
        metavar="G",
        help="how closely the music follows the prompt, 0 to 100: 0 ignores it, 1 follows it loosely, higher values "
        "follow it more closely but vary less (default: the model's, usually 3)",
    )
    group.add_argument(
        "--adapter",
        type=path_and_strength,
        action="append",
        default=[],
        metavar="PATH[:STRENGTH]",
        help="a folder with a low-rank adapter (LoRA) for this model, and how strongly it acts, -10 to 10 "
        "(default: 1); repeat to combine several",
    )


def _add_time_options(parser: Parser) -> None:
    group = parser.group("over time")
    group.add_argument(
        "--then",
        type=second_and_text,
        action="append",
        default=[],
        metavar="'SECOND PROMPT'",
        help="change to another prompt at this second; repeat for more: --then '20 drums' --then '40 full band'",
    )
    group.add_argument(
        "--chords",
        default="auto",
        metavar="'CHORD:SECOND ...'",
        help="the chords to play and the second at which each begins: --chords 'C:0 G:2 Am:4 F:6'; N is no chord. auto "
        "chooses phrases of chords that suit PROMPT and return, none leaves them open; for models that were trained "
        "with chords (default: auto)",
    )
    group.add_argument(
        "--guidance-at",
        type=second_and_scale,
        action="append",
        default=[],
        metavar="SECOND:G",
        help="change --guidance gradually, to G at this second; repeat for more points: --guidance 4 --guidance-at 2:2",
    )
    group.add_argument(
        "--loop",
        type=whole_number,
        metavar="BARS",
        help="make a seamless loop of this many bars instead of --duration, up to 256, at the tempo of PROMPT or "
        "--tempo",
    )
    group.add_argument(
        "--beats-per-bar", type=whole_number, metavar="N", help="beats in each bar of the --loop, up to 32 (default: 4)"
    )
    group.add_argument(
        "--stride",
        type=number,
        metavar="SECONDS",
        help="music longer than the model makes at once is made in overlapping windows, each starting this much later "
        "than the one before; less keeps more of the past and takes longer (default: three fifths of a window)",
    )


def _add_source_options(parser: Parser) -> None:
    group = parser.group("from existing music")
    group.add_argument(
        "--continue",
        dest="prompt",
        metavar="FILE",
        help="music to continue; it becomes the beginning of the result, and --duration includes it",
    )
    group.add_argument(
        "--melody", metavar="FILE", help="a recording whose tune the music follows; a short one is repeated"
    )
    group.add_argument(
        "--melody-part",
        choices=SEPARATIONS,
        help="where to find the tune of --melody: in the recording without drums and bass (stems, needs demucs), "
        "without drums (harmonic, needs librosa), in the whole recording (mix), or in the first of these that is "
        "installed (auto) (default: as the model was trained)",
    )
    group.add_argument(
        "--melody-guidance",
        type=number,
        metavar="M",
        help="how much more the --melody counts than the prompt, 0 to 100; 1 means equally (default: the model's)",
    )
    group.add_argument(
        "--style",
        metavar="FILE",
        help="music to resemble; a few seconds from its middle are used; for "
        "facebook/musicgen-style, not for the starter",
    )
    group.add_argument(
        "--text-guidance",
        type=number,
        metavar="T",
        help="how much more the prompt counts than the --style, 0 to 100; try 5 (default: equally)",
    )
    add_salvage_option(group)


def _add_output_options(parser: Parser, format_default: str, loudness_default: str) -> None:
    group = parser.group("output")
    group.add_argument(
        "-o",
        "--output",
        metavar="FILE or DIR",
        help="where to write the music. An existing FILE is replaced. In a folder each result gets a name of its own "
        "and nothing is replaced; end a new folder's name in /. - writes one finished file to standard output "
        "(default: a new name in the current folder)",
    )
    add_audio_options(group, format_default, loudness_default)
    group.add_argument(
        "--save-codes",
        metavar="FILE or DIR",
        help="also write the codec's codes, which descant decode reads: a .safetensors file, or a folder as for -o "
        "(default: not written)",
    )


def _add_stream_options(parser: Parser) -> None:
    group = parser.group("output")
    group.add_argument(
        "--stream",
        choices=["-"],
        help="play while the music is being made: write it to standard output, for example --stream - | ffplay -i -",
    )
    group.add_argument(
        "--stream-format",
        choices=STREAM_FORMATS,
        help="of the --stream: wav, or raw, its 16-bit samples without a header (default: wav)",
    )


def _add_server_option(parser: Parser) -> None:
    parser.group(MACHINE).add_argument(
        "--server",
        metavar="URL",
        help="have the music made by descant serve at this address, for example http://127.0.0.1:8765, instead of "
        "here; its key is read from DESCANT_KEY",
    )


def _add_sampling_options(parser: Parser) -> None:
    group = parser.group("advanced sampling (defaults: the model's own; descant models show MODEL prints them)")
    group.add_argument(
        "--temperature",
        type=number,
        metavar="T",
        help="randomness, above 0: below 1 safer, above 1 more surprising; 1 is the model's own distribution",
    )
    group.add_argument(
        "--top-k",
        type=whole_number,
        metavar="K",
        help="sample among the K likeliest codes only, for example 250; 0: all",
    )
    group.add_argument(
        "--top-p",
        type=number,
        metavar="P",
        help="sample only among the likeliest codes that together have probability P, above 0 to 1; 1: all",
    )
    group.add_argument(
        "--hold-penalty",
        type=number,
        metavar="N",
        help="end held notes: sounds that fill the last half second lose up to N nats; 0: off",
    )
    group.add_argument(
        "--greedy",
        action="store_true",
        default=None,
        help="always take the likeliest code; the options above and the seed then change nothing",
    )
