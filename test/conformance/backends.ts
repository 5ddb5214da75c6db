import { makeTestPool, type TestPool, type TestPoolOptions } from '../support/test-pool.ts';

/** What the suite runs on. A new driver is one more entry; the cases stay as they are. */
export interface Backend {
  readonly name: string;
  /** What it can do; a text says why it can't. A case compares this with what a pool says of itself. */
  readonly capabilities: Readonly<Record<string, true | string>>;
  makePool(options?: TestPoolOptions): Promise<TestPool>;
}

export const backends: readonly Backend[] = [
  {
    name: 'btrfs',
    capabilities: {
      blockVolumes: true,
      treeVolumes: 'Tree volumes are not built yet.',
      constantTimeClone: true,
      snapshots: true,
      sameInstantSnapshots:
        'A btrfs snapshot covers one subvolume, so several volumes share an instant only if their writers are stopped.',
      incrementalStreams:
        'Streams are not built yet; clones made with --replicable keep the lineage that they will need.',
    },
    makePool: makeTestPool,
  },
];
