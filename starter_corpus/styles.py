"""The styles of the band pieces: their MMA groove files, tempo ranges, chord families and lead instruments.

Each line of the table is one style file, the unit of the train/valid split::

    file | genre | one or more names | slowest-fastest bpm | chord family | minor % | leads

``leads`` are instruments that may play a melody over the accompaniment, or a dash. The files of the ``zoom`` folder
hold drum patterns only: beats on their own, or under an accompaniment of ours.
"""

from dataclasses import dataclass

from starter_corpus.split import split_of

_TABLE = """
stdlib/50srock | rock | 50s rock and roll; rock and roll; vintage rock and roll | 120-180 | rock | 10 | tenor saxophone, electric guitar
stdlib/60srock | rock | 60s rock; vintage rock | 110-150 | rock | 20 | electric guitar, organ
stdlib/68march | march | 6/8 march; military march | 90-125 | folk | 10 | piccolo, trumpet
stdlib/68swing | jazz | 6/8 swing; swing | 70-110 | jazz | 20 | clarinet, vibraphone
stdlib/8beat | pop | 8-beat pop rock; pop rock | 95-140 | pop | 30 | electric guitar, flute
stdlib/afro-cuban | latin | afro-cuban; afro-cuban jazz | 90-130 | latin | 60 | flute, trumpet
stdlib/arpeggio44 | classical | arpeggios; gentle arpeggios | 70-120 | classical | 50 | violin, flute, oboe, cello
stdlib/arpeggio68 | classical | 6/8 arpeggios; flowing arpeggios | 45-75 | classical | 50 | violin, flute, oboe, cello
stdlib/arpeggiowaltz | classical | arpeggiated waltz; gentle waltz | 80-140 | classical | 50 | violin, flute, clarinet
stdlib/ballad | ballad | soft rock ballad; ballad | 60-90 | pop | 40 | alto saxophone, electric guitar, flute
stdlib/ballad128 | ballad | 12/8 ballad; slow ballad | 50-75 | pop | 30 | tenor saxophone, strings
stdlib/ballad68 | ballad | 6/8 ballad; rock ballad in 6/8 | 45-70 | pop | 40 | electric guitar, oboe
stdlib/basicrock | rock | rock; basic rock; straight rock | 100-150 | rock | 40 | electric guitar, overdriven guitar
stdlib/bebop | jazz | bebop; fast bebop jazz | 160-180 | jazz | 30 | alto saxophone, trumpet
stdlib/beguine | latin | beguine; easy listening | 95-130 | latin | 30 | clarinet, strings
stdlib/bigband | jazz | big band swing; big band jazz | 120-175 | jazz | 20 | trumpet, alto saxophone
stdlib/bluegrass | country | bluegrass; banjo bluegrass | 120-170 | folk | 10 | violin, banjo
stdlib/blues | blues | blues; straight blues | 90-130 | blues | 20 | harmonica, electric guitar
stdlib/blues128 | blues | 12/8 blues; slow 12/8 blues | 50-75 | blues | 30 | electric guitar, tenor saxophone
stdlib/blues68 | blues | 6/8 blues | 55-80 | blues | 30 | electric guitar, harmonica
stdlib/boggiewoggie | blues | boogie-woogie; boogie | 130-180 | blues | 5 | piano, electric guitar
stdlib/bolero | latin | bolero; latin bolero | 80-110 | latin | 60 | trumpet, violin
stdlib/boneym | disco | 70s disco; euro disco | 110-130 | pop | 40 | strings, synth lead
stdlib/bossanova | latin | bossa nova; relaxed bossa nova | 105-145 | latin | 40 | nylon guitar, flute, tenor saxophone, vibraphone
stdlib/broadway | show | show tune; Broadway show tune | 110-160 | jazz | 10 | trumpet, clarinet
stdlib/broadwaywaltz | show | Broadway waltz; theatre waltz | 120-180 | classical | 20 | violin, clarinet
stdlib/bubblerock | pop | bubblegum pop; bubblegum rock | 115-150 | pop | 5 | organ, electric guitar
stdlib/bvfunk | funk | funk; basic funk groove | 90-120 | funk | 50 | electric guitar, alto saxophone
stdlib/bwmarch | march | show march; march | 105-130 | folk | 5 | trumpet, piccolo
stdlib/calypso | reggae | calypso; Caribbean calypso | 110-150 | folk | 5 | steel drums, marimba
stdlib/chacha | latin | cha-cha; cha-cha-cha | 110-130 | latin | 40 | trumpet, flute
stdlib/charleston | jazz | Charleston; 1920s Charleston | 140-180 | jazz | 10 | clarinet, trumpet
stdlib/countryblues | country | country blues | 75-110 | blues | 20 | harmonica, acoustic guitar
stdlib/countryswing | country | country swing | 110-160 | folk | 5 | violin, acoustic guitar
stdlib/countrywaltz | country | country waltz; slow country waltz | 80-130 | folk | 10 | violin, harmonica
stdlib/cubanguitar | latin | Cuban guitar; Cuban ballad | 90-125 | latin | 60 | nylon guitar, flute
stdlib/descendingjazz | jazz | walking jazz; cool jazz | 110-160 | jazz | 40 | vibraphone, flute
stdlib/desert | world | desert groove; exotic groove | 90-125 | electronic | 90 | oboe, flute
stdlib/dixie | jazz | Dixieland; Dixieland jazz | 140-180 | jazz | 5 | clarinet, trumpet, trombone
stdlib/dixiemarch | jazz | Dixieland march; New Orleans march | 110-140 | folk | 5 | clarinet, trumpet
stdlib/easyswing | jazz | easy swing; relaxed swing jazz | 100-150 | jazz | 20 | clarinet, vibraphone, flute
stdlib/evansish | jazz | mellow piano jazz; slow piano trio jazz | 65-100 | jazz | 40 | flute, vibraphone
stdlib/fastblues | blues | fast blues; up-tempo blues | 140-180 | blues | 10 | harmonica, electric guitar
stdlib/fastjazzwaltz | jazz | fast jazz waltz | 150-180 | jazz | 30 | flute, alto saxophone
stdlib/fastswing | jazz | fast swing; hot swing jazz | 165-180 | jazz | 20 | clarinet, trumpet
stdlib/fastwaltz | waltz | fast waltz; lively waltz | 140-180 | classical | 20 | violin, flute
stdlib/folk | folk | folk; simple folk song | 90-140 | folk | 20 | harmonica, flute, violin
stdlib/folkballad | folk | folk ballad; soft folk | 65-100 | folk | 50 | flute, recorder, violin
stdlib/folkrock | folk | folk rock; 60s folk rock | 105-140 | folk | 20 | harmonica, electric guitar
stdlib/folkyjazz | jazz | folky jazz guitar; acoustic jazz | 90-140 | jazz | 30 | jazz guitar, flute
stdlib/foxtrot | ballroom | foxtrot; ballroom foxtrot | 110-150 | jazz | 20 | clarinet, muted trumpet
stdlib/frenchwaltz | waltz | French waltz; musette waltz; accordion waltz | 120-180 | classical | 50 | accordion, violin, clarinet
stdlib/guitarballad | ballad | guitar ballad; soft ballad | 60-95 | pop | 50 | flute, violin, cello
stdlib/gypsyjazz | jazz | gypsy jazz; gypsy swing | 140-180 | jazz | 60 | violin, clarinet
stdlib/hillcountry | country | hillbilly; country hoedown | 120-170 | folk | 5 | violin, banjo
stdlib/hymn | classical | hymn; solemn hymn | 65-100 | classical | 20 | -
stdlib/jazz-54 | jazz | jazz in 5/4; odd-metre jazz | 120-175 | jazz | 70 | alto saxophone, flute
stdlib/jazzcombo | jazz | jazz combo; straight-ahead jazz | 120-180 | jazz | 30 | tenor saxophone, trumpet
stdlib/jazzguitar | jazz | jazz guitar; smooth jazz guitar | 90-140 | jazz | 30 | vibraphone, flute, jazz guitar
stdlib/jazzrhumba | latin | jazz rumba; latin jazz | 100-135 | latin | 40 | flute, trumpet
stdlib/jazzrock | jazz | jazz rock; jazz-rock fusion | 100-140 | funk | 60 | electric guitar, alto saxophone
stdlib/jazzwaltz | jazz | jazz waltz | 100-160 | jazz | 40 | flute, vibraphone
stdlib/jive | rock | jive; swing dance jive | 150-180 | blues | 5 | tenor saxophone
stdlib/latinwaltz | latin | latin waltz | 110-160 | latin | 60 | flute, nylon guitar
stdlib/lfusion | latin | latin fusion; latin jazz fusion | 100-140 | latin | 50 | flute, tenor saxophone
stdlib/lighttango | tango | light tango; Spanish tango | 100-130 | latin | 75 | violin, nylon guitar
stdlib/lullaby | lullaby | lullaby; gentle lullaby | 60-90 | folk | 20 | music box, flute, celesta
stdlib/mambo | latin | mambo | 150-180 | latin | 50 | trumpet, flute
stdlib/march | march | march; marching band; military march | 100-125 | folk | 5 | trumpet, piccolo, french horn
stdlib/mellowjazz | jazz | mellow jazz; slow smooth jazz | 65-95 | jazz | 40 | tenor saxophone, flute
stdlib/merengue | latin | merengue; lively merengue | 130-170 | latin | 40 | accordion, alto saxophone
stdlib/modernjazz | jazz | modern jazz; piano and guitar jazz | 90-150 | jazz | 50 | flute, vibraphone
stdlib/modernjazzwaltz | jazz | modern jazz waltz | 90-150 | jazz | 50 | flute, vibraphone
stdlib/nitejazz | jazz | late-night jazz; sultry jazz | 60-90 | jazz | 60 | tenor saxophone, muted trumpet
stdlib/pianoballad | ballad | piano ballad; soft piano ballad | 60-90 | pop | 60 | cello, flute, violin
stdlib/polka | polka | polka; Bavarian polka | 110-140 | folk | 0 | accordion, clarinet
stdlib/popballad | ballad | pop ballad; slow pop | 65-95 | pop | 40 | alto saxophone, strings, electric guitar
stdlib/popspiritual | gospel | pop gospel; pop spiritual | 85-120 | folk | 20 | organ
stdlib/quickstep | ballroom | quickstep; ballroom quickstep | 150-180 | jazz | 10 | clarinet, trumpet
stdlib/ragtime | ragtime | ragtime; old-time ragtime piano | 110-170 | jazz | 5 | -
stdlib/rb-ballad | r&b | R&B ballad; slow R&B | 60-90 | pop | 40 | tenor saxophone, electric piano
stdlib/rb | r&b | rhythm and blues; R&B | 95-135 | blues | 20 | tenor saxophone, organ
stdlib/rhumba | latin | rumba; easy-going rumba | 95-125 | latin | 50 | violin, flute, trumpet
stdlib/rock-128 | rock | 12/8 rock; doo-wop; 50s slow rock | 60-90 | pop | 10 | tenor saxophone, electric guitar
stdlib/rockballad | rock | rock ballad; slow rock ballad | 60-90 | pop | 50 | electric guitar, overdriven guitar
stdlib/rockwaltz | rock | rock waltz; rock in 3/4 | 100-150 | pop | 50 | electric guitar
stdlib/salsa | latin | salsa; hot salsa | 150-180 | latin | 60 | trumpet, flute
stdlib/samba | latin | samba; Brazilian samba | 100-130 | latin | 30 | flute, trumpet, nylon guitar
stdlib/showtune | show | show tune; old-fashioned show tune | 100-140 | jazz | 10 | strings, clarinet
stdlib/shuffleboggie | blues | shuffle boogie; blues shuffle | 110-160 | blues | 10 | harmonica, electric guitar
stdlib/ska | reggae | ska; upbeat ska | 120-165 | folk | 20 | trumpet, trombone
stdlib/slowblues | blues | slow blues | 55-80 | blues | 40 | electric guitar, harmonica
stdlib/slowbolero | latin | slow bolero; romantic bolero | 65-90 | latin | 60 | violin, trumpet, nylon guitar
stdlib/slowbroadway | show | slow Broadway tune; slow show tune | 70-100 | jazz | 20 | clarinet, strings
stdlib/slowcountry | country | slow country; country ballad | 65-95 | folk | 20 | harmonica, violin
stdlib/slowjazz | jazz | slow jazz; slow jazz ballad | 60-90 | jazz | 40 | tenor saxophone, muted trumpet, flute
stdlib/slowspiritual | gospel | slow spiritual; slow gospel | 60-85 | folk | 30 | organ, choir
stdlib/softrock | rock | soft rock; 60s soft rock | 90-125 | pop | 30 | electric guitar, flute
stdlib/softshoe | show | soft-shoe; soft-shoe shuffle | 90-125 | jazz | 5 | clarinet, vibraphone
stdlib/son | latin | Cuban son; son cubano | 95-140 | latin | 50 | trumpet, flute
stdlib/spiritual | gospel | spiritual; gospel | 80-115 | folk | 20 | organ, choir
stdlib/stringballad | ballad | string ballad; slow string ballad | 60-85 | classical | 60 | oboe, flute, cello
stdlib/strut | show | strut; cabaret strut | 100-130 | jazz | 10 | trombone, clarinet
stdlib/swing | jazz | swing; jazz swing; classic swing | 120-175 | jazz | 20 | clarinet, trumpet, vibraphone
stdlib/tango | tango | tango; Argentine tango; ballroom tango | 105-130 | latin | 85 | accordion, violin
stdlib/trance | electronic | trance; melodic trance | 125-142 | electronic | 85 | synth lead
stdlib/twist | rock | twist; 60s twist | 140-175 | rock | 0 | electric guitar, tenor saxophone
stdlib/vienesewaltz | waltz | Viennese waltz; elegant waltz | 140-180 | classical | 20 | violin, flute
stdlib/waltz | waltz | waltz; simple waltz | 90-150 | classical | 30 | violin, clarinet, flute
stdlib/westernswing | country | western swing | 120-165 | folk | 5 | violin
stdlib/zydeco | country | zydeco; Cajun zydeco | 120-165 | folk | 5 | accordion, violin
casio/16beat1 | pop | 16-beat dance pop; dance pop | 95-125 | pop | 40 | synth lead
casio/16beatballad1 | ballad | 16-beat ballad; slow pop ballad | 62-90 | pop | 40 | alto saxophone
casio/16shuffle1 | r&b | 16-beat shuffle; shuffle groove | 85-110 | pop | 40 | electric guitar
casio/60spop | pop | 60s pop; vintage pop | 110-145 | pop | 10 | flute, organ
casio/60ssoul | soul | 60s soul; Motown soul | 105-135 | pop | 20 | tenor saxophone, trumpet
casio/68ballad | ballad | 6/8 ballad; slow ballad in 6/8 | 45-70 | pop | 50 | flute, oboe
casio/80spop | pop | 80s pop; 80s synth pop | 105-135 | pop | 50 | synth lead
casio/8beat1 | pop | 8-beat pop; pop rock | 100-140 | pop | 30 | electric guitar
casio/8beatballad1 | ballad | strummed ballad; slow acoustic ballad | 65-90 | pop | 40 | flute, violin
casio/8beatdance | electronic | dance pop; 8-beat dance | 115-135 | electronic | 50 | synth lead
casio/8beatpop1 | pop | pop; old-time rock and roll pop | 110-150 | pop | 10 | electric guitar
casio/ambient1 | ambient | ambient; atmospheric ambient | 65-95 | electronic | 60 | -
casio/ambient2 | ambient | ambient; electronic ambient | 70-100 | electronic | 60 | -
casio/blues | blues | blues; electric blues | 85-125 | blues | 20 | electric guitar, harmonica
casio/dance1 | electronic | dance; club dance | 118-135 | electronic | 70 | synth lead
casio/dance2 | electronic | dance; club dance music | 118-135 | electronic | 70 | synth lead
casio/dancepop1 | electronic | dance pop; electronic pop | 112-130 | electronic | 50 | synth lead
casio/dancepop3 | electronic | electronic pop; dance pop | 112-130 | pop | 50 | synth lead
casio/digitalrock | rock | digital rock; electronic rock | 110-145 | rock | 70 | overdriven guitar, synth lead
casio/discosoul | disco | disco soul; disco | 110-128 | funk | 50 | strings
casio/electricpop | pop | electro pop; electronic pop | 110-132 | pop | 50 | synth lead
casio/fastbigband | jazz | fast big band; up-tempo big band | 150-180 | jazz | 20 | trumpet
casio/foxtrot | ballroom | foxtrot; ballroom foxtrot | 110-145 | jazz | 10 | clarinet
casio/funk1 | funk | funk; slap bass funk | 92-120 | funk | 60 | alto saxophone
casio/funk2 | funk | funk; tight funk groove | 95-122 | funk | 60 | electric guitar
casio/fusion | jazz | fusion; jazz fusion with horns | 100-135 | funk | 50 | alto saxophone
casio/germanmarch | march | German march; brass band march | 105-125 | folk | 0 | trumpet, clarinet
casio/heavymetal | metal | heavy metal; hard rock | 120-170 | rock | 90 | distorted guitar
casio/hip-hop | hip hop | hip hop; hip hop beat | 80-102 | funk | 80 | -
casio/house | electronic | house; house music | 118-130 | electronic | 70 | synth lead
casio/jazzcombo | jazz | jazz combo; small jazz combo | 115-170 | jazz | 30 | tenor saxophone, vibraphone
casio/jazzwaltz | jazz | jazz waltz | 110-165 | jazz | 30 | flute
casio/latinfusion | latin | latin fusion | 100-135 | latin | 50 | flute, trumpet
casio/latinhouse | electronic | latin house | 118-130 | electronic | 70 | flute
casio/march1 | march | march; parade march | 105-125 | folk | 0 | trumpet, piccolo
casio/mellowrb | r&b | mellow R&B; smooth R&B | 70-98 | pop | 50 | alto saxophone
casio/middlebigband | jazz | big band; mid-tempo big band | 115-150 | jazz | 20 | trumpet, clarinet
casio/modernrb | r&b | modern R&B; contemporary R&B | 75-105 | funk | 70 | synth lead
casio/oldieballad | ballad | oldies ballad; vintage ballad | 60-88 | pop | 10 | tenor saxophone
casio/polka | polka | polka; guitar polka | 110-135 | folk | 0 | accordion, clarinet
casio/polkafox | polka | happy polka; polka | 110-135 | folk | 0 | clarinet
casio/pop | pop | pop; basic pop | 98-130 | pop | 30 | electric guitar
casio/popballad | ballad | pop ballad; gentle pop ballad | 62-90 | pop | 40 | flute, strings
casio/poprock1 | rock | pop rock; 70s pop rock | 105-140 | pop | 20 | electric guitar
casio/poprock2 | rock | pop rock; cheerful pop rock | 110-145 | pop | 0 | electric guitar
casio/popshuffle2 | pop | pop shuffle; shuffle pop | 105-145 | pop | 10 | harmonica
casio/popwaltz | waltz | pop waltz; waltz in 3/4 | 90-140 | pop | 30 | flute
casio/quickstep | ballroom | quickstep | 150-180 | jazz | 5 | clarinet
casio/r+b | r&b | rhythm and blues; vintage R&B | 95-135 | blues | 20 | tenor saxophone
casio/rave | electronic | rave; hard techno rave | 135-160 | electronic | 90 | synth lead
casio/rock1 | rock | rock; guitar rock | 110-150 | rock | 40 | overdriven guitar
casio/rock2 | rock | rock; driving rock | 115-155 | rock | 50 | overdriven guitar, electric guitar
casio/serenade | classical | serenade; tender serenade | 70-105 | classical | 30 | violin, flute, clarinet
casio/shufflerock | rock | shuffle rock; 60s shuffle rock | 115-155 | rock | 10 | electric guitar
casio/slow16beat | pop | slow 16-beat; slow electronic pop | 65-92 | electronic | 60 | synth lead
casio/slowbigband | jazz | slow big band; slow swing | 75-110 | jazz | 30 | muted trumpet, tenor saxophone
casio/slowrock | rock | slow rock; slow 12/8 rock | 58-85 | pop | 30 | electric guitar
casio/slowswing | jazz | slow swing; lazy swing | 75-110 | jazz | 20 | tenor saxophone, clarinet
casio/soul | soul | soul; busy soul | 95-120 | funk | 40 | trumpet, alto saxophone
casio/soulpop | soul | soul pop; pop soul | 100-130 | pop | 30 | electric guitar
casio/swing | jazz | swing; jazz swing | 120-170 | jazz | 20 | clarinet, alto saxophone
casio/techno | electronic | techno; driving techno | 125-145 | electronic | 95 | synth lead
casio/trance1 | electronic | trance; uplifting trance | 128-142 | electronic | 80 | synth lead
casio/trance2 | electronic | trance; hypnotic trance | 128-142 | electronic | 90 | synth lead
casio/triphop | hip hop | trip hop; downtempo trip hop | 72-98 | electronic | 90 | -
casio/twist | rock | twist; rock and roll twist | 140-175 | rock | 0 | tenor saxophone
casio/worldpop | world | world pop; percussive world music | 95-125 | pop | 40 | flute, marimba
kara/8beatmotown | soul | Motown; Motown soul | 105-135 | pop | 20 | trumpet, tenor saxophone
kara/K50s_rock | rock | 50s rock; rock and roll | 130-175 | rock | 5 | tenor saxophone
kara/Kfunk1 | funk | funk; funk quartet | 92-118 | funk | 60 | alto saxophone
kara/fasttwist | rock | fast twist; twist | 150-180 | rock | 0 | electric guitar
kara/happyshuffle | pop | happy shuffle; cheerful shuffle | 110-150 | pop | 0 | harmonica
kara/kbossa | latin | bossa nova; electric piano bossa nova | 110-145 | latin | 40 | flute, nylon guitar
kara/kwestballad | country | western ballad; country ballad | 65-95 | folk | 20 | harmonica, violin
kara/twi | rock | twist; saxophone twist | 140-175 | rock | 0 | -
pflib/16beat1 | pop | 16-beat pop; pop | 90-115 | pop | 40 | electric guitar
pflib/8beat1 | pop | 8-beat pop; pop rock | 100-135 | pop | 30 | electric guitar
pflib/8beat2 | pop | 8-beat pop rock; pop rock | 100-140 | pop | 30 | electric guitar
pflib/metal1 | metal | metal; heavy metal | 120-165 | rock | 95 | distorted guitar
pflib/metal2 | metal | heavy metal; hard rock | 125-170 | rock | 95 | distorted guitar
pflib/rock1 | rock | rock; hard rock | 110-150 | rock | 50 | overdriven guitar
pflib/slowrock | rock | slow rock; slow rock ballad | 58-85 | pop | 40 | electric guitar
alexis/hiphop | hip hop | hip hop; laid-back hip hop | 80-100 | electronic | 85 | -
alexis/teamtechno | electronic | techno; electronic techno | 115-140 | electronic | 95 | synth lead
yamaha/jazzGrtrio | jazz | jazz guitar trio; guitar trio | 100-160 | jazz | 30 | -
yamaha/jazzbasie | jazz | big band; Basie-style big band | 120-165 | jazz | 20 | -
yamaha/jazzbossa | latin | jazz bossa; bossa nova | 115-150 | latin | 40 | flute, tenor saxophone
yamaha/jazzbouncy | jazz | bouncy jazz; playful jazz | 110-150 | jazz | 10 | clarinet
yamaha/jazzcountry | jazz | country jazz | 110-150 | jazz | 10 | violin
yamaha/jazzswing | jazz | jazz swing; swinging jazz | 120-170 | jazz | 20 | vibraphone
yamaha/jazztrio | jazz | jazz trio; jazz piano trio | 110-165 | jazz | 30 | -
yamaha/jazzwaltz | jazz | jazz waltz | 110-165 | jazz | 40 | flute
yamaha/mambo | latin | mambo; big band mambo | 150-180 | latin | 50 | trumpet
yamaha/quando-g.s280 | latin | samba; steady samba | 100-130 | latin | 30 | flute
yamaha/salsa1 | latin | salsa; Cuban salsa | 150-180 | latin | 60 | trumpet
yamaha/salsa2 | latin | salsa; fiery salsa | 150-180 | latin | 60 | flute
yamaha/w-rock | rock | western rock; rock | 110-145 | rock | 30 | electric guitar
yamaha/western | country | western; train-beat country | 110-150 | folk | 20 | harmonica
zoom/afro | world | afro beat; African percussion beat | 95-125 | funk | 60 | kalimba, marimba
zoom/ambient | ambient | ambient beat; downtempo ambient | 68-95 | electronic | 60 | -
zoom/bald | ballad | ballad beat; slow ballad | 60-85 | pop | 50 | flute
zoom/beat16 | pop | 16-beat; pop groove | 85-115 | pop | 40 | -
zoom/beat8 | pop | 8-beat; pop beat | 95-135 | pop | 30 | -
zoom/blues | blues | blues beat; blues | 80-125 | blues | 20 | harmonica
zoom/bossa | latin | bossa nova beat; bossa nova | 110-140 | latin | 40 | nylon guitar, flute
zoom/country | country | country beat; country | 95-140 | folk | 5 | violin
zoom/dance | electronic | dance beat; dance music | 118-135 | electronic | 70 | synth lead
zoom/dnb | electronic | drum and bass; fast drum and bass | 160-178 | electronic | 90 | synth lead
zoom/funk | funk | funk beat; funk | 92-120 | funk | 60 | clavinet
zoom/fus16 | jazz | fusion groove; jazz fusion | 90-120 | funk | 60 | synth lead
zoom/fusion | jazz | fusion beat; jazz fusion | 95-130 | funk | 60 | electric guitar
zoom/hiphop | hip hop | hip hop; hip hop beat; boom bap | 80-102 | funk | 80 | electric piano
zoom/house | electronic | house; deep house; house beat | 118-130 | electronic | 70 | -
zoom/hrk | rock | hard rock; hard rock beat | 110-150 | rock | 80 | distorted guitar
zoom/jazz | jazz | jazz; swinging jazz | 110-170 | jazz | 40 | vibraphone, tenor saxophone
zoom/latin | latin | latin beat; latin groove | 95-130 | latin | 60 | flute
zoom/mide | world | Middle Eastern beat; Middle Eastern groove | 90-125 | electronic | 100 | oboe, sitar
zoom/mtl | metal | metal; metal beat | 120-170 | rock | 100 | distorted guitar
zoom/pop | pop | pop; pop beat | 95-130 | pop | 30 | synth lead
zoom/punk | rock | punk; fast punk rock | 155-180 | rock | 20 | distorted guitar
zoom/reggae | reggae | reggae; laid-back reggae; roots reggae | 68-95 | folk | 40 | organ, trombone
zoom/rnb | r&b | R&B; smooth R&B groove | 72-100 | funk | 70 | -
zoom/rock | rock | rock; rock beat | 105-150 | rock | 40 | electric guitar, overdriven guitar
zoom/samba | latin | samba; samba beat | 100-130 | latin | 30 | flute
zoom/shuffle | blues | shuffle; blues shuffle | 95-140 | blues | 10 | harmonica
zoom/ska | reggae | ska; upbeat ska | 120-165 | folk | 20 | trombone, trumpet
zoom/techno | electronic | techno; minimal techno; techno beat | 125-145 | electronic | 95 | synth lead
zoom/thr | metal | thrash metal; fast metal | 150-180 | rock | 100 | distorted guitar
zoom/trip | hip hop | trip hop; downtempo trip hop | 70-95 | electronic | 95 | -
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class Style:
    """One groove file, its style names, chords and leads. ``minor_share`` is between 0 and 1."""

    file: str
    genre: str
    names: tuple[str, ...]
    slowest_bpm: float
    fastest_bpm: float
    family: str
    minor_share: float
    leads: tuple[str, ...]
    split: str

    @property
    def is_beat(self) -> bool:
        """Whether the file holds drum patterns only."""
        return self.file.startswith("zoom/")


def _read_table() -> tuple[Style, ...]:
    rows = [[cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines()]
    return tuple(
        Style(
            file=file,
            genre=genre,
            names=tuple(name.strip() for name in names.split(";")),
            slowest_bpm=float(tempo.split("-")[0]),
            fastest_bpm=float(tempo.split("-")[1]),
            family=family,
            minor_share=int(minor) / 100,
            leads=() if leads == "-" else tuple(lead.strip() for lead in leads.split(",")),
            split=split_of("mma:" + file),
        )
        for file, genre, names, tempo, family, minor, leads in rows
    )


STYLES = _read_table()
