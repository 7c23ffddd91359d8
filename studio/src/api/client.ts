/** Requests to the server. Errors arrive as `ProblemError` with the problem that the server describes (RFC 9457). */
import { signal } from "@preact/signals";
import { t } from "../strings.ts";
import type { Problem } from "./types.ts";

/** Whether the server asks for a key. */
export const needsKey = signal(false);

export class ProblemError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    // What went wrong within the server is in its log, under the number of the request.
    super(problem.status === 500 ? problem.title : problem.detail || problem.title);
    this.problem = problem;
  }

  /** The last part of the problem's type, such as `queue-full`. */
  get slug(): string {
    return this.problem.type.split("/").pop() ?? "";
  }
}

/** The answer of the server as JSON; undefined where it has no body. */
export async function call<T>(method: string, path: string, body?: unknown, headers: HeadersInit = {}): Promise<T> {
  const response = await send(path, {
    method,
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
    body: JSON.stringify(body),
  });
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
}

export const get = <T>(path: string) => call<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}, headers?: HeadersInit) =>
  call<T>("POST", path, body, headers);
export const patch = <T>(path: string, body: unknown) => call<T>("PATCH", path, body);
export const put = <T>(path: string, body: unknown) => call<T>("PUT", path, body);
export const remove = (path: string) => call<void>("DELETE", path);

/** A response of any type whose status says success. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw offline();
  }
  return successful(response);
}

/** How far a form is on its way to the server, from 0 to 1, and what stops it. */
export interface Sending {
  onShare: (share: number) => void;
  signal: AbortSignal;
}

/** Sends a form, of which `fetch` would not say how far it is. */
export function sendForm<T>(path: string, form: FormData, headers: Record<string, string>, way: Sending): Promise<T> {
  const request = new XMLHttpRequest();
  const answer = new Promise<Response>((resolve, reject) => {
    request.upload.onprogress = ({ loaded, total }) => way.onShare(loaded / total);
    request.onload = () => {
      const type = request.getResponseHeader("Content-Type") ?? "";
      const { status, statusText } = request;
      resolve(new Response(request.responseText, { status, statusText, headers: { "Content-Type": type } }));
    };
    request.onerror = () => reject(offline());
    request.onabort = () => reject(new DOMException("", "AbortError"));
  });
  way.signal.addEventListener("abort", () => request.abort());
  request.open("POST", path);
  for (const [name, value] of Object.entries(headers)) {
    request.setRequestHeader(name, value);
  }
  request.send(form);
  return answer.then(successful).then((response) => response.json() as Promise<T>);
}

function offline(): ProblemError {
  return new ProblemError({ type: "offline", title: t.problem.offline, status: 0, detail: t.problem.offlineDetail });
}

async function successful(response: Response): Promise<Response> {
  if (!response.ok) {
    needsKey.value ||= response.status === 401;
    throw new ProblemError(await readProblem(response));
  }
  return response;
}

async function readProblem(response: Response): Promise<Problem> {
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    return (await response.json()) as Problem;
  }
  const title = `${response.status} ${response.statusText}`;
  return { type: "unexpected", title, status: response.status, detail: t.problem.unexpected(response.status) };
}

/**
 * A key under which the server recognises a repeated request. crypto.randomUUID exists in secure contexts only, and the
 * page is also used over plain HTTP in a local network.
 */
export function idempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
