import { hasErrno } from '../../linux/system-calls.ts';
import { runZfs } from './command.ts';
import { type Layout, metadataProperty, nameProperty, splitSnapshot } from './layout.ts';
import { shareWithSnapshots } from './look-at-snapshots.ts';

/**
 * Everything in a pool, from one run of `zfs list` or two, however many volumes there are. To look for the snapshots of a dataset
 * takes half as long as to read the dataset, also where there are none. So where few have any, the datasets come first, which tell
 * it, and then the snapshots of those.
 */

/** What is asked for of each, by the name that it has here. */
const columns: Readonly<Record<keyof Row, string>> = {
  name: 'name',
  type: 'type',
  guid: 'guid',
  created: 'creation',
  createdIn: 'createtxg',
  bytes: 'volsize',
  logical: 'logicalreferenced',
  referenced: 'referenced',
  used: 'used',
  written: 'written',
  compressRatio: 'compressratio',
  origin: 'origin',
  previous: 'prevsnap',
  deferred: 'defer_destroy',
  metadata: metadataProperty,
  volume: nameProperty,
};

export interface Row {
  readonly name: string;
  readonly type: string;
  readonly guid: string;
  readonly created: string;
  readonly createdIn: string;
  readonly bytes: string;
  readonly logical: string;
  readonly referenced: string;
  readonly used: string;
  readonly written: string;
  readonly compressRatio: string;
  readonly origin: string;
  /** Of a dataset, its last snapshot; where it has none, its origin. */
  readonly previous: string;
  readonly deferred: string;
  readonly metadata: string;
  readonly volume: string;
}

export interface Table {
  readonly rows: ReadonlyMap<string, Row>;
  /** The snapshots of each dataset. */
  readonly snapshots: ReadonlyMap<string, readonly Row[]>;
  /** The datasets that were cloned from each snapshot. */
  readonly clones: ReadonlyMap<string, readonly string[]>;
}

/** Of the volumes, the share that has snapshots from which on one run is faster than two. */
const many = 0.3;

/** How often it looks again when names were exchanged while it looked. */
const patience = 5;

export function readTable({ dataset }: Layout): Table {
  const haveFew = shareWithSnapshots(dataset) < many;
  for (let attempt = 1; ; attempt++) {
    const read = haveFew && attempt === 1 ? readInTwo(dataset) : listAll(dataset, everything);
    if (read && (isWhole(dataset, read) || attempt === patience)) return tableOf(read);
  }
}

function tableOf(read: readonly Row[]): Table {
  const rows = new Map<string, Row>();
  const snapshots = new Map<string, Row[]>();
  const clones = new Map<string, string[]>();
  for (const row of read) {
    const [parent, snapshot] = splitSnapshot(row.name);
    if (snapshot === '') rows.set(row.name, row);
    else append(snapshots, parent, row);
    if (row.origin !== '-') append(clones, row.origin, row.name);
  }
  return { rows, snapshots, clones };
}

const everything = 'filesystem,volume,snapshot';

/**
 * Whether all snapshots are there that what was read refers to. They are not when a rollback has exchanged names or moved snapshots
 * meanwhile: then volumes would seem to have none, and clones to come from nowhere.
 */
function isWhole(dataset: string, read: readonly Row[]): boolean {
  const names = new Set(read.map(({ name }) => name));
  return read.every(({ name, previous, origin }) =>
    [name === dataset ? '-' : previous, origin].every(
      (each) => !each.startsWith(`${dataset}/`) || names.has(each),
    ),
  );
}

/** The datasets, then the snapshots of those that have any; undefined when one of them was removed or renamed meanwhile. */
function readInTwo(dataset: string): readonly Row[] | undefined {
  const datasets = listAll(dataset, 'filesystem,volume');
  const names = datasets
    .filter(({ name, previous, origin }) => name !== dataset && previous !== '-' && previous !== origin)
    .map(({ name }) => name);
  if (names.length === 0) return datasets;
  if (names.length > datasets.length * many) return [...datasets, ...listAll(dataset, 'snapshot')];
  try {
    return [...datasets, ...list(['-d', '1', '-t', 'snapshot'], names)];
  } catch (error) {
    if (error instanceof Error && hasErrno(error.cause, 'ETIMEDOUT')) throw error;
    return undefined;
  }
}

function listAll(dataset: string, types: string): Row[] {
  return list(['-r', '-t', types], [dataset]);
}

function list(options: readonly string[], names: readonly string[]): Row[] {
  const output = runZfs('zfs', ['list', '-Hp', ...options, '-o', Object.values(columns).join(), ...names]);
  return output.split('\n').filter(Boolean).map(parseRow);
}

function append<T>(lists: Map<string, T[]>, key: string, value: T): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

function parseRow(line: string): Row {
  const values = line.split('\t');
  const fields = Object.keys(columns).map((field, index) => [field, values[index] ?? '-']);
  return Object.fromEntries(fields) as Row;
}
