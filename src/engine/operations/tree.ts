import { CoppiceError } from '../../model/errors.ts';
import type { Ancestor } from '../../model/metadata.ts';
import { parseReference } from '../../model/names.ts';
import type { Context } from '../context.ts';
import { noSuchVolume } from '../holding.ts';
import { volumesOf } from '../visible.ts';

export interface TreeNode {
  readonly name: string;
  readonly id: string;
  readonly type: 'template' | 'volume' | 'removed';
  /** The snapshot of the parent that this was cloned from. */
  readonly fromSnapshot?: string;
  readonly children: readonly TreeNode[];
}

interface Entry {
  id: string;
  name: string;
  type: TreeNode['type'];
  origin: readonly Ancestor[];
}

/**
 * The lineage of everything, or of one volume with all that descends from it. Ancestors that were removed still have their place.
 */
export function tree(context: Context, nameText?: string): TreeNode[] {
  const entries = collect(context);
  const children = new Map<string | undefined, string[]>();
  for (const [id, entry] of entries) {
    const parent = entry.origin[0]?.id;
    const siblings = children.get(parent);
    if (siblings) siblings.push(id);
    else children.set(parent, [id]);
  }
  if (nameText !== undefined) return build([idOf(context, entries, nameText)], entries, children);
  // What no root leads to comes last: lineages that somebody has written in a circle.
  return build([...(children.get(undefined) ?? []), ...entries.keys()], entries, children);
}

/** Everything that lives, and every ancestor that one of them remembers. */
function collect(context: Context): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const { name, metadata } of volumesOf(context)) {
    if (metadata?.type !== 'volume') continue;
    // A copy that other tools have made has the same id: what descends from either is drawn below the first.
    entries.set(entries.has(metadata.id) ? `${metadata.id} ${name}` : metadata.id, {
      id: metadata.id,
      name,
      type: metadata.sealed ? 'template' : 'volume',
      origin: metadata.origin,
    });
  }
  for (const id of context.driver.listEntries('tombstones')) {
    const metadata = context.driver.peek({ area: 'tombstones', id });
    if (metadata?.type === 'tombstone')
      entries.set(metadata.id, {
        id: metadata.id,
        name: metadata.name,
        type: 'removed',
        origin: metadata.origin,
      });
  }
  for (const { origin } of [...entries.values()]) {
    for (const [index, ancestor] of origin.entries()) {
      const known = entries.get(ancestor.id);
      const further = origin.slice(index + 1);
      if (!known)
        entries.set(ancestor.id, { id: ancestor.id, name: ancestor.name, type: 'removed', origin: further });
      else if (known.type === 'removed' && known.origin.length < further.length) known.origin = further;
    }
  }
  return entries;
}

/**
 * Without recursion: a lineage may be thousands deep.
 * @param roots what is drawn below one of those before it is not drawn again
 */
function build(
  roots: readonly string[],
  entries: ReadonlyMap<string, Entry>,
  children: ReadonlyMap<string | undefined, readonly string[]>,
): TreeNode[] {
  type Open = TreeNode & { children: TreeNode[] };
  const result: Open[] = [];
  const pending: Array<{ id: string; into: TreeNode[] }> = roots
    .toReversed()
    .map((id) => ({ id, into: result }));
  const seen = new Set<string>();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const entry = entries.get(next.id);
    if (!entry || seen.has(next.id)) continue;
    seen.add(next.id);
    const fromSnapshot = entry.origin[0]?.snapshot;
    const node: Open = {
      name: entry.name,
      id: entry.id,
      type: entry.type,
      ...(fromSnapshot && { fromSnapshot }),
      children: [],
    };
    next.into.push(node);
    for (const id of children.get(next.id) ?? []) pending.push({ id, into: node.children });
  }
  const lists = [result];
  for (let nodes = lists.pop(); nodes; nodes = lists.pop()) {
    nodes.sort((a, b) => (a.name < b.name ? -1 : 1));
    lists.push(...nodes.map((node) => node.children as Open[]));
  }
  return result;
}

function idOf(context: Context, entries: ReadonlyMap<string, Entry>, text: string): string {
  const { volume, snapshot } = parseReference(text);
  if (snapshot)
    throw new CoppiceError(
      'invalid_argument',
      `"${text}" is a snapshot, but a lineage is drawn for a volume: write ${volume}.`,
    );
  for (const [id, entry] of entries) {
    if (entry.name === volume && entry.type !== 'removed') return id;
  }
  throw noSuchVolume(context, volume);
}
