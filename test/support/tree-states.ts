import { execFileSync } from 'node:child_process';
import { type BigIntStats, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Aspect, ChangeKind } from '../../src/model/changes.ts';
import { identityAttribute } from './tree-operations.ts';

/** What a look at every file of a tree tells: what a comparison that looks at few of them must agree with. Paths are latin1. */
export interface WholeTree {
  readonly root: Node;
  readonly all: readonly Node[];
}

export type Identity = 'given' | 'seen';

interface Node {
  readonly path: string;
  readonly name: string;
  readonly parent: Node | undefined;
  /** That it was given when it was made, and that which who only looks at it can tell it by. */
  readonly ids: Readonly<Record<Identity, string>>;
  readonly type: string;
  readonly status: BigIntStats;
  readonly content: Buffer;
  readonly attributes: string;
}

export function readWholeTree(path: string): WholeTree {
  const attributes = attributesBelow(path);
  const all: Node[] = [];
  const add = (parent: Node | undefined, name: string, relative: string): Node => {
    const full = Buffer.from(`${path}/${relative}`, 'latin1');
    const status = lstatSync(full, { bigint: true });
    const node: Node = {
      path: relative,
      name,
      parent,
      ids: {
        given: identityIn(attributes.get(relative)) ?? 'root',
        seen: parent ? `${status.ino} ${status.birthtimeNs} ${status.mode & 0o170000n}` : 'root',
      },
      type: status.isDirectory() ? 'directory' : status.isSymbolicLink() ? 'symlink' : 'file',
      status,
      content: status.isFile()
        ? readFileSync(full)
        : status.isSymbolicLink()
          ? (readlinkSync(full, { encoding: 'buffer' }) as unknown as Buffer)
          : Buffer.alloc(0),
      attributes: attributes.get(relative) ?? '',
    };
    all.push(node);
    if (status.isDirectory())
      for (const each of readdirSync(full, { encoding: 'buffer' }) as unknown as Buffer[]) {
        const child = each.toString('latin1');
        add(node, child, relative === '' ? child : `${relative}/${child}`);
      }
    return node;
  };
  return { root: add(undefined, '', ''), all };
}

function identityIn(attributes = ''): string | undefined {
  return attributes.split('\n').find((line) => line.startsWith(`${identityAttribute}=`));
}

/** One process for the whole tree. */
function attributesBelow(path: string): Map<string, string> {
  const dump = execFileSync('getfattr', ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'], {
    cwd: path,
    encoding: 'latin1',
    env: { LC_ALL: 'C' },
    maxBuffer: 2 ** 28,
  });
  const found = new Map<string, string>();
  for (const block of dump.split('\n\n')) {
    const [first = '', ...lines] = block.trim().split('\n');
    const file = first
      .replace(/^# file: /, '')
      .replace(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
    if (file !== '') found.set(file === '.' ? '' : file, lines.sort().join('\n'));
  }
  return found;
}

export interface ExpectedChange {
  readonly kind: ChangeKind;
  readonly path: string;
  readonly from?: string;
  readonly aspects: readonly Aspect[];
  /** Bytes that are certainly different, come or gone, and those that there are at most. */
  readonly atLeast: number;
  readonly atMost: number;
}

/** What has become of one whole tree in another, found out as plainly as possible: by looking at everything. */
export function compareWholeTrees(from: WholeTree, to: WholeTree, by: Identity): ExpectedChange[] {
  const [before, after] = [byId(from, by), byId(to, by)];
  const place = (node: Node): string => {
    if (!node.parent) return '';
    const moved = after.get(node.parent.ids[by])?.[0];
    const directory = moved ? moved.path : place(node.parent);
    return directory === '' ? node.name : `${directory}/${node.name}`;
  };
  const changes: ExpectedChange[] = [];
  const [gone, come]: [Node[], Node[]] = [[], []];
  for (const [id, nodes] of before) {
    const others = after.get(id);
    if (!others) {
      gone.push(...nodes);
      continue;
    }
    const paths = new Set(others.map(({ path }) => path));
    const kept = new Set(nodes.map(place).filter((path) => paths.has(path)));
    const left = nodes.filter((node) => !kept.has(place(node))).sort(byPath);
    const got = others.filter(({ path }) => !kept.has(path)).sort(byPath);
    const [one, other] = [nodes[0] as Node, others[0] as Node];
    const aspects = aspectsOf(one, other);
    for (const [index, node] of got.entries()) {
      const source = left[index];
      if (source) changes.push(change('renamed', node, aspects, one, { from: source.path }));
      else come.push(node);
    }
    gone.push(...left.slice(got.length));
    if (aspects.length > 0)
      for (const node of others) if (kept.has(node.path)) changes.push(change('changed', node, aspects, one));
  }
  for (const [id, nodes] of after) if (!before.has(id)) come.push(...nodes);
  const comers = new Map(come.map((node) => [`${node.type} ${node.path}`, node]));
  for (const node of gone.sort(byPath)) {
    const key = `${node.type} ${place(node)}`;
    const comer = comers.get(key);
    comers.delete(key);
    if (!comer) {
      changes.push(change('removed', node, [], undefined));
      continue;
    }
    const aspects = aspectsOf(node, comer);
    if (aspects.length > 0) changes.push(change('changed', comer, aspects, node));
  }
  for (const node of comers.values()) changes.push(change('added', node, [], undefined));
  return changes.sort((a, b) => byPath(a, b) || (a.kind < b.kind ? -1 : 1));
}

function byId({ all }: WholeTree, by: Identity): Map<string, Node[]> {
  const nodes = new Map<string, Node[]>();
  for (const node of all) nodes.set(node.ids[by], [...(nodes.get(node.ids[by]) ?? []), node]);
  return nodes;
}

function aspectsOf(before: Node, after: Node): Aspect[] {
  const [x, y] = [before.status, after.status];
  const aspects: Aspect[] = [];
  if (!before.content.equals(after.content)) aspects.push('data');
  if (x.mode !== y.mode) aspects.push('mode');
  if (x.uid !== y.uid || x.gid !== y.gid) aspects.push('owner');
  if (!x.isDirectory() && x.mtimeNs !== y.mtimeNs) aspects.push('times');
  if (before.attributes !== after.attributes) aspects.push('attributes');
  return aspects;
}

function change(
  kind: ChangeKind,
  node: Node,
  aspects: readonly Aspect[],
  before: Node | undefined,
  more: { readonly from?: string } = {},
): ExpectedChange {
  const { content } = node;
  const other = before?.content ?? Buffer.alloc(0);
  let atLeast = 0;
  for (let index = 0; index < content.length; index++)
    if ((content[index] ?? 0) !== (other[index] ?? 0)) atLeast++;
  return {
    kind,
    path: node.path === '' ? '.' : node.path,
    aspects,
    atLeast: node.type === 'directory' ? 0 : atLeast,
    atMost: content.length,
    ...more,
  };
}

function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0;
}
