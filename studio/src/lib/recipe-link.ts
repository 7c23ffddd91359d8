/** Settings as a link: the request as JSON, deflated, in the URL-safe alphabet of Base64. */
import type { JobRequest } from "../api/types.ts";

export async function encodeRequest(request: JobRequest): Promise<string> {
  const bytes = await through(new TextEncoder().encode(JSON.stringify(request)), new CompressionStream("deflate-raw"));
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @throws Error if the text was not made by `encodeRequest`. */
export async function decodeRequest(text: string): Promise<JobRequest> {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  const json = await through(bytes, new DecompressionStream("deflate-raw"));
  const request: unknown = JSON.parse(new TextDecoder().decode(json));
  if (typeof request !== "object" || request === null || Array.isArray(request)) {
    throw new Error("not a request");
  }
  return request;
}

async function through(bytes: Uint8Array<ArrayBuffer>, transform: GenericTransformStream): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(transform as ReadableWritablePair<Uint8Array, Uint8Array>);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
