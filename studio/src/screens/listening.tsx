/** The owner's side of blind listening tests: set one up, pass its link on, see the results. */
import { Link, Trash2 } from "lucide";
import { useEffect, useState } from "preact/hooks";
import { get, idempotencyKey, post, remove } from "../api/client.ts";
import type { ListeningTest, Page, Results } from "../api/types.ts";
import { Choice, TextField } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import * as act from "../state/actions.ts";
import { attempt, attemptOnce, notify, report, underWay } from "../state/notices.ts";
import { replaceRoute, route } from "../state/router.ts";
import { clipName, clips, findClip, listVersions } from "../state/store.ts";
import { t } from "../strings.ts";

export function Listening() {
  const wanted = (route.value.query.get("c") ?? "").split(",").filter((id) => id !== "");
  const [tests, setTests] = useState<ListeningTest[]>([]);
  const load = async () => setTests((await get<Page<ListeningTest>>("/v1/listening-tests")).items);
  useEffect(() => attempt(load), [listVersions.value["listening-tests"]]);
  return (
    <main class="page">
      <h1>{t.test.title}</h1>
      <p class="muted">{t.test.about}</p>
      {wanted.length > 1 && <SetUp ids={wanted} onMade={load} />}
      {tests.length === 0 && wanted.length < 2 && <p class="empty muted">{t.test.none}</p>}
      {tests.map((test) => (
        <TestCard key={test.id} test={test} onGone={load} />
      ))}
    </main>
  );
}

function SetUp({ ids, onMade }: { ids: string[]; onMade: () => Promise<void> }) {
  const [name, setName] = useState("");
  const [question, setQuestion] = useState("");
  const [kind, setKind] = useState<"pairs" | "rating">("pairs");
  useEffect(() => {
    Promise.all(ids.map(findClip)).catch(report);
  }, [ids.join()]);
  const begin = async () => {
    const test = await post<ListeningTest>(
      "/v1/listening-tests",
      { name: name || t.test.unnamed, kind, clip_ids: ids, question: question || t.test.questions[kind] },
      { "Idempotency-Key": idempotencyKey() },
    );
    if (route.value.query.has("c")) {
      replaceRoute("#/test"); // there is one now: another press would set up the same once more
    }
    await onMade();
    await act.copy(linkTo(test));
    notify(t.notice.linkCopied);
  };
  return (
    <form
      class="panel"
      onSubmit={(event) => {
        event.preventDefault();
        attemptOnce("start-test", begin);
      }}
    >
      <h2>{t.test.setUp(ids.length)}</h2>
      <ol class="chosen-clips">
        {ids.map((id) => (
          <li key={id}>
            <span>{clips.value.get(id) === undefined ? "…" : clipName(clips.value.get(id) as never)}</span>
          </li>
        ))}
      </ol>
      <div class="pair">
        <TextField label={t.test.name} value={name} onValue={setName} placeholder={t.test.unnamed} maxLength={100} />
        <Choice
          label={t.test.kind}
          value={kind}
          options={[
            { value: "pairs", text: t.test.kinds.pairs },
            { value: "rating", text: t.test.kinds.rating },
          ]}
          onValue={setKind}
        />
      </div>
      <TextField
        label={t.test.question}
        value={question}
        onValue={setQuestion}
        placeholder={t.test.questions[kind]}
        maxLength={200}
      />
      <button type="submit" class="button primary" aria-disabled={underWay.value.has("start-test")}>
        {t.test.start}
      </button>
    </form>
  );
}

function linkTo(test: ListeningTest): string {
  return `${location.origin}${location.pathname}#/test/${test.id}`;
}

function TestCard({ test, onGone }: { test: ListeningTest; onGone: () => Promise<void> }) {
  const [results, setResults] = useState<Results | null>(null);
  useEffect(() => {
    attempt(async () => setResults(await get<Results>(`/v1/listening-tests/${test.id}/results`)));
    Promise.all(test.clip_ids.map(findClip)).catch(() => {});
  }, [test.id, listVersions.value["listening-tests"]]);
  const [isAsking, setIsAsking] = useState(false);
  const answers = results?.answers ?? 0;
  /** Answers cannot be brought back: where there are some, the first press asks. */
  const drop = async () => {
    if (answers > 0 && !isAsking) {
      setIsAsking(true);
    } else {
      await remove(`/v1/listening-tests/${test.id}`);
      await onGone();
    }
  };
  const share = async () => {
    await act.copy(linkTo(test));
    notify(t.notice.linkCopied);
  };
  return (
    <section class="panel">
      <header class="page-head">
        <h2>{test.name}</h2>
        <a class="button" href={`#/test/${test.id}`}>
          {t.test.open}
        </a>
        <button type="button" class="button" onClick={() => attempt(share)}>
          <Icon of={Link} size={16} /> {t.test.copyLink}
        </button>
        <button
          type="button"
          class={isAsking ? "button" : "icon-button"}
          aria-label={isAsking ? undefined : t.test.remove(test.name)}
          title={isAsking ? undefined : t.test.remove(test.name)}
          onClick={() => attemptOnce("remove-test", drop)}
          onBlur={() => setIsAsking(false)}
        >
          <Icon of={Trash2} /> {isAsking && t.test.removeSurely(answers)}
        </button>
      </header>
      <p class="muted">
        {test.question} {results !== null && t.test.answers(results.participants, results.answers)}
      </p>
      {results !== null && results.answers > 0 && <ResultTable results={results} kind={test.kind} />}
    </section>
  );
}

/** The score of each clip, with its 95 % interval as a bar. */
function ResultTable({ results, kind }: { results: Results; kind: "pairs" | "rating" }) {
  const top = kind === "pairs" ? 1 : 5;
  const shown = (value: number) => (kind === "pairs" ? `${Math.round(100 * value)} %` : value.toFixed(1));
  const ranked = [...results.clips].sort((a, b) => (b.score ?? -1) - (a.score ?? -1));
  return (
    <table class="results-table">
      <thead>
        <tr>
          <th scope="col">{t.test.clip}</th>
          <th scope="col">{t.test.score[kind]}</th>
          <th scope="col">{t.test.interval}</th>
        </tr>
      </thead>
      <tbody>
        {ranked.map(({ clip_id, score, low, high }) => {
          const clip = clips.value.get(clip_id);
          return (
            <tr key={clip_id}>
              <th scope="row">
                <a href={`#/clip/${clip_id}`}>{clip === undefined ? t.clip.gone({ clip_id }) : clipName(clip)}</a>
              </th>
              {score === null || low === null || high === null ? (
                <td colSpan={2}>{t.test.notJudged}</td>
              ) : (
                <>
                  <td>{shown(score)}</td>
                  <td>
                    <span class="interval">
                      <span
                        style={{
                          insetInlineStart: `${(100 * low) / top}%`,
                          inlineSize: `${(100 * (high - low)) / top}%`,
                        }}
                      />
                      <i style={{ insetInlineStart: `${(100 * score) / top}%` }} />
                    </span>
                    {shown(low)} – {shown(high)}
                  </td>
                </>
              )}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
