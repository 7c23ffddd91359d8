import { defineConfig } from "vite";
import { buildRecord } from "./build-record.ts";

export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/descant/apps/web/dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.txt" },
  },
  plugins: [buildRecord()],
});
