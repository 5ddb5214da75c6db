import type { ErrorCode } from '../../src/index.ts';

/**
 * What a pool should do, as a function on plain values: given a state and an operation with its result, the state after it, or
 * nothing when that result can't be explained.
 */

const isOnZfs = process.env['COPPICE_TEST_BACKENDS'] === 'zfs';

/** What sizes of disks are multiples of: that of zvols is larger. */
export const blockBytes: number = isOnZfs ? 16384 : 4096;

/** Whether there are volumes that are directories. */
export const hasTrees: boolean = isOnZfs;

/** How many files a directory may have; each stands for a block of a disk. */
export const filesInTree = 8;

/** Bytes, and what was written to which of its blocks; a directory has no size. */
export interface Disk {
  readonly bytes: number;
  readonly written: Readonly<Record<string, number>>;
}

export interface ModelVolume extends Disk {
  /** Present only of a directory. */
  readonly tree?: true;
  readonly sealed: boolean;
  readonly snapshots: Readonly<Record<string, Disk>>;
}

export type ModelState = Readonly<Record<string, ModelVolume>>;

export type Operation =
  | { readonly kind: 'create'; readonly name: string; readonly blocks: number; readonly tree?: true }
  | { readonly kind: 'clone'; readonly source: string; readonly snapshot?: string; readonly name: string }
  | { readonly kind: 'seal'; readonly source: string; readonly name: string }
  | { readonly kind: 'rename'; readonly source: string; readonly name: string }
  | { readonly kind: 'grow'; readonly name: string; readonly blocks: number }
  | { readonly kind: 'snapshot'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'rollback'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'removeSnapshot'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'remove'; readonly name: string; readonly withSnapshots: boolean }
  /** What a guest does: one block, and a number that stands for its content. */
  | { readonly kind: 'write'; readonly name: string; readonly block: number; readonly seed: number }
  /** An image of so many blocks, the first of which has this content. */
  | { readonly kind: 'import'; readonly name: string; readonly blocks: number; readonly seed: number }
  | { readonly kind: 'export'; readonly name: string; readonly snapshot?: string }
  | Together;

/** Several at once: all or none. */
export type Together =
  | { readonly kind: 'snapshotTogether'; readonly names: readonly string[]; readonly snapshot: string }
  | {
      readonly kind: 'removeTogether';
      readonly references: readonly string[];
      readonly withSnapshots: boolean;
    };

export type Single = Exclude<Operation, Together>;

export interface Success {
  readonly bytes?: number;
  readonly previousBytes?: number;
  readonly undo?: string;
  /** What an export wrote. */
  readonly exported?: Disk;
}

/** What an operation said: a failure by its code, or the facts of a success. */
export type Outcome = { readonly failed: ErrorCode; readonly message: string } | Success;

/**
 * The states that there can be after an operation that had this outcome; none when it can't have had it in this state. Without an
 * outcome, because its process has died in it, it was done or not.
 */
export function explain(state: ModelState, operation: Operation, outcome?: Outcome): ModelState[] {
  const { steps, start } =
    operation.kind === 'snapshotTogether' || operation.kind === 'removeTogether'
      ? stepsOf(state, operation)
      : { steps: [operation], start: state };
  const refusals = steps.flatMap((step) => refusalsOf(start, step));
  if (outcome && 'failed' in outcome) {
    // A full pool may refuse anything.
    return refusals.includes(outcome.failed) || outcome.failed === 'no_space' ? [state] : [];
  }
  if (refusals.length > 0) return outcome ? [] : [state];
  const [only] = steps;
  if (!outcome || steps.length > 1 || !only) {
    const after = steps.reduce((before, step) => succeed(before, step).state, start);
    return outcome ? [after] : [state, after];
  }
  const { state: after, ...facts } = succeed(start, only, outcome.undo);
  return canonical(facts) === canonical(outcome) ? [after] : [];
}

/** Snapshots that are named beside their volume go with it: they are not looked at, and don't stand in its way. */
function stepsOf(state: ModelState, operation: Together): { steps: Single[]; start: ModelState } {
  if (operation.kind === 'snapshotTogether') {
    const { names, snapshot } = operation;
    return { steps: [...new Set(names)].map((name) => ({ kind: 'snapshot', name, snapshot })), start: state };
  }
  const { references, withSnapshots } = operation;
  const steps: Single[] = [];
  let start = state;
  for (const reference of new Set(references)) {
    const [name = '', snapshot] = reference.split('@');
    if (snapshot === undefined) steps.push({ kind: 'remove', name, withSnapshots });
    else if (!references.includes(name)) steps.push({ kind: 'removeSnapshot', name, snapshot });
    else if (start[name]) {
      const { [snapshot]: _, ...others } = start[name].snapshots;
      start = havingSnapshots(start, name, others);
    }
  }
  return { steps, start };
}

/** Every reason why this must fail now; which of several is said first is free. */
function refusalsOf(state: ModelState, operation: Single): ErrorCode[] {
  const reasons: ErrorCode[] = [];
  const source = state['source' in operation ? operation.source : operation.name];
  const isNew = operation.kind === 'create' || operation.kind === 'import';
  if ('source' in operation || isNew) {
    if (state[operation.name]) reasons.push('already_exists');
    if (isNew) return reasons;
  }
  if (!source) return [...reasons, 'not_found'];
  switch (operation.kind) {
    case 'write':
      if (source.sealed) reasons.push('blocked');
      break;
    case 'clone':
    case 'export':
      if (source.tree && operation.kind === 'export') reasons.push('unsupported');
      if (operation.snapshot !== undefined && source.snapshots[operation.snapshot] === undefined)
        reasons.push('not_found');
      break;
    case 'grow':
      if (source.tree) reasons.push('unsupported');
      if (source.sealed) reasons.push('blocked');
      else if (operation.blocks * blockBytes < source.bytes) reasons.push('invalid_argument');
      break;
    case 'snapshot':
      if (source.sealed) reasons.push('blocked');
      else if (source.snapshots[operation.snapshot] !== undefined) reasons.push('already_exists');
      break;
    case 'rollback':
      if (source.sealed) reasons.push('blocked');
      else if (source.snapshots[operation.snapshot] === undefined) reasons.push('not_found');
      break;
    case 'removeSnapshot':
      if (source.snapshots[operation.snapshot] === undefined) reasons.push('not_found');
      break;
    case 'remove':
      if (!operation.withSnapshots && Object.keys(source.snapshots).length > 0) reasons.push('blocked');
      break;
  }
  return reasons;
}

/** What there is after an operation that nothing keeps from being done, and what it says. */
type Done = Success & { readonly state: ModelState };

/** @param undo the name that a rollback says; nobody knows that of one whose process has died */
function succeed(state: ModelState, operation: Single, undo?: string): Done {
  const { name } = operation;
  const volume = state['source' in operation ? operation.source : name] ?? empty;
  const put = (changed: ModelVolume): ModelState => ({ ...state, [name]: changed });
  switch (operation.kind) {
    case 'create':
    case 'import': {
      if (operation.kind === 'create' && operation.tree)
        return { state: put({ ...empty, tree: true }), bytes: 0 };
      const sealed = operation.kind === 'import';
      const bytes = Math.max(1, operation.blocks) * blockBytes;
      const written: Disk['written'] = operation.kind === 'import' ? { 0: operation.seed } : {};
      return { state: put({ ...empty, sealed, bytes, written }), bytes };
    }
    case 'clone':
    case 'seal': {
      const { bytes, written } = diskOf(volume, operation.kind === 'clone' ? operation.snapshot : undefined);
      const { tree } = volume;
      const sealed = operation.kind === 'seal';
      return { state: put({ ...empty, ...(tree && { tree }), bytes, written, sealed }), bytes };
    }
    case 'export':
      return { state, exported: diskOf(volume, operation.snapshot) };
    case 'write': {
      const block = operation.block % (volume.tree ? filesInTree : volume.bytes / blockBytes);
      return { state: put({ ...volume, written: { ...volume.written, [block]: operation.seed } }) };
    }
    case 'rename': {
      const { [operation.source]: _, ...rest } = state;
      return { state: { ...rest, [name]: volume } };
    }
    case 'grow': {
      const bytes = operation.blocks * blockBytes;
      return { state: put({ ...volume, bytes }), bytes, previousBytes: volume.bytes };
    }
    case 'snapshot':
      return {
        state: havingSnapshots(state, name, { ...volume.snapshots, [operation.snapshot]: diskOf(volume) }),
      };
    case 'rollback': {
      const kept = undo ?? `${unknownName}${Object.keys(volume.snapshots).length}`;
      const snapshots = { ...volume.snapshots, [kept]: diskOf(volume) };
      const state = put({ ...volume, ...diskOf(volume, operation.snapshot), snapshots });
      // No snapshot may have been overwritten.
      return { state, undo: volume.snapshots[kept] ? '' : kept };
    }
    case 'removeSnapshot': {
      const { [operation.snapshot]: _, ...left } = volume.snapshots;
      return { state: havingSnapshots(state, name, left) };
    }
    case 'remove': {
      const { [name]: _, ...others } = state;
      return { state: others };
    }
  }
}

const empty: ModelVolume = { bytes: 0, written: {}, sealed: false, snapshots: {} };

function diskOf(volume: ModelVolume, snapshot?: string): Disk {
  const { bytes, written } = snapshot === undefined ? volume : (volume.snapshots[snapshot] ?? empty);
  return { bytes, written };
}

function havingSnapshots(state: ModelState, name: string, snapshots: Record<string, Disk>): ModelState {
  return { ...state, [name]: { ...(state[name] ?? empty), snapshots } };
}

/** No name that anything can have. */
const unknownName = '?';

/** Whether a pool holds what the model says, where the model does not know some of the names. */
export function matches(model: ModelState, pool: ModelState): boolean {
  const renamed = Object.entries(model).map(([name, volume]) => {
    const there = pool[name]?.snapshots ?? {};
    const free = new Set(
      Object.keys(there).filter((each) => each.startsWith('pre-rollback-') && !volume.snapshots[each]),
    );
    const snapshots = Object.entries(volume.snapshots).map(([snapshot, disk]) => {
      const found = snapshot.startsWith(unknownName)
        ? [...free].find((each) => canonical(there[each]) === canonical(disk))
        : snapshot;
      free.delete(found ?? '');
      return [found ?? snapshot, disk] as const;
    });
    return [name, { ...volume, snapshots: Object.fromEntries(snapshots) }] as const;
  });
  return canonical(Object.fromEntries(renamed)) === canonical(pool);
}

/** The same text for equal values, whatever the order of their keys. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
