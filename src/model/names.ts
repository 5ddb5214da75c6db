import { CoppiceError } from './errors.ts';
import { printable } from './printable.ts';

declare const checked: unique symbol;

/** A name that has been checked: safe as a path component, an argument, a dataset name. */
export type Name = string & { readonly [checked]: true };

/** A volume, or one of its snapshots: `vm-1` or `vm-1@before-upgrade`. */
export interface Reference {
  readonly volume: Name;
  readonly snapshot?: Name;
}

const pattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Checks a name once, at the edge. @throws CoppiceError invalid_argument */
export function parseName(text: string, what = 'name'): Name {
  if (isName(text)) return text;
  throw new CoppiceError(
    'invalid_argument',
    `${printable(JSON.stringify(String(text).slice(0, 80)))} is not a valid ${what}: use 1 to 63 letters, digits, ".", "_" or "-", starting with a letter or a digit.`,
  );
}

/** Whether something that was found is a name of ours. */
export function isName(text: string): text is Name {
  return typeof text === 'string' && pattern.test(text) && !text.includes('\n');
}

/** Reads `VOLUME` or `VOLUME@SNAPSHOT`. @throws CoppiceError invalid_argument */
export function parseReference(text: string): Reference {
  const at = text.indexOf('@');
  if (at < 0) return { volume: parseName(text) };
  return { volume: parseName(text.slice(0, at)), snapshot: parseName(text.slice(at + 1), 'snapshot name') };
}

/** Reads a reference that must name a snapshot. @throws CoppiceError invalid_argument */
export function parseSnapshotReference(text: string): Required<Reference> {
  const { volume, snapshot } = parseReference(text);
  if (snapshot) return { volume, snapshot };
  throw new CoppiceError('invalid_argument', `"${text}" names no snapshot: write ${volume}@SNAPSHOT.`);
}

/** Reads a reference that must not name a snapshot. @throws CoppiceError invalid_argument */
export function parseVolumeName(text: string): Name {
  if (!text.includes('@')) return parseName(text);
  const { volume } = parseReference(text);
  throw new CoppiceError(
    'invalid_argument',
    `"${text}" is a snapshot, but this takes a volume: write ${volume}.`,
  );
}

export function formatReference(reference: Reference): string {
  return reference.snapshot ? `${reference.volume}@${reference.snapshot}` : reference.volume;
}
