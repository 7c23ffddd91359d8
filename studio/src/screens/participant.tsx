/** A listening test as its participants see it: no names, no navigation, one question at a time. */
import { Check, Pause, Play } from "lucide";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, post } from "../api/client.ts";
import type { Trials } from "../api/types.ts";
import { TextField } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import { attempt } from "../state/notices.ts";
import { route } from "../state/router.ts";
import { t } from "../strings.ts";

export function Participant() {
  const id = route.value.rest[0] ?? "";
  const [name, setName] = useState("");
  const [trials, setTrials] = useState<Trials | null>(null);
  const begin = async () =>
    setTrials(await get<Trials>(`/v1/listening-tests/${id}/trials?participant=${encodeURIComponent(name.trim())}`));
  if (trials !== null) {
    return <Questions trials={trials} />;
  }
  return (
    <main class="page participant">
      <h1>{t.test.welcome}</h1>
      <p>{t.test.instructions}</p>
      <form
        class="panel"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() !== "") {
            attempt(begin);
          }
        }}
      >
        <TextField label={t.test.yourName} hint={t.test.nameHint} value={name} onValue={setName} maxLength={60} />
        <button type="submit" class="button primary" aria-disabled={name.trim() === ""}>
          {t.test.begin}
        </button>
      </form>
    </main>
  );
}

function Questions({ trials }: { trials: Trials }) {
  const [answers, setAnswers] = useState(trials.items.map((item) => item.answer));
  const open = answers.indexOf(null);
  const [at, setAt] = useState(open === -1 ? answers.length : open);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), [at]);
  const item = trials.items[at];
  const { test, participant } = trials;
  const isSending = useRef(false);
  const answer = async (value: string | number) => {
    await post(`/v1/listening-tests/${test.id}/answers`, { participant, trial: item?.trial, answer: value });
    setAnswers(answers.map((old, i) => (i === at ? value : old)));
    setAt(at + 1);
  };
  /** The second press of a double one would answer twice, or the next question. */
  const press = (event: MouseEvent, value: string | number) => {
    if (event.detail < 2 && !isSending.current) {
      isSending.current = true;
      attempt(() =>
        answer(value).finally(() => {
          isSending.current = false;
        }),
      );
    }
  };
  if (item === undefined) {
    return (
      <main class="page participant">
        <h1 ref={heading} tabIndex={-1}>
          {t.test.thanks}
        </h1>
        <p>{t.test.stored}</p>
      </main>
    );
  }
  const audioUrl = (letter: string) =>
    `/v1/listening-tests/${test.id}/trials/${item.trial}/${letter}/audio?participant=${encodeURIComponent(participant)}`;
  return (
    <main class="page participant">
      <p class="muted">{t.test.progress(at + 1, trials.items.length)}</p>
      <progress max={trials.items.length} value={at} aria-label={t.test.progress(at + 1, trials.items.length)} />
      <h1 ref={heading} tabIndex={-1}>
        {test.question}
      </h1>
      <Sounds key={item.trial} letters={item.letters} url={audioUrl} />
      <div class="answers">
        {test.kind === "pairs"
          ? [...item.letters, "same"].map((value) => (
              <button key={value} type="button" class="button" onClick={(event) => press(event, value)}>
                <Icon of={Check} size={16} /> {value === "same" ? t.test.same : t.test.prefer(value.toUpperCase())}
              </button>
            ))
          : [1, 2, 3, 4, 5].map((value) => (
              <button key={value} type="button" class="button" onClick={(event) => press(event, value)}>
                {t.test.grades[value - 1]}
              </button>
            ))}
      </div>
    </main>
  );
}

/** The clips of one question; starting one stops the other. */
function Sounds({ letters, url }: { letters: string[]; url: (letter: string) => string }) {
  const players = useRef(new Map<string, HTMLAudioElement>());
  const [sounding, setSounding] = useState<string | null>(null);
  const press = async (letter: string) => {
    for (const player of players.current.values()) {
      player.pause();
    }
    if (sounding === letter) {
      setSounding(null);
    } else {
      setSounding(letter);
      await players.current.get(letter)?.play();
    }
  };
  return (
    <div class="sounds">
      {letters.map((letter, index) => (
        <button
          key={letter}
          type="button"
          class={`sound hue-${index}`}
          aria-pressed={sounding === letter}
          onClick={() => attempt(() => press(letter))}
        >
          <Icon of={sounding === letter ? Pause : Play} size={28} isFilled />
          {t.test.listen(letter.toUpperCase())}
          {/* biome-ignore lint/a11y/useMediaCaption: music without words, and telling of it would give the answer away */}
          <audio
            src={url(letter)}
            preload="auto"
            ref={(element) => {
              if (element !== null) {
                players.current.set(letter, element);
              }
            }}
            onEnded={() => setSounding(null)}
          />
        </button>
      ))}
    </div>
  );
}
