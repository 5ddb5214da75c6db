import { datasetExists } from '../../linux/zfs-core.ts';
import { dataOf, entryIdOf, type Layout, lastPart, nameProperty, workProperty } from './layout.ts';
import { childrenOf, lookAt } from './look.ts';
import { decodeProperty, describeDataset } from './metadata.ts';

/**
 * The former states of volumes that were rolled back. They are kept because of the snapshots on them, and carry the id of the staged
 * entry that replaced them.
 */

/** Those of a volume. */
export function branchesOf({ branches }: Layout, volumeId: string): readonly string[] {
  return childrenOf(branches).filter((name) => lastPart(name).startsWith(`${volumeId}.`));
}

/** Whether the rollback that has made a branch is under way, or was interrupted. */
export function isStaged({ staging }: Layout, branch: string): boolean {
  const name = lastPart(branch);
  return datasetExists(`${staging}/${name.slice(name.lastIndexOf('.') + 1)}`);
}

/** The state that the rollback of a staged entry has replaced. */
export function replacedBy({ branches }: Layout, id: string): string | undefined {
  return childrenOf(branches).find((name) => name.endsWith(`.${id}`));
}

/** Where a volume is that was rolled back: under the name that it had then, or another by now. */
export function datasetOf(layout: Layout, volumeId: string, branch: string): string | undefined {
  const { dataset } = layout;
  const named = lookAt(branch)?.[nameProperty];
  const isIt = (name: string): boolean => {
    const metadata = datasetExists(name) ? describeDataset(layout, name) : undefined;
    return metadata?.type === 'volume' && metadata.id === volumeId;
  };
  const first = `${dataset}/${named ?? ''}`;
  if (named !== undefined && isIt(first)) return first;
  return childrenOf(dataset).find(isIt);
}

/** Rollbacks that have put the old state aside and not the new one in its place. */
export function halfExchanged({
  branches: parent,
  staging,
}: Layout): ReadonlyArray<{ readonly id: string; readonly volume: string }> {
  const branches = childrenOf(parent).map(lastPart);
  if (branches.length === 0) return [];
  const ids = childrenOf(staging)
    .filter((name) => name === dataOf(`${staging}/${entryIdOf(name)}`))
    .map(entryIdOf)
    .filter((id) => branches.some((branch) => branch.endsWith(`.${id}`)));
  return ids.flatMap((id) => {
    const entry = `${staging}/${id}`;
    const intent = decodeProperty(lookAt(entry)?.[workProperty]);
    return intent?.type === 'rollback' ? [{ id, volume: intent.volume }] : [];
  });
}
