import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../src/linux/programs.ts';
import { type Measured, measured, time } from './support/measure.ts';
import { type BenchPool, benchPool, makeImage } from './support/pool.ts';

const volumes = 20_000;
const rounds = 9;
const cli = join(import.meta.dirname, '..', 'dist', 'cli.js');

/**
 * Listing a pool of 20,000 volumes: in a program that uses the library in worker threads, and as a whole `coppice list --json`
 * process, from its start to the end of what it writes into a pipe.
 */
export async function scaleList(): Promise<Measured[]> {
  await using bench = await benchPool();
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await bench.pool.cloneMany('template', 'vm', volumes - 1);
  const [library, processes, memory]: [number[], number[], number[]] = [[], [], []];
  await bench.pool.list();
  for (let round = 0; round < rounds; round++) {
    library.push(await time(async () => requireAll((await bench.pool.list()).length)));
    processes.push(await time(() => listInShell(bench)));
    memory.push(memoryOfList(bench));
  }
  return [
    measured('scale-list, library', 'ms', library, { atMost: 300 }),
    measured('scale-list, coppice list --json', 'ms', processes, { atMost: 600 }),
    measured('scale-list, its memory', 'MiB', memory, { atMost: 200 }),
  ];
}

function listInShell({ path }: BenchPool): void {
  const script = '"$1" "$2" list --json --pool "$3" | grep -c \'"name": "vm-\'';
  const found = runProgram('sh', ['-c', script, 'sh', process.execPath, cli, path]);
  requireAll(Number(found) + 1);
}

/** The most memory that the process had, in MiB, as it says at its end; in a run of its own, because to load that takes time. */
function memoryOfList({ path, host }: BenchPool): number {
  const [report, answer] = [join(host, 'report.cjs'), join(host, 'memory')];
  const atExit = `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(answer)}, String(process.resourceUsage().maxRSS)));`;
  writeFileSync(report, atExit);
  const script = '"$1" --require "$2" "$3" list --json --pool "$4" | cat >/dev/null';
  runProgram('sh', ['-c', script, 'sh', process.execPath, report, cli, path]);
  return Number(readFileSync(answer, 'utf8')) / 1024;
}

function requireAll(found: number): void {
  if (found !== volumes) throw new Error(`${found} of ${volumes} volumes are listed.`);
}
