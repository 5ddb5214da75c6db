import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { metadataAttribute } from '../../src/drivers/directory/places.ts';
import { CoppiceError, type Finding, openPool, type Pool } from '../../src/index.ts';
import { readAttributeByPath } from '../../src/linux/attributes.ts';
import { decodeMetadata } from '../../src/model/metadata-text.ts';
import { digest } from './content.ts';

/**
 * Everything that a pool holds, as sorted lines to compare: what it is called, what it is, how long its disk is and the digest
 * of every byte. Names made from the time lose it.
 */
export type State = readonly string[];

export type Kind = 'template' | 'volume' | 'user' | 'rollback' | 'policy';

export function line(reference: string, kind: Kind, content: Buffer): string {
  return `${reference} ${kind} ${content.length} ${digest(content)}`;
}

export function withLines(state: State, ...lines: string[]): State {
  return [...state, ...lines].sort();
}

export function without(state: State, ...references: string[]): State {
  return state.filter((entry) => !references.includes(entry.split(' ', 1)[0] ?? ''));
}

export async function readState(pool: Pool): Promise<State> {
  const lines: string[] = [];
  for (const volume of await pool.list()) {
    lines.push(await describe(pool, volume.name, volume.type));
    if (volume.snapshots === 0) continue;
    for (const snapshot of await pool.listSnapshots(volume.name))
      lines.push(await describe(pool, snapshot.reference, snapshot.reason ?? 'foreign'));
  }
  return [...lines, ...records(pool.path), ...originals(pool.path)].sort();
}

/** The files beside a pool, from which it makes disks: a crash must leave each as it was, or a disk in its place. */
function originals(path: string): string[] {
  const directory = originalsIn(path);
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((file) => original(file, readFileSync(join(directory, file))));
}

export function originalsIn(path: string): string {
  return join(path, 'originals');
}

export function original(file: string, content: Buffer): string {
  return `originals/${file} ${content.length} ${digest(content)}`;
}

async function describe(pool: Pool, reference: string, kind: string): Promise<string> {
  const name = timeless(reference);
  try {
    const content = contentOf(await pool.diskPath(reference));
    return `${name} ${kind} ${content.length} ${digest(content)}`;
  } catch (error) {
    if (!(error instanceof CoppiceError && error.code === 'damaged')) throw error;
    return `${name} ${kind} gone`;
  }
}

/** Of a disk every byte; of a directory tree every path, and every byte of its files. */
function contentOf(path: string): Buffer {
  if (!statSync(path).isDirectory()) return readFileSync(path);
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).sort();
  return treeBytes(
    files.flatMap((file) =>
      statSync(join(path, file)).isFile() ? [[file, readFileSync(join(path, file))]] : [],
    ),
  );
}

/** What `line` takes for a directory tree: its files, in the order of their names. */
export function treeBytes(files: ReadonlyArray<readonly [name: string, content: Buffer]>): Buffer {
  return Buffer.concat(
    files.flatMap(([name, content]) => [Buffer.from(`${name}\0${content.length}\0`), content]),
  );
}

function timeless(reference: string): string {
  return reference.replace(/@(pre-rollback|snap|auto)-\d{8}-\d{6}/, '@$1');
}

/** The records of lineage that removed volumes leave. */
function records(path: string): string[] {
  const directory = join(path, '.tombstones');
  return readdirSync(directory).map((id) => {
    const bytes = readAttributeByPath(join(directory, id), metadataAttribute);
    const metadata = bytes && decodeMetadata(bytes);
    const data = readdirSync(join(directory, id)).join();
    return `${metadata && 'name' in metadata ? metadata.name : id} ${metadata?.type ?? 'unknown'}${data && ` with ${data}`}`;
  });
}

/** What must be true of a pool after every crash, once it has been opened again. */
export async function expectSound(pool: Pool, damaged: readonly string[] = []): Promise<void> {
  expect(readdirSync(join(pool.path, '.staging')), 'in staging').toEqual([]);
  const description = await pool.describe();
  const findings = (await pool.check()).filter(
    // How much space the machine has that runs the tests is not what they are about.
    (finding: Finding) =>
      finding.subject !== description.space.host?.path &&
      finding.subject !== originalsIn(pool.path) &&
      !damaged.includes(timeless(finding.subject)),
  );
  expect(findings, 'found by the check').toEqual([]);
}

/** Opens a pool as the next process would, which clears up, and looks at everything. */
export async function stateWhenOpened(path: string, damaged?: readonly string[]): Promise<State> {
  await using pool = await openPool(path, { inline: true });
  await expectSound(pool, damaged);
  return await readState(pool);
}
