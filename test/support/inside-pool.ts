import { type Context, createContext } from '../../src/engine/context.ts';
import { holdSnapshot, holdVolume } from '../../src/engine/holding.ts';
import { openPoolRoot } from '../../src/engine/pools/open.ts';
import type { SnapshotMetadata } from '../../src/model/metadata.ts';
import { parseSnapshotReference } from '../../src/model/names.ts';

/** Works on a pool below its public surface, as another process would, for what no public way leads to. */
export async function insidePool<T>(path: string, work: (context: Context) => T | Promise<T>): Promise<T> {
  using root = openPoolRoot(path);
  using context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, true);
  return await work(context);
}

/** Changes what a snapshot says of itself. */
export function remark(
  path: string,
  reference: string,
  change: (metadata: SnapshotMetadata) => SnapshotMetadata,
): Promise<void> {
  return insidePool(path, (context) => {
    const { volume: name, snapshot } = parseSnapshotReference(reference);
    using volume = holdVolume(context, name, 'shared');
    using held = holdSnapshot(context, volume, snapshot, 'exclusive');
    const metadata = context.driver.read(held);
    if (metadata?.type !== 'snapshot') throw new Error(`${reference} says nothing of itself`);
    context.driver.write(held, change(metadata));
    context.driver.commit();
  });
}
