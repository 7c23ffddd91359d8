/** The screen that the address names: `#/library?q=piano` is the path `library` with a query. */
import { signal } from "@preact/signals";

export interface Route {
  /** First part of the path, "" for the screen on which music is made. */
  screen: string;
  /** The parts after it. */
  rest: string[];
  query: URLSearchParams;
}

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [screen = "", ...rest] = path.split("/").map(decoded);
  return { screen, rest: rest.filter((part) => part !== ""), query: new URLSearchParams(query) };
}

/** A part of the path; as it stands where it is no code, such as of a link that was cut off. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal<Route>(parse(location.hash));

window.addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

/** The screen changes at once; the event that the browser sends for it comes later, after keys that were pressed since. */
export function navigate(hash: string): void {
  location.hash = hash;
  route.value = parse(location.hash);
}

/** Changes the address without a new entry in the history, such as while a search is typed. */
export function replaceRoute(hash: string): void {
  history.replaceState(null, "", hash);
  route.value = parse(hash);
}
