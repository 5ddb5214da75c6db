// Writes the manual, a page for each command: `node scripts/man.ts [FOLDER]`, dist/man when none is named. The same sources and the same
// time give the same bytes: the date is SOURCE_DATE_EPOCH, else that of the last commit.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { makeApplication } from '../src/cli/application.ts';
import { manualPages } from './manual/pages.ts';

const root = path.dirname(import.meta.dirname);
const folder = path.resolve(process.argv[2] ?? path.join(root, 'dist', 'man'));
const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };

mkdirSync(folder, { recursive: true });
for (const { name, text } of manualPages(makeApplication(false).root, { version, date: date() })) {
  writeFileSync(path.join(folder, `${name}.1`), text);
}

function date(): string {
  const seconds = process.env['SOURCE_DATE_EPOCH'] ?? lastCommit();
  return new Date(Number(seconds) * 1000).toISOString().slice(0, 10);
}

function lastCommit(): string {
  return execFileSync('git', ['-C', root, 'log', '-1', '--format=%ct'], { encoding: 'utf8' });
}
