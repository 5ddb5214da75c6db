import type { CoppiceError, ErrorCode, Pool } from '../../src/index.ts';

/**
 * What a pool should do, as a function on plain values: given a state and an operation with its result, the state after it, or
 * nothing when that result can't be explained. The size of a disk stands for its content: clones inherit it, snapshots keep it,
 * rollbacks bring it back.
 */

export interface ModelVolume {
  readonly bytes: number;
  readonly sealed: boolean;
  readonly snapshots: Readonly<Record<string, number>>;
}

export type ModelState = Readonly<Record<string, ModelVolume>>;

export type Operation =
  | { readonly kind: 'create'; readonly name: string; readonly blocks: number }
  | { readonly kind: 'clone'; readonly source: string; readonly snapshot?: string; readonly name: string }
  | { readonly kind: 'seal'; readonly source: string; readonly name: string }
  | { readonly kind: 'rename'; readonly source: string; readonly name: string }
  | { readonly kind: 'grow'; readonly name: string; readonly blocks: number }
  | { readonly kind: 'snapshot'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'rollback'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'removeSnapshot'; readonly name: string; readonly snapshot: string }
  | { readonly kind: 'remove'; readonly name: string; readonly withSnapshots: boolean }
  | Together;

/** Several at once: all or none. */
export type Together =
  | { readonly kind: 'snapshotTogether'; readonly names: readonly string[]; readonly snapshot: string }
  | {
      readonly kind: 'removeTogether';
      readonly references: readonly string[];
      readonly withSnapshots: boolean;
    };

type Single = Exclude<Operation, Together>;

/** What an operation said: a failure by its code, or the facts of a success. */
export type Outcome =
  | { readonly failed: ErrorCode; readonly message: string }
  | { readonly bytes?: number; readonly previousBytes?: number; readonly undo?: string };

export async function perform(pool: Pool, operation: Operation): Promise<Outcome> {
  try {
    switch (operation.kind) {
      case 'create':
        return { bytes: (await pool.create(operation.name, { bytes: operation.blocks * 4096 })).bytes };
      case 'clone': {
        const source = operation.snapshot ? `${operation.source}@${operation.snapshot}` : operation.source;
        return { bytes: (await pool.clone(source, operation.name)).bytes };
      }
      case 'seal':
        return { bytes: (await pool.seal(operation.source, operation.name)).bytes };
      case 'rename':
        await pool.rename(operation.source, operation.name);
        return {};
      case 'grow': {
        const { bytes, previousBytes } = await pool.grow(operation.name, { bytes: operation.blocks * 4096 });
        return { bytes, previousBytes };
      }
      case 'snapshot':
        await pool.snapshot(`${operation.name}@${operation.snapshot}`);
        return {};
      case 'rollback': {
        const { undo } = await pool.rollback(`${operation.name}@${operation.snapshot}`);
        return { undo: undo?.split('@')[1] ?? '' };
      }
      case 'removeSnapshot':
        await pool.remove(`${operation.name}@${operation.snapshot}`);
        return {};
      case 'remove':
        await pool.remove(operation.name, { withSnapshots: operation.withSnapshots });
        return {};
      case 'snapshotTogether':
        await pool.snapshot(operation.names, { name: operation.snapshot });
        return {};
      case 'removeTogether':
        await pool.remove(operation.references, { withSnapshots: operation.withSnapshots });
        return {};
    }
  } catch (error) {
    const { code, message } = error as CoppiceError;
    if (code === undefined) throw error;
    return { failed: code, message };
  }
}

/** The state after an operation that had this outcome; undefined when it can't have had it in this state. */
export function explain(state: ModelState, operation: Operation, outcome: Outcome): ModelState | undefined {
  if (operation.kind === 'snapshotTogether' || operation.kind === 'removeTogether')
    return explainTogether(state, operation, outcome);
  const refusals = refusalsOf(state, operation);
  if ('failed' in outcome) return refusals.includes(outcome.failed) ? state : undefined;
  return refusals.length === 0 ? succeed(state, operation, outcome) : undefined;
}

/** As if they were done one after the other, except that one which can't be done keeps all from being done. */
function explainTogether(state: ModelState, operation: Together, outcome: Outcome): ModelState | undefined {
  const { steps, start } = stepsOf(state, operation);
  const refusals = steps.flatMap((step) => refusalsOf(start, step));
  if ('failed' in outcome) return refusals.includes(outcome.failed) ? state : undefined;
  if (refusals.length > 0) return undefined;
  return steps.reduce<ModelState | undefined>((before, step) => before && succeed(before, step, {}), start);
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
  if ('source' in operation || operation.kind === 'create') {
    if (state[operation.name]) reasons.push('already_exists');
    if (operation.kind === 'create') return reasons;
  }
  if (!source) return [...reasons, 'not_found'];
  switch (operation.kind) {
    case 'clone':
      if (operation.snapshot !== undefined && source.snapshots[operation.snapshot] === undefined)
        reasons.push('not_found');
      break;
    case 'grow':
      if (source.sealed) reasons.push('blocked');
      else if (operation.blocks * 4096 < source.bytes) reasons.push('invalid_argument');
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

function succeed(
  state: ModelState,
  operation: Single,
  outcome: Exclude<Outcome, { failed: ErrorCode }>,
): ModelState | undefined {
  const volume = state['source' in operation ? operation.source : operation.name] ?? empty;
  const { [operation.name]: _, ...others } = state;
  switch (operation.kind) {
    case 'create': {
      const bytes = Math.max(1, operation.blocks) * 4096;
      return outcome.bytes === bytes ? { ...state, [operation.name]: { ...empty, bytes } } : undefined;
    }
    case 'clone':
    case 'seal': {
      const from = operation.kind === 'clone' ? operation.snapshot : undefined;
      const bytes = from === undefined ? volume.bytes : volume.snapshots[from];
      if (bytes === undefined || outcome.bytes !== bytes) return undefined;
      return { ...state, [operation.name]: { ...empty, bytes, sealed: operation.kind === 'seal' } };
    }
    case 'rename': {
      const { [operation.source]: moved, ...rest } = state;
      return moved && { ...rest, [operation.name]: moved };
    }
    case 'grow': {
      const bytes = operation.blocks * 4096;
      if (outcome.bytes !== bytes || outcome.previousBytes !== volume.bytes) return undefined;
      return { ...state, [operation.name]: { ...volume, bytes } };
    }
    case 'snapshot':
      return havingSnapshots(state, operation.name, {
        ...volume.snapshots,
        [operation.snapshot]: volume.bytes,
      });
    case 'rollback': {
      const bytes = volume.snapshots[operation.snapshot];
      if (bytes === undefined || !outcome.undo || volume.snapshots[outcome.undo] !== undefined)
        return undefined;
      const snapshots = { ...volume.snapshots, [outcome.undo]: volume.bytes };
      return { ...state, [operation.name]: { ...volume, bytes, snapshots } };
    }
    case 'removeSnapshot': {
      const { [operation.snapshot]: __, ...left } = volume.snapshots;
      return havingSnapshots(state, operation.name, left);
    }
    case 'remove':
      return others;
  }
}

const empty: ModelVolume = { bytes: 0, sealed: false, snapshots: {} };

function havingSnapshots(state: ModelState, name: string, snapshots: Record<string, number>): ModelState {
  return { ...state, [name]: { ...(state[name] ?? empty), snapshots } };
}

/** What a pool really holds, in the model's words. */
export async function observe(pool: Pool): Promise<ModelState> {
  const snapshots = await pool.listSnapshots();
  return Object.fromEntries(
    (await pool.list()).map((volume) => [
      volume.name,
      {
        bytes: volume.bytes ?? -1,
        sealed: volume.type === 'template',
        snapshots: Object.fromEntries(
          snapshots
            .filter((snapshot) => snapshot.reference.startsWith(`${volume.name}@`))
            .map((snapshot) => [snapshot.name, snapshot.bytes ?? -1]),
        ),
      },
    ]),
  );
}
