/** The server's events. A lost connection is made again after 1, 2, 4, 8 and then every 15 s. */

const DELAYS_S = [1, 2, 4, 8, 15];
const TYPES = [
  "job.queued",
  "job.started",
  "job.changed",
  "job.succeeded",
  "job.failed",
  "job.cancelled",
  "job.deleted",
  "job.progress",
  "clip.first_audio",
  "clip.ready",
  "clip.changed",
  "clip.measured",
  "clip.deleted",
  "list.changed",
  "model.loading",
  "model.ready",
  "model.failed",
  "model.unloaded",
  "engine.died",
  "storage.low",
  "server.draining",
  "resync",
];

export interface EventHandlers {
  /** The connection stands. What happened before is unknown: the lists are to be read. */
  connected(): void;
  disconnected(): void;
  // biome-ignore lint/suspicious/noExplicitAny: each type of event has data of its own
  event(type: string, data: any): void;
}

export function listen(handlers: EventHandlers): void {
  let failures = 0;
  const connect = () => {
    const source = new EventSource("/v1/events");
    source.onopen = () => {
      failures = 0;
      handlers.connected();
    };
    source.onerror = () => {
      // The browser's own reconnection ends for good at some answers, such as 503 of a server that starts.
      source.close();
      handlers.disconnected();
      const delayS = DELAYS_S[Math.min(failures, DELAYS_S.length - 1)] as number;
      failures += 1;
      window.setTimeout(connect, delayS * 1000);
    };
    for (const type of TYPES) {
      source.addEventListener(type, (event) => handlers.event(type, JSON.parse(event.data)));
    }
  };
  connect();
}
