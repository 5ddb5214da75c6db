import { Dataset } from '../../linux/libzfs.ts';
import { payloadIdOf } from '../../model/metadata.ts';
import type { PayloadState, PayloadUsage } from '../driver.ts';
import { exclusiveOf, exclusiveOfSnapshot } from './exclusive.ts';
import type { HeldDataset } from './held.ts';
import { type Layout, splitSnapshot } from './layout.ts';
import { propertiesOf } from './look.ts';
import { countedAt } from './look-at-snapshots.ts';
import { required } from './make.ts';
import { describeDataset } from './metadata.ts';
import type { Places } from './places.ts';

/** What ZFS says of the data of a volume or snapshot; undefined where there is none, or none of its kind. */
export function inspect(places: Places, held: HeldDataset): PayloadState | undefined {
  const { dataset } = held;
  if (dataset === undefined) return undefined;
  const [parent, snapshot] = splitSnapshot(dataset);
  const metadata = places.read(held);
  const wanted = ['volsize', 'logicalreferenced', 'readonly', 'createtxg'] as const;
  const found = propertiesOf(dataset, wanted);
  // What somebody has put in its place, of another kind.
  if ((found.volsize === undefined) !== (places.kindOf(held) === 'tree')) return undefined;
  const state = {
    bytes: Number(found.volsize ?? found.logicalreferenced),
    isWhole: true,
    createdIn: found.createtxg ?? '0',
  };
  if (snapshot !== '') {
    const of = describeDataset(places.layout, parent);
    const identity = of?.type === 'volume' ? payloadIdOf(of) : undefined;
    // Nothing can change a snapshot of ZFS.
    const taken = metadata?.type === 'snapshot' ? metadata.generation : state.createdIn;
    return { ...state, readOnly: true, identity, createdIn: taken, changedIn: taken };
  }
  return {
    ...state,
    readOnly: found.readonly === 'on',
    identity: metadata?.type === 'volume' ? payloadIdOf(metadata) : undefined,
    // Clones of a template are made from a snapshot, which nobody can change, whatever is done to the template itself.
    changedIn: metadata?.type === 'volume' && metadata.sealed ? metadata.sealed.generation : state.createdIn,
  };
}

/** What it takes, counted by ZFS as it happens. */
export function usage(layout: Layout, held: HeldDataset): PayloadUsage {
  const dataset = required(held);
  const wanted = ['volsize', 'logicalreferenced', 'referenced', 'used', 'compressratio'] as const;
  const found = propertiesOf(dataset, wanted);
  const exclusive = dataset.includes('@')
    ? exclusiveOfSnapshot(
        layout,
        { name: dataset, used: Number(found.used ?? 0), hasClones: hasClones(dataset) },
        countedAt,
      )
    : exclusiveOf(layout, dataset, countedAt);
  return {
    logicalBytes: Number(found.volsize ?? found.logicalreferenced ?? 0),
    referencedBytes: Number(found.referenced ?? 0),
    exclusiveBytes: exclusive,
    compressRatio: Number(found.compressratio ?? 1),
  };
}

function hasClones(snapshot: string): boolean {
  using found = Dataset.open(snapshot);
  return (found?.clones() ?? []).length > 0;
}
