import type { Name } from '../../model/names.ts';
import type { RecordDetail, SnapshotRecord } from '../driver.ts';
import { branchesOf } from './branches.ts';
import { exclusiveOfSnapshot, remembering } from './exclusive.ts';
import { isInternal, metadataProperty, splitSnapshot } from './layout.ts';
import { countedAt, snapshotsWith } from './look-at-snapshots.ts';
import { decodeProperty, describeDataset } from './metadata.ts';
import type { Places } from './places.ts';

/** The snapshots of one volume, wherever in its line they are. Asked of the kernel, because a process for each would take longer. */
export function snapshotsOf(places: Places, volume: Name, detail?: RecordDetail): SnapshotRecord[] {
  const { dataset } = places.layout;
  const name = `${dataset}/${volume}`;
  const metadata = describeDataset(places.layout, name);
  const line = metadata?.type === 'volume' ? [name, ...branchesOf(places.layout, metadata.id)] : [name];
  const wanted = [
    'volsize',
    'logicalreferenced',
    'createtxg',
    ...(detail === 'usage' ? ['referenced', 'used'] : []),
  ];
  const count = remembering(countedAt);
  return snapshotsWith(line, wanted).flatMap(({ name: full, values, properties, hasClones }) => {
    const [, snapshot] = splitSnapshot(full);
    if (isInternal(snapshot)) return [];
    const own = decodeProperty(properties[metadataProperty]);
    const record: SnapshotRecord = {
      name: snapshot,
      metadata: own?.type === 'snapshot' ? { ...own, generation: values['createtxg'] ?? '0' } : undefined,
      bytes: numberIn(values['volsize'] ?? values['logicalreferenced']),
      allocatedBytes: numberIn(values['referenced']),
      measured:
        values['used'] === undefined
          ? undefined
          : {
              exclusiveBytes: exclusiveOfSnapshot(
                places.layout,
                { name: full, used: Number(values['used']), hasClones },
                count,
              ),
              at: new Date().toISOString(),
            },
    };
    return [record];
  });
}

function numberIn(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}
