import { buildCommand, type Command } from '@stricli/core';
import type { TreeNode } from '../../engine/operations/tree.ts';
import { nothingYet, printList, reporting } from '../command.ts';
import { type CliContext, optionalWord, type PoolFlags, poolFlags, withExamples } from '../context.ts';

export const treeCommand: Command<CliContext> = buildCommand<PoolFlags, [string?], CliContext>({
  docs: {
    brief: 'Draw what was cloned from what',
    fullDescription: withExamples(
      'Draws what was cloned from what, of everything or of one template or volume with all that descends from it. Ancestors that were removed keep their place.',
      'coppice tree',
      'coppice tree debian-12',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: { kind: 'tuple', parameters: [optionalWord('NAME', 'Where to begin', 'entry')] },
  },
  func: reporting(async (context, flags: PoolFlags, name?: string) => {
    const { withPool } = await import('../session.ts');
    const nodes = await withPool(context, flags, (pool) => pool.tree(name));
    const list = { result: nodes, rows: nodes, nothing: nothingYet };
    printList(context, flags, list, (roots) => draw(roots).join('\n'));
  }),
});

/** Without recursion: a lineage may be thousands deep. */
function draw(roots: readonly TreeNode[]): string[] {
  const lines: string[] = [];
  const pending = roots.map((node) => ({ node, lead: '', branch: '', inner: '' })).reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { node, lead, branch, inner } = next;
    const source = node.fromSnapshot ? `  (from @${node.fromSnapshot})` : '';
    const type = node.type === 'volume' ? '' : `  [${node.type}]`;
    lines.push(`${lead}${branch}${node.name}${type}${source}`);
    const last = node.children.length - 1;
    const children = node.children.map((child, index) => ({
      node: child,
      lead: lead + inner,
      branch: index === last ? '└─ ' : '├─ ',
      inner: index === last ? '   ' : '│  ',
    }));
    pending.push(...children.reverse());
  }
  return lines;
}
