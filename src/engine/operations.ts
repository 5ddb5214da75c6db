import type { Context } from './context.ts';
import type { Control } from './control.ts';
import type { adopt } from './operations/adopt.ts';
import type { adoptTree } from './operations/adopt-tree.ts';
import type { removeOriginal, undoAdoption } from './operations/adopt-undo.ts';
import type { branch } from './operations/branch.ts';
import { clone } from './operations/clone.ts';
import { create } from './operations/create.ts';
import { diff } from './operations/diff.ts';
import type { exportImage } from './operations/export.ts';
import { grow } from './operations/grow.ts';
import { beginGuard, endGuard, failGuard, guards } from './operations/guard-records.ts';
import { hold, release } from './operations/hold.ts';
import type { importImage } from './operations/import.ts';
import { list, listSnapshots, path, show } from './operations/list.ts';
import type { mount, unmount } from './operations/mount.ts';
import { remove } from './operations/remove.ts';
import { rename } from './operations/rename.ts';
import { rollback } from './operations/rollback.ts';
import type { rollbackStopped } from './operations/rollback-stopped.ts';
import type { rollbackTogether } from './operations/rollback-together.ts';
import { seal } from './operations/seal.ts';
import { set, settings } from './operations/settings.ts';
import { snapshot } from './operations/snapshot.ts';
import type { snapshotAtRest } from './operations/snapshot-at-rest.ts';
import { snapshotTogether } from './operations/snapshot-together.ts';
import type { startBranch } from './operations/start-branch.ts';
import { tombstones } from './operations/tombstones.ts';
import { tree } from './operations/tree.ts';
import { usage } from './operations/usage.ts';
import type { verify } from './operations/verify.ts';
import type { applyPolicies } from './policy/apply.ts';
import type { policies } from './policy/policies.ts';
import type { verifyDue } from './policy/verify-due.ts';
import { checkPool } from './pools/check.ts';
import { describePool, vitals } from './pools/describe.ts';
import { sweep } from './sweep.ts';

/**
 * Every operation by its name: what a worker thread is asked for. Each runs whole in one thread.
 */
export interface Operations {
  readonly list: typeof list;
  readonly listSnapshots: typeof listSnapshots;
  readonly show: typeof show;
  readonly path: typeof path;
  readonly tree: typeof tree;
  readonly diff: typeof diff;
  readonly usage: typeof usage;
  readonly describe: typeof describePool;
  readonly vitals: typeof vitals;
  readonly tombstones: typeof tombstones;
  readonly check: typeof checkPool;
  readonly create: typeof create;
  readonly clone: typeof clone;
  readonly snapshot: typeof snapshot;
  readonly snapshotTogether: typeof snapshotTogether;
  readonly snapshotAtRest: typeof snapshotAtRest;
  readonly verify: typeof verify;
  readonly branch: typeof branch;
  readonly startBranch: typeof startBranch;
  readonly set: typeof set;
  readonly settings: typeof settings;
  readonly hold: typeof hold;
  readonly release: typeof release;
  readonly policies: (...args: Parameters<typeof policies>) => Promise<ReturnType<typeof policies>>;
  readonly applyPolicies: typeof applyPolicies;
  readonly verifyDue: typeof verifyDue;
  readonly mount: typeof mount;
  readonly unmount: typeof unmount;
  readonly rollback: typeof rollback;
  readonly rollbackStopped: typeof rollbackStopped;
  readonly rollbackTogether: typeof rollbackTogether;
  readonly rename: typeof rename;
  readonly grow: typeof grow;
  readonly beginGuard: typeof beginGuard;
  readonly endGuard: typeof endGuard;
  readonly failGuard: typeof failGuard;
  readonly guards: typeof guards;
  readonly seal: typeof seal;
  readonly remove: typeof remove;
  readonly import: typeof importImage;
  readonly adopt: typeof adopt;
  readonly adoptTree: typeof adoptTree;
  readonly undoAdoption: typeof undoAdoption;
  readonly removeOriginal: typeof removeOriginal;
  readonly export: typeof exportImage;
  readonly sweep: typeof sweep;
  readonly commit: (context: Context) => void;
}

export const operations: Operations = {
  list,
  listSnapshots,
  show,
  path,
  tree,
  diff,
  usage,
  describe: describePool,
  vitals,
  tombstones,
  check: checkPool,
  create,
  clone,
  snapshot,
  snapshotTogether,
  rollback,
  rename,
  grow,
  beginGuard,
  endGuard,
  failGuard,
  guards,
  seal,
  remove,
  // Loaded when they are wanted: what runs programs and hashes would slow down the start of every other command.
  import: async (...args) => (await import('./operations/import.ts')).importImage(...args),
  adopt: async (...args) => (await import('./operations/adopt.ts')).adopt(...args),
  rollbackStopped: async (...args) =>
    (await import('./operations/rollback-stopped.ts')).rollbackStopped(...args),
  rollbackTogether: async (...args) =>
    (await import('./operations/rollback-together.ts')).rollbackTogether(...args),
  verify: async (...args) => (await import('./operations/verify.ts')).verify(...args),
  branch: async (...args) => (await import('./operations/branch.ts')).branch(...args),
  startBranch: async (...args) => (await import('./operations/start-branch.ts')).startBranch(...args),
  adoptTree: async (...args) => (await import('./operations/adopt-tree.ts')).adoptTree(...args),
  undoAdoption: async (...args) => (await import('./operations/adopt-undo.ts')).undoAdoption(...args),
  removeOriginal: async (...args) => (await import('./operations/adopt-undo.ts')).removeOriginal(...args),
  snapshotAtRest: async (...args) =>
    (await import('./operations/snapshot-at-rest.ts')).snapshotAtRest(...args),
  mount: async (...args) => (await import('./operations/mount.ts')).mount(...args),
  unmount: async (...args) => (await import('./operations/mount.ts')).unmount(...args),
  set,
  settings,
  hold,
  release,
  policies: async (...args) => (await import('./policy/policies.ts')).policies(...args),
  applyPolicies: async (...args) => (await import('./policy/apply.ts')).applyPolicies(...args),
  verifyDue: async (...args) => (await import('./policy/verify-due.ts')).verifyDue(...args),
  export: async (...args) => (await import('./operations/export.ts')).exportImage(...args),
  sweep,
  commit: (context) => context.driver.commit(),
};

export type OperationName = keyof Operations;

type WithoutContext<F> = F extends (context: Context, ...args: infer A) => infer R
  ? (...args: A extends [...infer Rest, Control] ? Rest : A) => Awaited<R>
  : never;

export type OperationArguments<N extends OperationName> = Parameters<WithoutContext<Operations[N]>>;
export type OperationResult<N extends OperationName> = ReturnType<WithoutContext<Operations[N]>>;

/** These take as long as their data, report progress and can be cancelled. */
export const longOperations: ReadonlySet<OperationName> = new Set([
  'import',
  'adopt',
  'adoptTree',
  'undoAdoption',
  'removeOriginal',
  'export',
  'snapshotAtRest',
  'rollbackStopped',
  'rollbackTogether',
  'verify',
  'branch',
  'startBranch',
  'set',
  'policies',
  'applyPolicies',
  'verifyDue',
  'mount',
  'unmount',
]);

/** These go from one thing to the next, report each, and have no time in between in which a signal could reach them. */
export const countingOperations: ReadonlySet<OperationName> = new Set(['remove', 'usage']);

/** These usually take well under a millisecond, so several are given to a thread at once and answered together. */
export const quickOperations: ReadonlySet<OperationName> = new Set(['clone', 'create', 'rename', 'path']);

/** These are followed by a commit before they count as done. */
export const changes: ReadonlySet<OperationName> = new Set([
  'create',
  'clone',
  'snapshot',
  'snapshotTogether',
  'snapshotAtRest',
  'set',
  'beginGuard',
  'endGuard',
  'failGuard',
  'hold',
  'release',
  'verify',
  'branch',
  'mount',
  'unmount',
  'rollback',
  'rollbackStopped',
  'rollbackTogether',
  'rename',
  'grow',
  'seal',
  'remove',
  'import',
  'adopt',
  'adoptTree',
  'undoAdoption',
  'removeOriginal',
]);
