import { parseResourceName } from '../../api/resource-names.ts';

/** Names that the rules have let through, as the engine has them. */

/** The pool of a resource name. */
export function poolIn(name: string): string {
  return parseResourceName(name)?.pool ?? '';
}

/** The volume of a resource name. */
export function volumeIn(name: string): string {
  const parsed = parseResourceName(name);
  return parsed && 'volume' in parsed ? parsed.volume : '';
}

/** `VOLUME` or `VOLUME@SNAPSHOT`. */
export function referenceIn(name: string): string {
  const parsed = parseResourceName(name);
  if (parsed?.kind === 'snapshot') return `${parsed.volume}@${parsed.snapshot}`;
  return volumeIn(name);
}
