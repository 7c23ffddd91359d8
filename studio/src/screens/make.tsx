/** The first screen: what to make on one side, what was made on the other. */
import { GitCompareArrows, Link, Play, RotateCcw } from "lucide";
import { useEffect } from "preact/hooks";
import type { Job } from "../api/types.ts";
import { ClipCard } from "../components/clip-card.tsx";
import { Composer, WIDE } from "../components/composer.tsx";
import { IconButton } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import { Stage } from "../components/stage.tsx";
import { moment, short } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { compact, restore } from "../state/draft.ts";
import { attempt, attemptOnce } from "../state/notices.ts";
import { selectClip } from "../state/playback.ts";
import { clipsOf, connection, isPlayable, recentJobs, server } from "../state/store.ts";
import { t } from "../strings.ts";

export function Make() {
  const current = act.currentClip();
  const newest = recentJobs.value.flatMap(clipsOf).find(isPlayable);
  useEffect(() => {
    // Something to act on from the first moment: what was made last.
    if (current === null && newest !== undefined) {
      const job = recentJobs.value.find(({ id }) => id === newest.job_id);
      selectClip(newest, job === undefined ? [newest.id] : clipsOf(job).map(({ id }) => id));
    }
  }, [current === null, newest?.id]);
  return (
    <main class="make">
      <Composer />
      <div class="results">
        {current !== null && <Stage clip={current} />}
        <h2 class="visually-hidden">{t.make.results}</h2>
        {recentJobs.value.length === 0 ? <Empty /> : recentJobs.value.map((job) => <Take key={job.id} job={job} />)}
      </div>
    </main>
  );
}

/** What is seen before anything was made: whether the machine is ready, and what it can do. One may write at once. */
function Empty() {
  const info = server.value;
  const isReady = info !== null;
  useEffect(() => {
    // On a phone the keyboard would cover everything else.
    if (isReady && WIDE.matches && document.activeElement === document.body) {
      document.getElementById("prompt")?.focus();
    }
  }, [isReady]);
  if (info === null) {
    return <p class="empty muted">{connection.value === "connecting" ? t.state.connecting : ""}</p>;
  }
  const factor = info.speed?.real_time_factor;
  return (
    <div class="empty">
      <svg viewBox="0 0 240 60" width="240" height="60" aria-hidden="true">
        <path d="M0 38 C 20 10, 40 10, 60 34 S 100 58, 120 34 S 160 10, 180 30 S 220 50, 240 30" />
        <path d="M0 48 C 30 30, 50 30, 80 46 S 130 58, 160 44 S 210 36, 240 46" />
      </svg>
      <h3>{t.make.emptyTitle}</h3>
      <p class="muted">{t.make.readiness(info.model, info.device, factor == null ? null : short(10 * factor))}</p>
      <div class="suggestions" role="group" aria-label={t.make.try}>
        {t.make.suggestions.map((text) => (
          <button key={text} type="button" onClick={() => attemptOnce("generate", () => act.generateText(text))}>
            <Icon of={Play} size={14} isFilled />
            {text}
          </button>
        ))}
      </div>
    </div>
  );
}

/** One job: its words, and a card for each variation. */
function Take({ job }: { job: Job }) {
  const shown = clipsOf(job);
  const ids = shown.map((clip) => clip.id);
  if (shown.length === 0) {
    return null;
  }
  const { request } = job;
  return (
    <article class="take" data-job={job.id} aria-label={request.text ?? t.clip.untitled}>
      <header>
        <h3 title={request.text ?? ""}>{request.text || t.clip.untitled}</h3>
        <p class="muted">
          <span>{t.make.takeMeta(request, shown.length)}</span>
          <time dateTime={job.created_at}>{moment(job.created_at)}</time>
        </p>
        <div class="actions">
          {ids.length > 1 && (
            <a
              class="icon-button"
              href={`#/compare?c=${ids.join(",")}`}
              aria-label={t.action.compare}
              title={t.action.compare}
            >
              <Icon of={GitCompareArrows} />
            </a>
          )}
          <IconButton icon={RotateCcw} label={t.action.reuse} onClick={() => restore(compact(request))} />
          <IconButton icon={Link} label={t.action.share} onClick={() => attempt(() => act.share(request))} />
        </div>
      </header>
      {job.problem !== null && <Failure job={job} />}
      {shown.map((clip) => (
        <ClipCard key={clip.id} clip={clip} among={() => ids} />
      ))}
    </article>
  );
}

function Failure({ job }: { job: Job }) {
  const { problem } = job;
  if (problem === null) {
    return null;
  }
  const details = JSON.stringify({ job: job.id, ...problem }, null, 2);
  return (
    <div class="failure" role="alert">
      <p>
        <b>{problem.title}</b> {problem.detail}
      </p>
      <button type="button" class="button" onClick={() => attemptOnce("retry", () => act.retry(job))}>
        {t.action.retry}
      </button>
      <button type="button" class="button quiet" onClick={() => attempt(() => act.copy(details))}>
        {t.action.copyDetails}
      </button>
    </div>
  );
}
