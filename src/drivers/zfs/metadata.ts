import { type Metadata, rememberedAncestors, type VolumeMetadata } from '../../model/metadata.ts';
import { decodeMetadata, encodeMetadata } from '../../model/metadata-text.ts';
import { isName } from '../../model/names.ts';
import { isInternal, type Layout, lastPart, metadataProperty, splitSnapshot } from './layout.ts';
import { type Ancestry, ancestryOf, lookAt, type Properties } from './look.ts';

/** Only ASCII, because that is all that ZFS prints in every locale. */
export function encodeProperty(metadata: Metadata): string {
  return encodeMetadata(metadata).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function decodeProperty(text: string | undefined): Metadata | undefined {
  return text === undefined || text === '' || text === '-' ? undefined : decodeMetadata(Buffer.from(text));
}

/** What a dataset says of itself; undefined where there is none, or where it is not Coppice's. */
export function describeDataset(layout: Layout, dataset: string): Metadata | undefined {
  const found = lookAt(dataset);
  return found && describe(layout, dataset, found);
}

/** The same for who has read its properties already. */
export function describe(
  layout: Layout,
  dataset: string,
  properties: Properties | undefined,
): Metadata | undefined {
  const own = properties?.[metadataProperty];
  if (own !== undefined) return decodeProperty(own);
  return isName(nameOf(layout, dataset)) ? volumeMetadata(layout, ancestryOf(dataset)) : undefined;
}

/**
 * The metadata of a volume: what it says itself or, of a clone that was made in one step and so has no properties yet, what follows
 * from what ZFS knows of it. Undefined for what is not Coppice's.
 * @param ancestry the dataset, then what it was cloned from
 */
export function volumeMetadata(layout: Layout, ancestry: readonly Ancestry[]): Metadata | undefined {
  const [self, ...others] = ancestry;
  if (!self) return undefined;
  if (self.metadata !== '') return decodeProperty(self.metadata);
  const [dataset, snapshot] = splitSnapshot(self.origin);
  // Somebody's own clone of what is ours is his: ours are made of snapshots that Coppice has made.
  const origin = decodeProperty(self.originMetadata);
  const isOurs = isInternal(snapshot) || origin?.type === 'snapshot';
  if (self.origin === '' || !isOurs || !dataset.startsWith(`${layout.dataset}/`)) return undefined;
  if (!isName(nameOf(layout, self.name))) return undefined;
  const parent = volumeMetadata(layout, others);
  if (parent?.type !== 'volume') return undefined;
  const name = others[0]?.volume || nameOf(layout, dataset);
  const created = new Date(Number(self.created) * 1000).toISOString();
  return cloneMetadata({ guid: self.guid, created, parent, name, snapshot });
}

/**
 * What a clone that has no properties says of itself.
 * @param clone `name` is that of its parent, and `snapshot` the one that it was made from
 */
export function cloneMetadata(clone: {
  readonly guid: string;
  readonly created: string;
  readonly parent: VolumeMetadata;
  readonly name: string;
  readonly snapshot: string;
}): VolumeMetadata {
  const { guid, created, parent, name, snapshot } = clone;
  const origin = { id: parent.id, name, ...(!isInternal(snapshot) && { snapshot }) };
  return {
    type: 'volume',
    id: derivedId(guid),
    kind: parent.kind,
    created,
    origin: [origin, ...parent.origin].slice(0, rememberedAncestors),
    method: 'snapshot',
  };
}

/** The same for every copy of this dataset's stream, and for no other dataset. */
function derivedId(guid: string): string {
  return BigInt.asUintN(64, BigInt(guid)).toString(16).padStart(16, '0');
}

/** What people call the volume that a dataset is, or was before it was removed. */
export function nameOf({ tombstones }: Layout, dataset: string): string {
  const name = lastPart(dataset);
  return dataset.startsWith(`${tombstones}/`) ? name.slice(0, name.lastIndexOf('.')) : name;
}
