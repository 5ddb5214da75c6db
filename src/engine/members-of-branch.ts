import type { Name } from '../model/names.ts';
import { parseReference } from '../model/names.ts';
import type { Context } from './context.ts';
import { volumesOf } from './visible.ts';

/** The clones that go with branches among these volumes: their servers have parts in them. */
export function membersOfBranches(context: Context, references: readonly string[]): readonly Name[] {
  const branches = references.flatMap((text) => {
    const { volume, snapshot } = parseReference(text);
    const metadata = snapshot ? undefined : context.driver.peek({ area: 'volumes', name: volume });
    return metadata?.type === 'volume' && metadata.branch ? [metadata.id] : [];
  });
  if (branches.length === 0) return [];
  return volumesOf(context).flatMap(({ name, metadata }) =>
    metadata?.type === 'volume' && metadata.branchOf !== undefined && branches.includes(metadata.branchOf)
      ? [name as Name]
      : [],
  );
}
