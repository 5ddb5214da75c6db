import type { SnapshotMetadata } from '../../model/metadata.ts';
import type { SnapshotRecord, VolumeRecord } from '../driver.ts';
import { type Counted, exclusiveOf, exclusiveOfSnapshot, isVisible } from './exclusive.ts';
import { type Layout, lastPart, splitSnapshot } from './layout.ts';
import type { Ancestry } from './look.ts';
import { decodeProperty, volumeMetadata } from './metadata.ts';
import { type Row, readTable, type Table } from './table.ts';

/** All volumes, each with its snapshots. */
export function volumesIn(layout: Layout, table: Table = readTable(layout)): VolumeRecord[] {
  const branches = branchesIn(layout, table);
  const children = [...table.rows.values()].filter(
    ({ name }) =>
      name.startsWith(`${layout.dataset}/`) && !name.slice(layout.dataset.length + 1).includes('/'),
  );
  const records = children
    .filter(({ name }) => name !== layout.own)
    .map((row) => volumeRecord(layout, table, branches, row, lastPart(row.name)));
  return [...records, ...halfExchanged(layout, table, branches, records)];
}

type Branches = ReadonlyMap<string, readonly Row[]>;

/** The former states of each volume, by its id. */
function branchesIn(layout: Layout, table: Table): Branches {
  const rows = [...table.rows.values()].filter(({ name }) => name.startsWith(`${layout.branches}/`));
  return Map.groupBy(rows, ({ name }) => lastPart(name).slice(0, lastPart(name).lastIndexOf('.')));
}

/** A rollback that has put the old state aside and not the new one in its place, at this moment or because its process died. */
function halfExchanged(
  layout: Layout,
  table: Table,
  branches: Branches,
  records: readonly VolumeRecord[],
): VolumeRecord[] {
  const present = new Set(
    records.map(({ metadata }) => (metadata?.type === 'volume' ? metadata.id : undefined)),
  );
  return [...branches].flatMap(([id, rows]) => {
    if (present.has(id)) return [];
    return rows.flatMap((row) => {
      const entry = lastPart(row.name).slice(id.length + 1);
      const isStaged = table.rows.has(`${layout.staging}/${entry}`);
      const name = row.volume;
      return isStaged && name !== '-' ? [volumeRecord(layout, table, branches, row, name)] : [];
    });
  });
}

function volumeRecord(
  layout: Layout,
  table: Table,
  branches: Branches,
  row: Row,
  name: string,
): VolumeRecord {
  const metadata = volumeMetadata(layout, ancestryIn(table, row));
  const line =
    metadata?.type === 'volume'
      ? [row, ...(branches.get(metadata.id) ?? []).filter((branch) => branch !== row)]
      : [row];
  const snapshotRecords = line.flatMap((dataset) =>
    (table.snapshots.get(dataset.name) ?? [])
      .filter(({ name: snapshot, deferred }) => isVisible({ name: snapshot, deferred: deferred === 'on' }))
      .map((snapshot) => snapshotRecord(table, snapshot, dataset)),
  );
  return {
    name,
    metadata: metadata?.type === 'volume' ? metadata : undefined,
    ...sizes(
      row,
      exclusiveOf(layout, row.name, (each) => countedIn(table, each)),
    ),
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
    snapshots: (table.snapshots.get(dataset) ?? []).map(({ name, used, deferred }) => ({
      name,
      used: number(used) ?? 0,
      deferred: deferred === 'on',
      clones: table.clones.get(name) ?? [],
    })),
  };
}

function snapshotRecord(table: Table, row: Row, dataset: Row): SnapshotRecord {
  // A snapshot inherits what its dataset says, which is something else.
  const own = row.metadata === dataset.metadata ? undefined : decodeProperty(row.metadata);
  return {
    name: splitSnapshot(row.name)[1],
    metadata: own?.type === 'snapshot' ? withGeneration(own, row.createdIn) : undefined,
    ...sizes(row, exclusiveOfSnapshot(number(row.used) ?? 0, table.clones.has(row.name))),
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
