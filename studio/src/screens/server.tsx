/** What the server is and can: its model, speed, queue, storage and limits. */

import { Check, Minus, Trash2 } from "lucide";
import { useEffect, useState } from "preact/hooks";
import { signOut } from "../api/session.ts";
import type { Model, Server } from "../api/types.ts";
import { Icon } from "../components/icon.tsx";
import { bytes, short } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { attempt, attemptOnce } from "../state/notices.ts";
import { models, refresh, server } from "../state/store.ts";
import { t } from "../strings.ts";

export function ServerScreen() {
  useEffect(() => {
    attempt(refresh);
  }, []);
  const info = server.value;
  return (
    <main class="page server-page">
      <h1>{t.server.title}</h1>
      {info === null ? <p class="empty muted">{t.state.connecting}</p> : <Info info={info} />}
    </main>
  );
}

function Info({ info }: { info: Server }) {
  const { speed, queue, slots, limits } = info;
  return (
    <div class="columns">
      <section>
        <h2>{t.server.engine}</h2>
        <dl class="recipe">
          <Row name={t.server.state} value={t.server.states[info.state] ?? info.state} />
          <Row name={t.server.device} value={`${info.device}, ${info.precision}`} />
          <Row
            name={t.server.speed}
            value={speed === null ? t.server.unknownSpeed : t.server.speedText(short(1 / speed.real_time_factor))}
          />
          <Row
            name={t.server.firstAudio}
            value={speed === null ? "–" : `${short(speed.first_audio_s)} ${t.unit.seconds}`}
          />
          <Row name={t.server.slots} value={t.server.of(slots.busy, slots.total)} />
          <Row name={t.server.queue} value={t.server.of(queue.length, queue.limit)} />
          <Row name={t.server.version} value={`Descant ${info.version}`} />
        </dl>
      </section>
      {models.value.map((model) => (
        <Capabilities key={model.id} model={model} />
      ))}
      <Storage storage={info.storage} />
      <section>
        <h2>{t.server.limits}</h2>
        <dl class="recipe">
          <Row name={t.field.duration} value={`${limits.duration_s} ${t.unit.seconds}`} />
          <Row name={t.field.variations} value={String(limits.count)} />
          <Row name={t.server.upload} value={bytes(limits.upload_bytes)} />
          <Row name={t.server.rights} value={t.server.rightsOf(info.owner, info.scopes)} />
        </dl>
        {info.owner !== "local" && (
          <button type="button" class="button" onClick={() => attempt(signOut)}>
            {t.action.signOut}
          </button>
        )}
        <p class="links">
          <a href="/openapi.json">{t.server.api}</a>
          <a href="./licenses.txt">{t.server.licences}</a>
        </p>
      </section>
    </div>
  );
}

/** What takes up room, and how to make some. */
function Storage({ storage }: { storage: Server["storage"] }) {
  const [isAsking, setIsAsking] = useState(false);
  const empty = () => {
    setIsAsking(!isAsking);
    if (isAsking) {
      attemptOnce("empty-trash", act.emptyTrash);
    }
  };
  return (
    <section>
      <h2>{t.server.storage}</h2>
      <meter
        max={storage.quota_bytes}
        high={0.9 * storage.quota_bytes}
        value={storage.used_bytes}
        aria-label={t.server.storage}
      />
      <p>{t.library.storage(bytes(storage.used_bytes), bytes(storage.quota_bytes))}</p>
      <dl class="recipe">
        {Object.entries(storage.by_kind).map(([kind, used]) => (
          <Row key={kind} name={t.server.kinds[kind] ?? kind} value={bytes(used)} />
        ))}
      </dl>
      <div class="formats">
        {(storage.by_kind.trash ?? 0) > 0 && (
          <button type="button" class="button" onClick={empty} onBlur={() => setIsAsking(false)}>
            <Icon of={Trash2} size={16} /> {isAsking ? t.action.emptyTrashSurely : t.action.emptyTrash}
          </button>
        )}
        <a class="button quiet" href="#/library?sort=duration">
          {t.server.largest}
        </a>
      </div>
    </section>
  );
}

function Row({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Capabilities({ model }: { model: Model }) {
  return (
    <section>
      <h2>{model.id}</h2>
      <p class="muted">
        {t.server.modelText(
          model.sample_rate_hz,
          model.channels,
          short(model.trained_s),
          short(model.max_duration_s),
          model.licence,
        )}
      </p>
      <ul class="capabilities">
        {Object.entries(model.can).map(([name, isPossible]) => (
          <li key={name}>
            <Icon of={isPossible ? Check : Minus} size={16} />
            <span>
              {t.fieldNames[name] ?? name}
              {!isPossible && <small>{model.cannot[name] ?? t.state.modelCannot}</small>}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
