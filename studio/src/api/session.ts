/** The cookie that stands for a key, for what cannot send one: downloads, event streams, audio elements. */
import { post, remove } from "./client.ts";

export async function signIn(key: string): Promise<void> {
  await post("/v1/session", {}, { Authorization: `Bearer ${key}` });
  location.reload();
}

export async function signOut(): Promise<void> {
  await remove("/v1/session");
  location.reload();
}
