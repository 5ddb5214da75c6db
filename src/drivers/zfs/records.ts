import type { SnapshotMetadata } from '../../model/metadata.ts';
import type { SnapshotRecord, VolumeRecord } from '../driver.ts';
import {
  type Count,
  type Counted,
  exclusiveOf,
  exclusiveOfSnapshot,
  isVisible,
  remembering,
} from './exclusive.ts';
import { type Layout, lastPart, splitSnapshot } from './layout.ts';
import type { Ancestry } from './look.ts';
import { decodeProperty, volumeMetadata } from './metadata.ts';
import { type Row, readTable, type Table } from './table.ts';

/** All volumes, each with its snapshots. */
export function volumesIn(layout: Layout, table: Table = readTable(layout)): VolumeRecord[] {
  const branches = branchesIn(layout, table);
  const look: Look = { layout, table, branches, count: remembering((name) => countedIn(table, name)) };
  const children = [...table.rows.values()].filter(
    ({ name }) =>
      name.startsWith(`${layout.dataset}/`) && !name.slice(layout.dataset.length + 1).includes('/'),
  );
  const records = children
    .filter(({ name }) => name !== layout.own)
    .map((row) => volumeRecord(look, row, lastPart(row.name)));
  return [...records, ...halfExchanged(look, records)];
}

/** What was read of a pool. */
interface Look {
  readonly layout: Layout;
  readonly table: Table;
  readonly branches: Branches;
  readonly count: Count;
}

type Branches = ReadonlyMap<string, readonly Row[]>;

/** The former states of each volume, by its id. */
function branchesIn(layout: Layout, table: Table): Branches {
  const rows = [...table.rows.values()].filter(({ name }) => name.startsWith(`${layout.branches}/`));
  return Map.groupBy(rows, ({ name }) => lastPart(name).slice(0, lastPart(name).lastIndexOf('.')));
}

/** A rollback that has put the old state aside and not the new one in its place, at this moment or because its process died. */
function halfExchanged(look: Look, records: readonly VolumeRecord[]): VolumeRecord[] {
  const { layout, table, branches } = look;
  const present = new Set(
    records.map(({ metadata }) => (metadata?.type === 'volume' ? metadata.id : undefined)),
  );
  return [...branches].flatMap(([id, rows]) => {
    if (present.has(id)) return [];
    return rows.flatMap((row) => {
      const entry = lastPart(row.name).slice(id.length + 1);
      const isStaged = table.rows.has(`${layout.staging}/${entry}`);
      const name = row.volume;
      return isStaged && name !== '-' ? [volumeRecord(look, row, name)] : [];
    });
  });
}

function volumeRecord(look: Look, row: Row, name: string): VolumeRecord {
  const { layout, table, branches, count } = look;
  const metadata = volumeMetadata(layout, ancestryIn(table, row));
  const line =
    metadata?.type === 'volume'
      ? [row, ...(branches.get(metadata.id) ?? []).filter((branch) => branch !== row)]
      : [row];
  const snapshotRecords = line.flatMap((dataset) =>
    (table.snapshots.get(dataset.name) ?? [])
      .filter(({ name: snapshot, deferred }) => isVisible({ name: snapshot, deferred: deferred === 'on' }))
      .map((snapshot) => snapshotRecord(look, snapshot, dataset)),
  );
  return {
    name,
    metadata: metadata?.type === 'volume' ? metadata : undefined,
    ...sizes(row, exclusiveOf(layout, row.name, count)),
    snapshots: snapshotRecords.length,
    snapshotRecords,
  };
}

function countedIn(table: Table, dataset: string): Counted | undefined {
  const row = table.rows.get(dataset);
  if (!row) return undefined;
  return {
    used: number(row.used) ?? 0,
    written: number(row.written) ?? 0,
    origin: own(row.origin),
    snapshots: inOrder(table.snapshots.get(dataset) ?? []).map(({ name, used, written, deferred }) => ({
      name,
      used: number(used) ?? 0,
      written: number(written) ?? 0,
      deferred: deferred === 'on',
      clones: table.clones.get(name) ?? [],
    })),
  };
}

function inOrder(snapshots: readonly Row[]): readonly Row[] {
  return snapshots.toSorted((a, b) => Number(a.createdIn) - Number(b.createdIn));
}

function snapshotRecord({ layout, table, count }: Look, row: Row, dataset: Row): SnapshotRecord {
  // A snapshot inherits what its dataset says, which is something else.
  const own = row.metadata === dataset.metadata ? undefined : decodeProperty(row.metadata);
  return {
    name: splitSnapshot(row.name)[1],
    metadata: own?.type === 'snapshot' ? withGeneration(own, row.createdIn) : undefined,
    ...sizes(
      row,
      exclusiveOfSnapshot(
        layout,
        { name: row.name, used: number(row.used) ?? 0, hasClones: table.clones.has(row.name) },
        count,
      ),
    ),
  };
}

/** The order of snapshots is ZFS's own, and needs no record. */
export function withGeneration(metadata: SnapshotMetadata, createtxg: string): SnapshotMetadata {
  return { ...metadata, generation: createtxg };
}

/** What only this one refers to, ZFS counts as it happens: there is nothing to measure, and nothing gets out of date. */
function sizes(
  row: Row,
  exclusiveBytes: number | undefined,
): Pick<SnapshotRecord, 'bytes' | 'allocatedBytes' | 'measured' | 'compressRatio'> {
  const bytes = number(row.bytes) ?? number(row.logical);
  const ratio = Number.parseFloat(row.compressRatio);
  return {
    bytes,
    allocatedBytes: number(row.referenced),
    measured: exclusiveBytes === undefined ? undefined : { exclusiveBytes, at: new Date().toISOString() },
    ...(Number.isFinite(ratio) && { compressRatio: ratio }),
  };
}

function number(text: string): number | undefined {
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The same answer as `ancestryOf` gives, from what was read already. */
function ancestryIn(table: Table, row: Row): Ancestry[] {
  const found: Ancestry[] = [];
  for (let next: Row | undefined = row; next; ) {
    const [dataset] = splitSnapshot(next.origin);
    const origin = (table.snapshots.get(dataset) ?? []).find(({ name }) => name === next?.origin);
    const metadata = own(next.metadata);
    const parent = table.rows.get(dataset);
    const originMetadata = own(origin?.metadata ?? '-');
    found.push({
      name: next.name,
      guid: next.guid,
      created: next.created,
      origin: own(next.origin),
      metadata,
      originMetadata: originMetadata === own(parent?.metadata ?? '-') ? '' : originMetadata,
      volume: own(next.volume),
    });
    if (metadata !== '' && found.length > 1) break;
    next = parent;
  }
  return found;
}

function own(value: string): string {
  return value === '-' ? '' : value;
}
