/** One clip in full: its wave, where it came from, how it was made, and how to take it away. */
import { Download, Link, RotateCcw, Star } from "lucide";
import { useEffect, useState } from "preact/hooks";
import { get, ProblemError } from "../api/client.ts";
import type { Clip, JobRequest, Page } from "../api/types.ts";
import { ClipMenu } from "../components/clip-card.tsx";
import { Field, IconButton } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import { Stage } from "../components/stage.tsx";
import { chordNames, letter, moment, short } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { compact, restore } from "../state/draft.ts";
import { attempt, attemptOnce, report } from "../state/notices.ts";
import { playing, selectClip } from "../state/playback.ts";
import { navigate, route } from "../state/router.ts";
import { findName, idOf, type Reference, sourceName } from "../state/source-names.ts";
import { clipName, clips, connection, findClip, notUsable, server } from "../state/store.ts";
import { t } from "../strings.ts";

export function ClipScreen() {
  const id = route.value.rest[0] ?? "";
  const clip = clips.value.get(id);
  const [isGone, setIsGone] = useState(false);
  useEffect(() => {
    findClip(id).then(show, (error: unknown) =>
      error instanceof ProblemError && error.problem.status === 404 ? setIsGone(true) : report(error),
    );
  }, [id, clip === undefined, connection.value === "online"]);
  return (
    <main class="page clip-page">
      {clip === undefined ? (
        <div class="empty">
          {isGone ? <h1>{t.clip.notThere}</h1> : <p class="muted">{t.state.connecting}</p>}
          {isGone && (
            <a class="button" href="#/library">
              {t.nav.library}
            </a>
          )}
        </div>
      ) : (
        <Details clip={clip} />
      )}
    </main>
  );
}

/** Props of a field that is kept when it is left. What is being typed outlasts other changes of the page until then. */
function useTyped(kept: string, keep: (text: string) => Promise<void>) {
  const [typed, setTyped] = useState<string | null>(null);
  return {
    value: typed ?? kept,
    onInput: (event: { currentTarget: { value: string } }) => setTyped(event.currentTarget.value),
    onChange: (event: { currentTarget: { value: string } }) => {
      const text = event.currentTarget.value;
      attempt(async () => {
        await keep(text);
        setTyped((now) => (now === text ? null : now));
      });
    },
  };
}

/** Makes the clip the one that keys and the player act on, unless another plays. */
function show(clip: Clip): void {
  if (playing.value === "idle") {
    selectClip(clip, [clip.id]);
  }
}

function Details({ clip }: { clip: Clip }) {
  return (
    <>
      <header class="clip-head">
        <Title clip={clip} />
        <IconButton
          icon={Star}
          label={clip.favourite ? t.action.unfavourite : t.action.favourite}
          hotkey="F"
          isOn={clip.favourite}
          onClick={() => attempt(() => act.setFavourite(clip, !clip.favourite))}
        />
        <ClipMenu clip={clip} />
      </header>
      {clip.trashed_at !== null && (
        <p class="in-trash">
          {t.clip.inTrash}
          <button
            type="button"
            class="button"
            onClick={() => attemptOnce("restore", () => act.restoreFromTrash([clip]))}
          >
            <Icon of={RotateCcw} size={16} /> {t.action.restore}
          </button>
        </p>
      )}
      <p class="muted">{t.clip.madeAt(letter(clip.index), clip.model, moment(clip.created_at))}</p>
      <Stage clip={clip} height={128} isDetailed />
      <div class="columns">
        <MeasuredTable clip={clip} />
        {notUsable(clip) === null && <Export clip={clip} />}
        <RecipeTable clip={clip} />
        <Family clip={clip} />
        <Notes clip={clip} />
      </div>
    </>
  );
}

function Title({ clip }: { clip: Clip }) {
  const typed = useTyped(clip.title ?? clip.text ?? "", (title) => act.change(clip, { title: title || null }));
  return (
    <h1>
      <input
        type="text"
        class="title"
        aria-label={t.clip.title}
        placeholder={t.clip.untitled}
        maxLength={200}
        {...typed}
      />
    </h1>
  );
}

/** What was asked for, and what was measured. */
function MeasuredTable({ clip }: { clip: Clip }) {
  const { measured } = clip;
  const shown = (value: number | string | null | undefined) => value ?? "–";
  const rounded = (value: number | null | undefined) => (value == null ? null : short(value));
  const rows = [
    [t.field.tempo, shown(rounded(clip.tempo_bpm)), shown(rounded(measured?.tempo_bpm)), t.unit.bpm],
    [t.field.key, shown(clip.key), shown(measured?.key), ""],
    ...(clip.chords === null ? [] : [[t.field.chords, chordNames(clip.chords), "–", ""]]),
    [t.clip.loudness, "–", shown(rounded(measured?.loudness_lufs)?.replace("-", "−")), "LUFS"],
    [t.clip.truePeak, "–", shown(rounded(measured?.true_peak_db)?.replace("-", "−")), "dBTP"],
    [t.field.duration, short(clip.asked_s), short(clip.duration_s), t.unit.seconds],
  ];
  return (
    <section>
      <h2>{t.clip.measures}</h2>
      <table>
        <thead>
          <tr>
            <th scope="col">{t.clip.what}</th>
            <th scope="col">{t.clip.wanted}</th>
            <th scope="col">{t.clip.heard}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, wanted, heard, unit]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{wanted}</td>
              <td>
                {heard} <span class="muted">{heard === "–" ? "" : unit}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Export({ clip }: { clip: Clip }) {
  const formats = server.value?.formats ?? { audio: ["wav"], loop: ["wav"] };
  return (
    <section>
      <h2>{t.clip.export}</h2>
      <div class="formats">
        {formats.audio.map((format) => (
          <a key={format} class="button" href={act.fileUrl(clip, format)} download="">
            <Icon of={Download} size={16} /> {format.toUpperCase()}
          </a>
        ))}
        {server.value?.extras.midi && (
          <a class="button" href={`/v1/clips/${clip.id}/midi`} download="" title={t.hint.midi}>
            <Icon of={Download} size={16} /> MIDI
          </a>
        )}
      </div>
      <p class="hint">{t.hint.loopExport}</p>
      <div class="formats">
        {formats.loop.map((format) => (
          <a key={format} class="button" href={act.fileUrl(clip, format, null, true)} download="">
            <Icon of={Download} size={16} /> {t.clip.loopFile(format.toUpperCase())}
          </a>
        ))}
        <a class="button quiet" href={`/v1/clips/${clip.id}/codes`} download="">
          {t.clip.codes}
        </a>
      </div>
    </section>
  );
}

/** Fields of a recipe that say nothing about its music. */
const WITHOUT_EFFECT = ["count", "analyse", "long_prompt"];

/** The clip or upload that a setting refers to, by its name. */
function SourceName({ source }: { source: Reference }) {
  const name = sourceName(source);
  useEffect(() => {
    if (name === undefined) {
      findName(source);
    }
  }, [idOf(source), name === undefined]);
  if (name === undefined || name === null) {
    return <span class="muted">{name === null ? t.clip.gone(source) : "…"}</span>;
  }
  return source.clip_id ? <a href={`#/clip/${source.clip_id}`}>{name}</a> : <span>{name}</span>;
}

/** A setting as people read it: what is within it as names with values. */
function inWords(value: unknown): string {
  if (Array.isArray(value)) {
    return value.map(inWords).join("; ");
  }
  if (typeof value === "object" && value !== null) {
    const parts = Object.entries(compact(value)).map(
      ([name, part]) => `${t.fieldNames[name] ?? name} ${inWords(part)}`,
    );
    return parts.join(", ");
  }
  if (typeof value === "number") {
    return String(Math.round(1_000 * value) / 1_000);
  }
  return typeof value === "boolean" ? (value ? t.yes : t.no) : String(value);
}

/** A setting, with the name of the music that it refers to. */
function Setting({ value }: { value: unknown }) {
  if (typeof value !== "object" || value === null || !("clip_id" in value || "upload_id" in value)) {
    return <>{inWords(value)}</>;
  }
  const { clip_id, upload_id, kind, ...part } = value as Reference & { kind?: string };
  return (
    <>
      {kind !== undefined && `${t.clip.relation(kind, null)} `}
      <SourceName source={{ clip_id, upload_id }} />
      {Object.keys(compact(part)).length > 0 && `, ${inWords(part)}`}
    </>
  );
}

/** The settings that make the same music again. */
function RecipeTable({ clip }: { clip: Clip }) {
  const [request, setRequest] = useState<JobRequest | null>(null);
  useEffect(() => {
    attempt(async () => setRequest(await act.recipeOf(clip)));
  }, [clip.id]);
  if (request === null) {
    return null;
  }
  const settings = Object.entries(compact(request)).filter(([name]) => !WITHOUT_EFFECT.includes(name));
  return (
    <section>
      <h2>{t.clip.recipe}</h2>
      <dl class="recipe">
        {settings.map(([name, value]) => (
          <div key={name}>
            <dt>{t.fieldNames[name] ?? name}</dt>
            <dd>
              <Setting value={value} />
            </dd>
          </div>
        ))}
      </dl>
      <div class="formats">
        <button
          type="button"
          class="button"
          onClick={() => {
            restore(compact(request));
            navigate("#/");
          }}
        >
          {t.action.reuse}
        </button>
        <button type="button" class="button" onClick={() => attempt(() => act.share(request))}>
          <Icon of={Link} size={16} /> {t.action.share}
        </button>
      </div>
    </section>
  );
}

/** The clip it was made from, and those made from it. */
function Family({ clip }: { clip: Clip }) {
  const [children, setChildren] = useState<Clip[]>([]);
  useEffect(() => {
    attempt(async () => setChildren((await get<Page<Clip>>(`/v1/clips?parent_id=${clip.id}`)).items));
  }, [clip.id]);
  if (clip.parent === null && children.length === 0) {
    return null;
  }
  return (
    <section>
      <h2>{t.clip.family}</h2>
      <ul class="family">
        {clip.parent !== null && (
          <li>
            {t.clip.relation(clip.parent.relation, clip.parent.at_s)} <SourceName source={clip.parent} />
          </li>
        )}
        {children.map((child) => (
          <li key={child.id}>
            {t.clip.became(child.parent?.relation ?? "")} <a href={`#/clip/${child.id}`}>{clipName(child)}</a>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Words that are separated by commas. */
function listed(text: string): string[] {
  const words = text.split(",").map((word) => word.trim());
  return words.filter((word) => word !== "");
}

function Notes({ clip }: { clip: Clip }) {
  const notes = useTyped(clip.notes, (text) => act.change(clip, { notes: text }));
  const tags = useTyped(clip.tags.join(", "), (text) => act.change(clip, { tags: listed(text) }));
  return (
    <section>
      <h2>{t.clip.notes}</h2>
      <Field label={t.clip.tags} hint={t.hint.tags}>
        {(ids) => <input {...ids} {...tags} type="text" />}
      </Field>
      <Field label={t.clip.notes}>{(ids) => <textarea {...ids} {...notes} rows={3} />}</Field>
      <fieldset class="field rating">
        <legend>{t.clip.rating}</legend>
        {[1, 2, 3, 4, 5].map((rating) => (
          <IconButton
            key={rating}
            icon={Star}
            label={t.clip.stars(rating)}
            isOn={(clip.rating ?? 0) >= rating}
            onClick={() => attempt(() => act.change(clip, { rating: clip.rating === rating ? null : rating }))}
          />
        ))}
      </fieldset>
    </section>
  );
}
