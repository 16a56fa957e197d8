// Writes dist/: every asset under a name that holds its content's hash, and index.html that names them.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, parse } from "node:path";

const folder = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const marker = join(folder, "..", "..", "VERSION");
const release = process.env.RELEASE || (existsSync(marker) ? readFileSync(marker, "utf8").trim() : "unreleased");
const dist = join(folder, "dist");

rmSync(dist, { recursive: true, force: true });
mkdirSync(join(dist, "assets"), { recursive: true });

let page = readFileSync(join(folder, "index.html"), "utf8");
for (const name of readdirSync(join(folder, "src")).sort()) {
  const content = readFileSync(join(folder, "src", name), "utf8").replaceAll("__RELEASE__", release);
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 10);
  const { name: stem, ext } = parse(name);
  const asset = `assets/${stem}.${hash}${ext}`;
  writeFileSync(join(dist, asset), content);
  page = page.replaceAll(`src/${name}`, `/${asset}`);
}
writeFileSync(join(dist, "index.html"), page.replaceAll("__RELEASE__", release));
writeFileSync(join(dist, "version.json"), `${JSON.stringify({ portal: parse(folder).base, version: release })}\n`);
writeFileSync(join(dist, "robots.txt"), "User-agent: *\nDisallow: /\n");
console.log(`dist/ of ${release}: ${readdirSync(join(dist, "assets")).length} assets`);
