import type { TreeDiff } from '../engine/operations/diff.ts';
import type { Change } from '../model/changes.ts';
import { printableBytes } from '../model/printable.ts';
import { formatSize } from '../model/sizes.ts';

/** How many changes of each kind, then one line for each that is told. */
export function diffText(diff: TreeDiff): string {
  return [summaryOf(diff), ...diff.changes.map(lineOf)].join('\n');
}

const kinds = ['added', 'removed', 'changed', 'renamed'] as const;
const marks = { added: '+', removed: '-', changed: 'M', renamed: 'R' } as const;

function summaryOf({ from, to, counts, bytes }: TreeDiff): string {
  const parts = kinds.flatMap((kind) => {
    if (counts[kind] === 0) return [];
    const size = bytes && (kind !== 'renamed' || bytes[kind] > 0) ? ` (${formatSize(bytes[kind])})` : '';
    return [`${counts[kind]} ${kind}${size}`];
  });
  return `${from} -> ${to}: ${parts.length === 0 ? 'no changes' : parts.join(', ')}`;
}

function lineOf(change: Change): string {
  const { kind, bytes } = change;
  const size = bytes === undefined || bytes === 0 ? '' : formatSize(bytes);
  const path = shown(change.path, change.pathBase64, change);
  const former = change.from === undefined ? '' : `${shown(change.from, change.fromBase64, change)} -> `;
  return `${marks[kind]} ${size.padStart(8)}  ${former}${path}`;
}

function shown(text: string, base64: string | undefined, { type }: Change): string {
  const bytes = base64 === undefined ? Buffer.from(text) : Buffer.from(base64, 'base64');
  return `${printableBytes(bytes)}${type === 'directory' ? '/' : ''}`;
}
