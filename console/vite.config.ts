import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const zipped = promisify(gzip);

/** Beside each text a zipped twin, which the server hands to browsers that take it. */
function twins(): Plugin {
  return {
    name: "twins",
    apply: "build",
    async writeBundle({ dir = "" }, bundle) {
      for (const name of [...Object.keys(bundle), "icon.svg"]) {
        if (!/\.(js|css|svg|html)$/.test(name)) continue;
        const file = join(dir, name);
        await writeFile(`${file}.gz`, await zipped(await readFile(file), { level: 9 }));
      }
    },
  };
}

const server = process.env.PILOTHOUSE_URL ?? "http://127.0.0.1:7700";

export default defineConfig({
  base: "/console/",
  plugins: [react(), twins()],
  build: {
    outDir: "../src/pilothouse/wire/console-files",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2000,
    reportCompressedSize: false,
  },
  test: { isolate: false, maxWorkers: 1 },
  server: {
    // The Host header goes through as it is: it is signed.
    proxy: Object.fromEntries(
      ["^/$", "^/ph/", "^/v1/", "^/console/config.json$", "^/ca.pem$"].map((path) => [
        path,
        { target: server, ws: true },
      ]),
    ),
  },
});
