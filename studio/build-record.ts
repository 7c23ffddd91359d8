/** Writes build.json: a hash of the sources of the page, with which a stale build is found where there is no Node. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { Plugin } from "vite";

const SOURCES = /^((src|public)\/.*|index\.html|package(-lock)?\.json|tsconfig\.json|[a-z-]+\.ts)$/;

/** SHA-256 over the sources in the order of their paths: path, zero byte, content, zero byte. */
function sourceHash(folder: string): string {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(folder.length + 1).replaceAll("\\", "/"))
    .filter((path) => SOURCES.test(path))
    .sort();
  const hash = createHash("sha256");
  for (const path of paths) {
    hash
      .update(path)
      .update("\0")
      .update(readFileSync(`${folder}/${path}`))
      .update("\0");
  }
  return hash.digest("hex");
}

export function buildRecord(): Plugin {
  let root = "";
  return {
    name: "build-record",
    configResolved(config) {
      root = config.root;
    },
    generateBundle() {
      const source = `${JSON.stringify({ sources_sha256: sourceHash(root) })}\n`;
      this.emitFile({ type: "asset", fileName: "build.json", source });
    },
  };
}
