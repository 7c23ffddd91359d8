"""Training texts of the starter's text encoder: phrases about music, and general English from WordNet.

Everything is drawn from a seeded generator, so the same call gives the same texts.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

GENRES = """pop|rock|hard rock|punk|metal|heavy metal|indie rock|indie folk|folk|country|bluegrass|blues|
slow blues|jazz|swing|big band|bebop|cool jazz|smooth jazz|latin jazz|bossa nova|samba|salsa|rumba|mambo|
cha cha|tango|bolero|cumbia|reggaeton|reggae|dub|ska|calypso|soca|funk|soul|motown|r&b|gospel|disco|house|
deep house|techno|minimal techno|trance|drum and bass|jungle|dubstep|electro|synthwave|synth-pop|chiptune|8-bit|
ambient|drone|downtempo|trip hop|lo-fi|lo-fi hip hop|hip hop|boom bap|trap|rap|new age|classical|baroque|
romantic|impressionist|minimalism|chamber music|symphonic|orchestral|opera|chorale|hymn|march|waltz|
french waltz|polka|mazurka|minuet|gavotte|sarabande|jig|slip jig|reel|hornpipe|strathspey|air|celtic|irish folk|
scottish folk|breton|flamenco|klezmer|balkan|bollywood|raga|gamelan|afrobeat|highlife|mariachi|ranchera|fado|
chanson|ragtime|boogie woogie|dixieland|rockabilly|surf rock|rock and roll|psychedelic|progressive rock|grunge|
shoegaze|post-rock|emo|ballad|piano ballad|power ballad|lullaby|nursery rhyme|sea shanty|film score|
trailer music|video game music|elevator music|lounge|easy listening|christmas carol|anthem|fanfare|etude|
nocturne|prelude|fugue|sonata|concerto|serenade|requiem|world music|edm|electronic|dance|breakbeat|garage|
industrial|noise|acid|eurodance|vaporwave|k-pop|j-pop|zydeco|barn dance|square dance|two-step|foxtrot|quickstep|
jive|charleston"""

INSTRUMENTS = """piano|grand piano|upright piano|honky-tonk piano|electric piano|rhodes|wurlitzer|harpsichord|
clavinet|celesta|glockenspiel|music box|vibraphone|marimba|xylophone|tubular bells|dulcimer|organ|church organ|
hammond organ|rock organ|reed organ|accordion|concertina|harmonica|bandoneon|acoustic guitar|nylon guitar|
classical guitar|steel-string guitar|twelve-string guitar|electric guitar|clean guitar|jazz guitar|
distorted guitar|overdriven guitar|muted guitar|slide guitar|pedal steel|bass|bass guitar|acoustic bass|
double bass|upright bass|fretless bass|slap bass|synth bass|sub bass|violin|fiddle|viola|cello|strings|
string section|string quartet|string ensemble|pizzicato strings|tremolo strings|harp|timpani|choir|voices|
vocals|male voice|female voice|humming|trumpet|muted trumpet|trombone|tuba|french horn|brass|brass section|
brass band|soprano sax|alto sax|tenor sax|baritone sax|saxophone|oboe|english horn|bassoon|clarinet|
bass clarinet|piccolo|flute|recorder|pan flute|whistle|tin whistle|ocarina|shakuhachi|synth|synth lead|
synth pad|square wave|sawtooth lead|warm pad|arpeggiator|bells|sitar|banjo|shamisen|koto|kalimba|bagpipes|
ukulele|mandolin|lute|bouzouki|oud|hurdy-gurdy|steel drums|woodblock|taiko|drums|drum kit|drum machine|
brushed drums|snare|kick drum|hi-hat|cymbals|toms|congas|bongos|cowbell|tambourine|shaker|maracas|claps|
hand drums|tabla|djembe|cajon|castanets|triangle|gong|percussion|808|909|theremin|vocoder|turntable|sampler|
woodwinds|horns|orchestra|band|ensemble|trio|quartet|duo|solo instrument"""

MOODS = """happy|sad|melancholic|joyful|cheerful|playful|calm|peaceful|relaxing|soothing|serene|dreamy|ethereal|
mysterious|dark|gloomy|eerie|scary|tense|suspenseful|dramatic|epic|heroic|triumphant|majestic|solemn|sacred|
romantic|tender|nostalgic|wistful|bittersweet|hopeful|uplifting|inspiring|energetic|driving|aggressive|angry|
intense|powerful|gentle|soft|warm|cold|bright|mellow|groovy|funky|catchy|laid-back|lazy|sleepy|hypnotic|quirky|
funny|silly|mischievous|elegant|graceful|delicate|intimate|lonely|desolate|haunting|longing|passionate|sensual|
restless|frantic|chaotic|festive|celebratory|carefree|sunny|rainy|wintry|cinematic|spacious|meditative|
contemplative|confident|cool|sophisticated|rustic|pastoral|lively|bouncy|jazzy|bluesy|danceable|
danceable and light|simple|lush"""

TEMPI = """slow|very slow|fast|very fast|medium tempo|moderate|upbeat|downtempo|mid-tempo|brisk|quick|
lively tempo|relaxed tempo|largo|adagio|andante|moderato|allegro|vivace|presto|half-time|double-time|rubato|
steady|unhurried|breakneck"""

METRES = """4/4|3/4|6/8|2/4|9/8|12/8|5/4|7/8|waltz time|common time|swung|shuffle|straight eighths|triplets|
syncopated|odd metre"""

PLACES = """in a church|in a bar|in a coffee shop|on a beach|in the rain|in a forest|by the fire|at night|
in the morning|in a club|in a cathedral|in space|under water|in the mountains|in a dungeon|on a train|
in a big hall|in a small room|at a wedding|at a funeral|at a party|in a video game|in a western|in a spy film|
in a horror film|in a documentary|in the desert|in paris|in brazil|in ireland|in japan|in india|in new orleans|
in vienna|in the countryside|in the city"""

ACTIVITIES = """studying|sleeping|dancing|working out|running|driving|cooking|reading|meditation|yoga|
a road trip|a dinner|a wedding|a parade|a chase scene|a battle|a love scene|an advertisement|a podcast|children|
a title screen|a boss fight|the credits|a montage|a ceremony|a picnic|a circus|coding|relaxing|waking up|
falling asleep|walking the dog"""

ERAS = """1920s|1930s|1940s|1950s|1960s|1970s|1980s|1990s|2000s|80s|90s|70s|60s|medieval|renaissance|modern|
futuristic|retro|vintage|old-time|traditional|contemporary"""

PRODUCTION = """reverb|lots of reverb|echo|delay|distortion|chorus effect|tape hiss|vinyl crackle|sidechain|
wide stereo|mono|low fidelity|high fidelity|clean recording|live recording|bedroom recording|compressed drums|
gated reverb|filter sweep|a long build-up|a drop|a breakdown|a walking bass line|an ostinato|arpeggios|
block chords|power chords|a fingerpicked pattern|strumming|a strong backbeat|four on the floor|a catchy melody|
a simple melody|call and response|counterpoint|a drone|no drums|no vocals|heavy bass|soft dynamics|a crescendo|
a fade out|staccato notes|legato lines|harmonies|a solo|a riff|a loop"""

KEY_NOTES = """c|c sharp|d flat|d|e flat|e|f|f sharp|g flat|g|a flat|a|b flat|b|C|C#|Db|D|Eb|E|F|F#|G|Ab|A|Bb|B"""

FORMS = """song|piece|track|tune|loop|groove|beat|melody|theme|jam|solo|accompaniment|intro|interlude|
soundtrack|music|number|riff|arrangement|composition"""

UNSEEN_MUSIC = """zydeco|klezmer|shoegaze|calypso|strathspey|vaporwave|highlife|theremin|koto|bandoneon|celesta|
ocarina|shamisen|castanets|desolate|mischievous|sensual|wintry|frantic|majestic|presto|gated|circus|cathedral|
renaissance"""
"""Music words held out of training, to evaluate the encoder on unseen words."""

TEMPLATES = """{mood} {genre}|{genre}|{instrument}|{mood}|{mood} {instrument}|{genre} with {instrument}|
{tempo} {genre}|{mood} {genre} {form} with {instrument} and {instrument2}|{instrument} and {instrument2}|
{instrument}, {instrument2}, {instrument3}|a {mood} {form} for {instrument}|a {tempo}, {mood} {genre} {form}|
{genre}, {bpm} bpm|{tempo} {genre} at {bpm} bpm|{mood}, {mood2}|{mood} and {mood2} {instrument}|{era} {genre}|
{era} {genre} with {production}|{genre} {form} in {key}|{instrument} playing a {mood} {form} in {key}|
{mood} {instrument}, {production}|{genre} for {activity}|{mood} music for {activity}|music {place}|
{mood} {instrument} {place}|{genre} meets {genre2}|a mix of {genre} and {genre2}|{genre} in {metre}|
{tempo} {mood} {form} in {metre}|solo {instrument}|{instrument} solo|{instrument} over {genre} drums|
no {instrument}|{genre} without {instrument}|a {form} that sounds {mood}|something {mood} with {instrument}|
{mood} {genre} {form} featuring {instrument}, {instrument2} and {instrument3}, {bpm} bpm, {key}|
genre: {genre}. instrument: {instrument}. mood: {mood}. bpm: {bpm}|bpm: {bpm}. key: {key}|key: {key}|{bpm} bpm|
{production}|{form} with {production}|{genre} with {production}|{era} {form}|{instrument} with {production}|
The {instrument} plays the melody while the {instrument2} keeps the rhythm.|
This is a {mood} {genre} {form} with a {tempo} tempo. It features {instrument} and {instrument2}.|
a {genre} {form} driven by {instrument}, with {production}; the mood is {mood}|{metre}|{key}|in {key}|{tempo}|
{mood} {era} {genre} {form}, {tempo}, {instrument}|I want {mood} {genre} music|please make a {mood} {form}|
{instrument} {form}|{genre} {instrument}|{genre} {form} {place}, {mood} and {mood2}"""


def words(text: str) -> list[str]:
    """The entries of one of the lists above."""
    return [entry.strip() for entry in text.replace("\n", " ").split("|")]


MUSIC_WORDS = [
    words(text) for text in (GENRES, INSTRUMENTS, MOODS, TEMPI, METRES, PLACES, ACTIVITIES, ERAS, PRODUCTION, FORMS)
]


def music_phrases(count: int, seed: int) -> list[str]:
    """Different phrases about music, including each word of the lists on its own."""
    draw = random.Random(seed)
    lists = {
        "genre": words(GENRES),
        "instrument": words(INSTRUMENTS),
        "mood": words(MOODS),
        "tempo": words(TEMPI),
        "metre": words(METRES),
        "place": words(PLACES),
        "activity": words(ACTIVITIES),
        "era": words(ERAS),
        "production": words(PRODUCTION),
        "form": words(FORMS),
    }
    templates = words(TEMPLATES)
    phrases = dict.fromkeys(entry for entries in MUSIC_WORDS for entry in entries)
    while len(phrases) < count:
        fields = {name: draw.choice(entries) for name, entries in lists.items()}
        for name in ("genre2", "mood2", "instrument2", "instrument3"):
            fields[name] = draw.choice(lists[name.rstrip("23")])
        fields["bpm"] = str(draw.choice([draw.randint(50, 190), draw.choice((75, 100, 120, 125, 150))]))
        fields["key"] = f"{draw.choice(words(KEY_NOTES))} {draw.choice(('major', 'minor'))}"
        phrases[draw.choice(templates).format(**fields)] = None
    return list(phrases)


def read_wordnet(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """WordNet's lemmas, definitions and example sentences, each without repeats, in the order of its files."""
    lemmas: dict[str, None] = {}
    definitions: dict[str, None] = {}
    examples: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):  # the licence at the head of each file
                continue
            entry, gloss = line.split(" | ", 1)
            fields = entry.split()
            for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
                lemmas[re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")] = None
            examples.update(dict.fromkeys(re.findall(r'"([^"]+)"', gloss)))
            definitions[re.split(r';? *"', gloss)[0].strip(" ;")] = None
    return list(lemmas), [text for text in definitions if text], list(examples)


def unseen_words(lemmas: Iterable[str], texts: Iterable[str], count: int, seed: int) -> list[str]:
    """General words to hold out of training, none a music word: half occur in a few texts, half in hardly any."""
    uses = Counter(word for text in texts for word in set(plain_words(text)))
    musical = {
        form for entries in MUSIC_WORDS for entry in entries for word in plain_words(entry) for form in _stems(word)
    }
    candidates = sorted(lemma for lemma in lemmas if re.fullmatch(r"[a-z]{4,}", lemma) and lemma not in musical)
    draw = random.Random(seed)
    known = [word for word in candidates if 3 <= uses[word] <= 30]
    rare = [word for word in candidates if uses[word] < 3]
    return draw.sample(known, count // 2) + draw.sample(rare, count - count // 2)


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


def has_word(text: str, unseen: set[str]) -> bool:
    """Whether a text contains one of the words, or its plural, past or -ing form."""
    return any(form in unseen for word in plain_words(text) for form in _stems(word))


def _stems(word: str) -> Iterable[str]:
    yield word
    for ending in ("s", "es", "d", "ed", "ing", "ly"):
        if word.endswith(ending):
            yield word.removesuffix(ending)
