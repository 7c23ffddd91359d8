/** All clips: searched, filtered, and handled several at a time. */

import { signal, useComputed } from "@preact/signals";
import {
  FolderMinus,
  FolderPlus,
  GitCompareArrows,
  Headphones,
  Package,
  RotateCcw,
  Search,
  Star,
  Trash2,
} from "lucide";
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, idempotencyKey, post, remove } from "../api/client.ts";
import type { Clip, Collection, Page } from "../api/types.ts";
import { ClipCard } from "../components/clip-card.tsx";
import { IconButton, Select } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import { bytes } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { attempt, attemptOnce, notify, underWay } from "../state/notices.ts";
import { replaceRoute, route } from "../state/router.ts";
import { chosen, MAX_COMPARED } from "../state/selection.ts";
import { clips, keepClips, libraryVersion, listVersions, server } from "../state/store.ts";
import { t } from "../strings.ts";

const PAGE = 50;
/** The server lists at most so many at once. */
const MOST = 200;
const SEARCH_MS = 150;

/** Changes the filters that the address holds. */
function filter(changes: Record<string, string>): void {
  const query = new URLSearchParams(route.value.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") {
      query.delete(name);
    } else {
      query.set(name, value);
    }
  }
  replaceRoute(`#/library?${query}`);
}

export function Library() {
  const { query } = route.value;
  const { found, more } = useClips(query.toString());
  const items = found?.items ?? [];
  // Hundreds of cards: each looks after itself, and none is drawn anew with the screen.
  const rows = useMemo(() => <Rows items={items} />, [found]);
  const isTrash = query.get("trashed") === "true";
  return (
    <main class="page library" ref={useScroll(found?.query)}>
      <h1>{t.library.title}</h1>
      <Filters query={query} isTrash={isTrash} />
      {chosen.value.length > 0 && <Bulk />}
      {items.length === 0 && <Nothing isRead={found !== null} query={query} />}
      {rows}
      {found != null && found.next_cursor !== null && (
        <button type="button" class="button" onClick={more}>
          {t.action.more50}
        </button>
      )}
      <Storage />
    </main>
  );
}

/** The row of a clip stays the same object, which Preact passes over: there may be hundreds. */
function Rows({ items }: { items: Clip[] }) {
  const ids = useRef<string[]>([]);
  ids.current = items.map((clip) => clip.id);
  const rows = useRef<ReadonlyMap<string, VNode>>(new Map());
  rows.current = new Map(
    items.map((clip) => {
      const known = rows.current.get(clip.id);
      return [clip.id, known ?? <Row key={clip.id} clip={clip} among={() => ids.current} />];
    }),
  );
  return <div class="rows">{[...rows.current.values()]}</div>;
}

function Row({ clip, among }: { clip: Clip; among: () => string[] }) {
  const now = useComputed(() => clips.value.get(clip.id) ?? clip);
  return <ClipCard clip={now.value} among={among} hasTitle />;
}

/** Why there are no clips, and what to do. */
function Nothing({ isRead, query }: { isRead: boolean; query: URLSearchParams }) {
  if (!isRead) {
    return <p class="empty muted">{t.state.connecting}</p>;
  }
  if (query.get("trashed") === "true" && query.size === 1) {
    return <p class="empty muted">{t.library.noTrash}</p>;
  }
  return (
    <div class="empty">
      <p class="muted">{query.size === 0 ? t.library.nothing : t.library.noMatch}</p>
      <a class="button" href={query.size === 0 ? "#/" : "#/library"}>
        {query.size === 0 ? t.library.make : t.library.all}
      </a>
    </div>
  );
}

interface Found extends Page<Clip> {
  query: string;
}

/** What was seen last, for the way back to it, and how far it was scrolled. */
let seen: Found | null = null;
let seenTop = 0;

/** Scrolls to where the same clips were left. */
function useScroll(query: string | undefined) {
  const main = useRef<HTMLElement>(null);
  useLayoutEffect(() => {
    const element = main.current as HTMLElement;
    element.scrollTop = query === undefined ? 0 : seenTop;
    return () => {
      seenTop = element.scrollTop;
    };
  }, []);
  return main;
}

/** The clips that a query finds, page by page. As many are read again when the library changes. */
function useClips(query: string) {
  const [found, setFound] = useState(seen?.query === query ? seen : null);
  const latest = useRef(0);
  const read = async (before: Clip[], from: string | null, count: number) => {
    latest.current += 1;
    const mine = latest.current;
    const items = [...before];
    let next = from;
    do {
      const wanted = new URLSearchParams(query);
      wanted.set("limit", String(Math.min(count - items.length, MOST)));
      if (next !== null) {
        wanted.set("cursor", next);
      }
      const page = await get<Page<Clip>>(`/v1/clips?${wanted}`);
      items.push(...page.items);
      next = page.next_cursor;
    } while (next !== null && items.length < count);
    // A slower answer to an earlier query must not replace a later one.
    if (mine === latest.current) {
      keepClips(items);
      seen = { query, items, next_cursor: next };
      setFound(seen);
    }
  };
  useEffect(() => {
    const count = found?.query === query ? Math.max(found.items.length, PAGE) : PAGE;
    const timer = window.setTimeout(() => attempt(() => read([], null, count)), SEARCH_MS);
    return () => window.clearTimeout(timer);
  }, [query, libraryVersion.value]);
  const more = () =>
    attempt(async () => {
      if (found !== null) {
        await read(found.items, found.next_cursor, found.items.length + PAGE);
      }
    });
  return { found, more };
}

function Filters({ query, isTrash }: { query: URLSearchParams; isTrash: boolean }) {
  const isFavourite = query.get("favourite") === "true";
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    if (act.isSearchWanted.value) {
      act.isSearchWanted.value = false;
      input.current?.focus();
    }
  }, [act.isSearchWanted.value]);
  return (
    <search class="filters">
      <label class="search">
        <Icon of={Search} />
        <input
          id="search"
          ref={input}
          type="search"
          placeholder={t.library.search}
          aria-label={t.library.search}
          value={query.get("q") ?? ""}
          onInput={(event) => filter({ q: event.currentTarget.value })}
        />
        <kbd>/</kbd>
      </label>
      <button
        type="button"
        class={`chip ${isFavourite ? "is-lit" : ""}`}
        aria-pressed={isFavourite}
        onClick={() => filter({ favourite: isFavourite ? "" : "true" })}
      >
        <Icon of={Star} size={14} isFilled={isFavourite} /> {t.library.favourites}
      </button>
      <button
        type="button"
        class={`chip ${isTrash ? "is-lit" : ""}`}
        aria-pressed={isTrash}
        onClick={() => filter({ trashed: isTrash ? "" : "true" })}
      >
        <Icon of={Trash2} size={14} /> {t.library.trash}
      </button>
      <Select
        label={t.library.sort}
        value={query.get("sort") ?? "newest"}
        options={Object.entries(t.library.sorts).map(([value, text]) => ({ value, text }))}
        onValue={(sort) => filter({ sort: sort === "newest" ? "" : sort })}
      />
      <Tempo name="tempo_min" label={t.library.tempoFrom} query={query} />
      <Tempo name="tempo_max" label={t.library.tempoTo} query={query} />
      <Collections id={query.get("collection_id") ?? ""} />
    </search>
  );
}

/** The collections there are; one of them can be looked at, downloaded and removed. */
const collections = signal<Collection[]>([]);

async function readCollections(): Promise<void> {
  collections.value = (await get<Page<Collection>>("/v1/collections")).items;
}

function Collections({ id }: { id: string }) {
  useEffect(() => attempt(readCollections), [listVersions.value.collections]);
  const drop = async () => {
    await remove(`/v1/collections/${id}`);
    filter({ collection_id: "" });
    await readCollections();
  };
  if (collections.value.length === 0 && id === "") {
    return null;
  }
  const names = collections.value.map((one) => ({ value: one.id, text: one.name }));
  return (
    <>
      <Select
        label={t.library.from}
        value={id}
        options={[{ value: "", text: t.library.everything }, ...names]}
        onValue={(chosenId) => filter({ collection_id: chosenId })}
      />
      {id !== "" && (
        <>
          <IconButton
            icon={Package}
            label={t.action.archive}
            onClick={() => act.download(`/v1/collections/${id}/archive?format=wav`)}
          />
          <IconButton
            icon={FolderMinus}
            label={t.library.dropCollection}
            onClick={() => attemptOnce("drop-collection", drop)}
          />
        </>
      )}
    </>
  );
}

function Tempo({ name, label, query }: { name: string; label: string; query: URLSearchParams }) {
  return (
    <label class="tempo">
      <span>{label}</span>
      <input
        type="number"
        min={30}
        max={300}
        value={query.get(name) ?? ""}
        onChange={(event) => filter({ [name]: event.currentTarget.value })}
      />
    </label>
  );
}

/** What can be done with the clips that were chosen. */
function Bulk() {
  const ids = chosen.value;
  const all = ids.flatMap((id) => clips.value.get(id) ?? []);
  const [name, setName] = useState("");
  const done = () => {
    chosen.value = [];
  };
  const collect = async () => {
    const body = { name: name || t.library.unnamed, clip_ids: ids };
    await post<Collection>("/v1/collections", body, { "Idempotency-Key": idempotencyKey() });
    setName("");
    notify(t.library.collected(ids.length, body.name));
    await readCollections();
  };
  const archive = async () => act.download(`/v1/archive?format=wav&${ids.map((id) => `clip_id=${id}`).join("&")}`);
  const canCompare = ids.length >= 2 && ids.length <= MAX_COMPARED;
  return (
    <div class="bulk" role="group" aria-label={t.library.chosen(ids.length)}>
      <b>{t.library.chosen(ids.length)}</b>
      {canCompare && (
        <a class="button" href={`#/compare?c=${ids.join(",")}`}>
          <Icon of={GitCompareArrows} size={16} /> {t.action.compare}
        </a>
      )}
      {canCompare && (
        <a class="button" href={`#/test?c=${ids.join(",")}`}>
          <Icon of={Headphones} size={16} /> {t.action.blindTest}
        </a>
      )}
      <input
        type="text"
        aria-label={t.library.collection}
        placeholder={t.library.collection}
        value={name}
        onInput={(event) => setName(event.currentTarget.value)}
      />
      <button
        type="button"
        class="button"
        aria-disabled={underWay.value.has("collect")}
        onClick={() => attemptOnce("collect", collect)}
      >
        <Icon of={FolderPlus} size={16} /> {t.action.collect}
      </button>
      <button type="button" class="button" onClick={() => attemptOnce("archive", archive)}>
        <Icon of={Package} size={16} /> {t.action.archive}
      </button>
      {all.some((clip) => clip.trashed_at !== null) ? (
        <button
          type="button"
          class="button"
          onClick={() => attemptOnce("restore", () => act.restoreFromTrash(all).then(done))}
        >
          <Icon of={RotateCcw} size={16} /> {t.action.restore}
        </button>
      ) : (
        <button type="button" class="button" onClick={() => attemptOnce("trash", () => act.trash(all).then(done))}>
          <Icon of={Trash2} size={16} /> {t.action.trash}
        </button>
      )}
      <button type="button" class="button quiet" onClick={done}>
        {t.action.chooseNone}
      </button>
    </div>
  );
}

function Storage() {
  const storage = server.value?.storage;
  return storage === undefined ? null : (
    <p class="storage muted">
      <meter
        max={storage.quota_bytes}
        high={0.9 * storage.quota_bytes}
        value={storage.used_bytes}
        aria-label={t.server.storage}
      />
      {t.library.storage(bytes(storage.used_bytes), bytes(storage.quota_bytes))}
    </p>
  );
}
