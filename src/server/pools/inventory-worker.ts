import { hash } from 'node:crypto';
import { fstatSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import { type Context, createContext } from '../../engine/context.ts';
import { type Diagnosis, doctor as diagnose } from '../../engine/doctor/doctor.ts';
import { listContents, type SnapshotSummary, type VolumeSummary } from '../../engine/operations/list.ts';
import { type TreeNode, tree } from '../../engine/operations/tree.ts';
import type { PolicyDecision } from '../../engine/policy/apply.ts';
import type { VolumePolicy } from '../../engine/policy/policies.ts';
import { checkPool, type Finding } from '../../engine/pools/check.ts';
import { type GrowPoolOptions, growPool, type PoolGrown } from '../../engine/pools/grow.ts';
import { openPoolRoot, type PoolRoot } from '../../engine/pools/open.ts';
import { runLikeOthers } from '../../linux/priority.ts';
import { type CarriedFailure, carried } from './carried-failure.ts';
import { Looks } from './looks.ts';

/**
 * A thread that reads whole pools, so that neither the kernel nor what it says of 20,000 volumes holds up the others. What it found
 * it tells in small pieces, and only what is new since it looked last.
 */

export interface InventoryEntry {
  readonly name: string;
  /** Absent: it is gone. */
  readonly volume?: VolumeSummary;
  readonly snapshots?: readonly SnapshotSummary[];
}

export interface LineageEntry {
  readonly id: string;
  readonly name: string;
  readonly type: TreeNode['type'];
  readonly parentId?: string;
  readonly fromSnapshot?: string;
}

export interface LineagePage {
  readonly nodes: readonly LineageEntry[];
  readonly total: number;
}

export interface PolicyPage {
  readonly policies: readonly VolumePolicy[];
  readonly total: number;
}

export interface PreviewedDecision extends PolicyDecision {
  /** There is less free space than a policy wants, and it would go for that. */
  readonly underPressure: boolean;
}

export interface PreviewPage {
  readonly decisions: readonly PreviewedDecision[];
  readonly total: number;
  readonly warnings: readonly string[];
}

export type InventoryTask =
  | { readonly task: 'refresh' }
  | { readonly task: 'verify' }
  | { readonly task: 'check' }
  | { readonly task: 'diagnose' }
  | { readonly task: 'grow'; readonly bytes: number; readonly options: GrowPoolOptions }
  | { readonly task: 'lineage'; readonly volume?: string; readonly from: number; readonly many: number }
  | { readonly task: 'policies'; readonly from: number; readonly many: number }
  | {
      readonly task: 'preview';
      readonly volumes: readonly string[];
      readonly from: number;
      readonly many: number;
    };

type InventoryResult =
  | undefined
  | readonly Finding[]
  | Diagnosis
  | PoolGrown
  | LineagePage
  | PolicyPage
  | PreviewPage;

export type InventoryMessage =
  | { readonly id: number; readonly entries: readonly InventoryEntry[] }
  | { readonly id: number; readonly result: InventoryResult }
  | { readonly id: number; readonly failure: CarriedFailure };

/** How many volumes are told in one message. */
const piece = 200;

const port = parentPort;
if (port) {
  runLikeOthers();
  const path = workerData as string;
  const root = openPoolRoot(path);
  const context = createContext({ path: root.path, root: root.fd, metadata: root.metadata }, false);
  const known = new Map<string, string>();
  /** The other side has taken a piece: pieces that lie there together would be taken all at once, and hold up everything else. */
  let onTaken = (): void => {};
  const looks = new Looks();

  port.on('message', (message: 'close' | 'taken' | ({ readonly id: number } & InventoryTask)) => {
    if (message === 'taken') {
      onTaken();
      return;
    }
    if (message === 'close') {
      context[Symbol.dispose]();
      root[Symbol.dispose]();
      port.close();
      return;
    }
    const { id } = message;
    perform(message).then(
      (result) => send({ id, result }),
      (error: unknown) => send({ id, failure: carried(error) }),
    );
  });

  const send = (message: InventoryMessage): void => port.postMessage(message);

  const perform = async (message: { readonly id: number } & InventoryTask): Promise<InventoryResult> => {
    if (message.task === 'diagnose') return await diagnose(path);
    if (message.task === 'grow') return growPool(path, message.bytes, message.options);
    if (message.task === 'check') return checkPool(context);
    if (message.task === 'verify') return requireSame(root, path);
    if (message.task === 'refresh') {
      const news = differences(listContents(context), known);
      for (let at = 0; at < news.length; at += piece) {
        const { promise, resolve } = Promise.withResolvers<void>();
        onTaken = resolve;
        send({ id: message.id, entries: news.slice(at, at + piece) });
        await promise;
      }
      collectGarbage();
      return undefined;
    }
    const { from, many } = message;
    if (message.task === 'policies') {
      const { policies } = await import('../../engine/policy/policies.ts');
      const all = await looks.look(['policies'], from, () => policies(context));
      return { policies: all.slice(from, from + many), total: all.length };
    }
    if (message.task === 'preview') {
      const { volumes } = message;
      const { decisions, warnings } = await looks.look(['preview', ...volumes], from, () =>
        preview(context, volumes),
      );
      return { decisions: decisions.slice(from, from + many), total: decisions.length, warnings };
    }
    const { volume } = message;
    const nodes = await looks.look(['lineage', volume], from, () => flat(context, volume));
    return { nodes: nodes.slice(from, from + many), total: nodes.length };
  };
}

/**
 * What was read is garbage now, many times as much as what is kept of it; left alone, V8 would keep its place for the next time, and the
 * server would have that much more memory.
 */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect();
}

/** What is new, and from now on known. */
function differences(present: ReturnType<typeof listContents>, known: Map<string, string>): InventoryEntry[] {
  const news: InventoryEntry[] = [];
  const there = new Set<string>();
  for (const { volume, snapshots } of present) {
    there.add(volume.name);
    const fingerprint = hash('sha1', JSON.stringify([volume, snapshots]), 'base64');
    if (known.get(volume.name) === fingerprint) continue;
    known.set(volume.name, fingerprint);
    news.push({ name: volume.name, volume, snapshots });
  }
  for (const name of known.keys()) {
    if (there.has(name)) continue;
    known.delete(name);
    news.push({ name });
  }
  return news;
}

/** What would happen if policies were followed now. Changes nothing. */
async function preview(
  context: Context,
  volumes: readonly string[],
): Promise<Pick<PreviewPage, 'decisions' | 'warnings'>> {
  const { applyPolicies } = await import('../../engine/policy/apply.ts');
  const wanted = volumes.length === 0 ? {} : { volumes };
  const quiet = { signal: undefined, report: () => {} };
  const applied = await applyPolicies(context, { ...wanted, dryRun: true }, quiet);
  const pressed = new Set(applied.underPressure);
  const decisions = applied.decisions.map((each) => ({
    ...each,
    underPressure: pressed.has(each.reference),
  }));
  return { decisions, warnings: applied.warnings };
}

/** Parents before children; without recursion, as a lineage may be thousands deep. */
function flat(context: Context, volume: string | undefined): LineageEntry[] {
  const nodes: LineageEntry[] = [];
  const pending: Array<{ readonly node: TreeNode; readonly parentId?: string }> = tree(context, volume)
    .map((node) => ({ node }))
    .toReversed();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { id, name, type, fromSnapshot, children } = next.node;
    nodes.push({
      id,
      name,
      type,
      ...(next.parentId !== undefined && { parentId: next.parentId }),
      ...(fromSnapshot !== undefined && { fromSnapshot }),
    });
    for (const child of children.toReversed()) pending.push({ node: child, parentId: id });
  }
  return nodes;
}

/** Makes sure that the path still leads to the pool that is open: somebody may have unmounted it and mounted another. */
function requireSame(mine: PoolRoot, path: string): undefined {
  using present = openPoolRoot(path);
  const isSame =
    present.metadata.id === mine.metadata.id && fstatSync(present.fd).dev === fstatSync(mine.fd).dev;
  if (!isSame) throw new Error(`${path} is another pool now.`);
  return undefined;
}
